//! For tests: a good file with pieces cut out, doubled and overwritten.

use proptest::prelude::*;
use proptest::sample::Index;

/// The text, spoiled in one to five places.
pub(super) fn spoiled(text: impl Into<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let put = prop_oneof![
        "[ -~\n]{0,6}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![&b"-"[..], b"\"", b" ", b"{", b"[", b"=", b"99999999999999999999", b"\\u0000"])
            .prop_map(<[u8]>::to_vec),
    ];
    let places = prop::collection::vec((any::<Index>(), 0_usize..12, put), 1..6);
    (Just(text.into()), places).prop_map(|(mut text, places)| {
        for (at, cut, put) in places {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, put);
        }
        text
    })
}
