//! Numbers in the byte order of a capture.

/// The byte order of a pcap file or a pcapng section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// The number at octet `at`, 0 if it is not all there: callers check lengths where that matters.
    #[inline]
    pub fn u16(self, bytes: &[u8], at: usize) -> u16 {
        match self {
            Order::Little => u16::from_le_bytes(array(bytes, at)),
            Order::Big => u16::from_be_bytes(array(bytes, at)),
        }
    }

    /// As [`Order::u16`].
    #[inline]
    pub fn u32(self, bytes: &[u8], at: usize) -> u32 {
        match self {
            Order::Little => u32::from_le_bytes(array(bytes, at)),
            Order::Big => u32::from_be_bytes(array(bytes, at)),
        }
    }

    /// As [`Order::u16`].
    #[inline]
    pub fn u64(self, bytes: &[u8], at: usize) -> u64 {
        match self {
            Order::Little => u64::from_le_bytes(array(bytes, at)),
            Order::Big => u64::from_be_bytes(array(bytes, at)),
        }
    }

    /// A time in pcapng's form: the upper 32 bits, then the lower ones, each in this byte order.
    #[inline]
    pub fn high_low(self, bytes: &[u8], at: usize) -> u64 {
        u64::from(self.u32(bytes, at)) << 32 | u64::from(self.u32(bytes, at + 4))
    }
}

/// `len` rounded up to the 4 octets to which pcapng pads everything.
#[inline]
pub(super) fn padded(len: usize) -> usize {
    len.saturating_add(3) & !3
}

#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!((Order::Little.u16(&bytes, 1), Order::Big.u16(&bytes, 1)), (0x0302, 0x0203));
        assert_eq!((Order::Little.u32(&bytes, 4), Order::Big.u32(&bytes, 4)), (0x0807_0605, 0x0506_0708));
        assert_eq!(Order::Little.u64(&bytes, 0), 0x0807_0605_0403_0201);
        assert_eq!(Order::Big.high_low(&bytes, 0), Order::Big.u64(&bytes, 0));
        assert_eq!(Order::Little.high_low(&bytes, 0), 0x0403_0201_0807_0605);
        assert_eq!(Order::Big.u32(&bytes, 5), 0);
    }

    #[test]
    fn padding() {
        assert_eq!([0, 1, 4, 5].map(padded), [0, 4, 4, 8]);
    }
}
