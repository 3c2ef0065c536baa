//! Which legs speak HTTP, as far as it shows.

use super::shape::Shape;

/// Whether it is HTTP/1.1 in plain text, by how it begins.
pub fn is_http(shape: &Shape) -> bool {
    const METHODS: [&[u8]; 8] = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"HTTP/1."];
    let begins = |head: &[u8]| METHODS.iter().any(|method| head.starts_with(method));
    [&shape.up, &shape.down].into_iter().any(|way| begins(way.head()))
}

/// Whether it is HTTP/2, in plain text or as its records tell.
///
/// The preface (RFC 9113, section 3.4), or one of the first records holds the 9 octets of a SETTINGS frame that acknowledges
/// the server's (section 6.5), which no request of HTTP/1.1 has.
pub fn is_http2(shape: &Shape) -> bool {
    if shape.tls.is_none() {
        return shape.up.head().starts_with(b"PRI * HTTP/2.");
    }
    let protected = shape.readings().filter(|reading| !reading.is_raw());
    let mut firsts = protected.flat_map(|reading| reading.up.parts().skip(1).take(4));
    firsts.any(|(octets, _)| octets == 9)
}
