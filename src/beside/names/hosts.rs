//! hosts(5): an address and its names on a line, comments behind `#`.

use std::net::IpAddr;

use super::is_name;

/// The address and the names of a line; none if it is empty or a comment.
pub(super) fn line(line: &[u8]) -> Result<Option<(IpAddr, impl Iterator<Item = &str>)>, &'static str> {
    let line = line.split(|&octet| octet == b'#').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let mut words = line.split_ascii_whitespace();
    let Some(address) = words.next() else { return Ok(None) };
    // A scope, as in fe80::1%eth0, is the host's own.
    let address = address.split('%').next().unwrap_or_default();
    let address: IpAddr = address.parse().map_err(|_| "does not start with an address")?;
    if words.clone().next().is_none() {
        return Err("an address without a name");
    }
    if !words.clone().all(is_name) {
        return Err("a name with characters that names do not have");
    }
    Ok(Some((address, words)))
}
