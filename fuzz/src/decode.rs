//! Content codings of any bytes, one over the other: the same however they are cut, within the limits, and never complete when
//! truncated in the middle of a coding.

use overlapped_fetch::fuzzing::decode as unpack;

use crate::pieces::cut;
use crate::take::Take;

const CODINGS: [&[u8]; 8] =
    [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b" x-GZIP ,identity,", b"br, zstd", b"unknown"];

/// The first bytes choose the codings, the largest body, the room for output and the cuts; what follows them is the body.
pub fn decode(data: &[u8]) {
    let mut take = Take(data);
    let count = 1 + usize::from(take.byte() % 3);
    let codings: Vec<_> = (0..count).map(|_| CODINGS[usize::from(take.byte()) % CODINGS.len()]).collect();
    let max_bytes = 1 << (take.byte() % 21);
    let room = 1 + usize::from(take.byte()) * 67;
    let cuts = take.bytes(3);
    let whole = unpack(&codings, &cut(take.0, &[]), 64 << 10, max_bytes);
    let pieces = unpack(&codings, &cut(take.0, cuts), room, max_bytes);
    assert_eq!(pieces.is_ok(), whole.is_ok(), "{pieces:?} {whole:?}");
    if let (Ok(pieces), Ok(whole)) = (pieces, whole) {
        assert!(pieces == whole, "what succeeds does not depend on the cuts");
    }
}
