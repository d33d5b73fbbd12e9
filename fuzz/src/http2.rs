//! Untrusted HTTP/2 frames: each request ends, no more bytes are received than were sent, and what succeeds does not depend on
//! how they are split.

use overlapped_fetch::fuzzing::http2 as exchange;
use overlapped_proto::limits;

use crate::pieces::{cut, owned};
use crate::take::Take;

/// Reads what follows the first bytes as all that a server sends on a connection of HTTP/2; those choose the number of
/// requests and the cuts.
pub fn http2(data: &[u8]) {
    let mut take = Take(data);
    let (requests, cuts) = (1 + usize::from(take.byte() % 4), take.bytes(3));
    let got = exchange(owned(&cut(take.0, cuts)), requests);
    assert_eq!(got.len(), requests);
    let mut received = 0;
    for (status, fields, body) in got.iter().flatten() {
        assert!((200..1000).contains(status) && *fields <= limits::HEADERS_MAX);
        received += body.len();
    }
    assert!(received <= data.len(), "more than was sent");
    let whole = exchange(vec![take.0.to_vec()], requests);
    let (cut, whole): (Vec<_>, Vec<_>) = (got.iter().flatten().collect(), whole.iter().flatten().collect());
    assert_eq!(cut, whole, "what succeeds does not depend on the cuts");
}
