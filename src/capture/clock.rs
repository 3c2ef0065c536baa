//! The times of a pcapng interface in nanoseconds.
//!
//! In comes a count of units as `if_tsresol` and `if_tsoffset` define them, out goes a [`Timestamp`]. What is
//! finer than a nanosecond is truncated, what a [`Timestamp`] cannot hold becomes its nearest value.

use super::Timestamp;

const NANOS: i128 = 1_000_000_000;

/// How an interface counts time; one that does not say counts microseconds: resolution 6, offset 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    scale: Scale,
    /// `if_tsoffset`, in seconds.
    offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// Nanoseconds per unit.
    Multiply(u64),
    /// Units per nanosecond.
    Divide(u64),
    /// Units are so fine that 64 bits of them are less than a nanosecond.
    Nothing,
    /// A unit is 2 to the minus this many seconds.
    Shift(u32),
}

impl Clock {
    /// `resolution` is the octet of `if_tsresol`: the most significant bit tells powers of 2 from those of 10.
    pub fn new(resolution: u8, offset: i64) -> Clock {
        let exponent = u32::from(resolution & 0x7f);
        let scale = if resolution & 0x80 != 0 {
            Scale::Shift(exponent)
        } else if exponent <= 9 {
            Scale::Multiply(10_u64.pow(9 - exponent))
        } else {
            10_u64.checked_pow(exponent - 9).map_or(Scale::Nothing, Scale::Divide)
        };
        Clock { scale, offset }
    }

    #[inline]
    pub fn time(&self, units: u64) -> Timestamp {
        match self.scale {
            Scale::Multiply(factor) if self.offset == 0 => Timestamp(units.saturating_mul(factor)),
            _ => self.time_slowly(units),
        }
    }

    #[inline(never)]
    fn time_slowly(&self, units: u64) -> Timestamp {
        let nanos = match self.scale {
            // Both factors are below 2^64, so that products stay below 2^127 where one is at most 10^9.
            Scale::Multiply(factor) => i128::from(units) * i128::from(factor),
            Scale::Divide(divisor) => i128::from(units / divisor),
            Scale::Nothing => 0,
            Scale::Shift(bits) => (i128::from(units) * NANOS) >> bits,
        };
        // |offset| < 2^63 and 10^9 < 2^30: the sum stays below 2^95.
        let shifted = nanos + i128::from(self.offset) * NANOS;
        Timestamp(u64::try_from(shifted.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions() {
        for (resolution, units, nanos) in [
            (6, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
            (9, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
            (0, 1_700_000_000, 1_700_000_000_000_000_000),
            (3, 1_700_000_000_001, 1_700_000_000_001_000_000),
            (12, 1_999, 1),
            (28, u64::MAX, 1),
            (29, u64::MAX, 0),
            (127, u64::MAX, 0),
            (0x80, 5, 5_000_000_000),
            (0x80 | 10, 1025, 1_000_976_562),
            (0x80 | 32, 1 << 31, 500_000_000),
            (0x80 | 127, u64::MAX, 0),
            (0, u64::MAX, u64::MAX),
            (6, u64::MAX, u64::MAX),
        ] {
            assert_eq!(Clock::new(resolution, 0).time(units), Timestamp(nanos), "{resolution} {units}");
        }
    }

    #[test]
    fn offsets() {
        assert_eq!(Clock::new(6, 10).time(1), Timestamp(10_000_001_000));
        assert_eq!(Clock::new(9, -1).time(1_500_000_000), Timestamp(500_000_000));
        assert_eq!(Clock::new(9, -2).time(1_500_000_000), Timestamp(0));
        assert_eq!(Clock::new(0, i64::MIN).time(u64::MAX), Timestamp(u64::MAX));
        assert_eq!(Clock::new(12, i64::MAX).time(0), Timestamp(u64::MAX));
        assert_eq!(Clock::new(127, i64::MIN).time(0), Timestamp(0));
    }
}
