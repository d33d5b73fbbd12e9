//! An untrusted response, received over a stream in memory as a row receives it: head, framing, content codings, limits.

use overlapped_fetch::fuzzing::{Got, response as receive};
use overlapped_proto::http1::Strictness;
use overlapped_proto::job::Method;
use overlapped_proto::limits;

use crate::pieces::{cut, owned};
use crate::take::Take;

const METHODS: [Method; 3] = [Method::Get, Method::Head, Method::Post];

/// The first bytes choose the method, how strict the head is read, the largest body, and the cuts; what follows them is all that the
/// server sends before it closes the connection.
pub fn response(data: &[u8]) {
    let mut take = Take(data);
    let choice = take.byte();
    let method = &METHODS[usize::from(choice) % METHODS.len()];
    let strictness = if choice >= 128 { Strictness::Strict } else { Strictness::Lenient };
    let max_bytes = 1 << (choice / 3 % 21);
    let cuts = take.bytes(3);
    let receive = |cuts: &[u8]| receive(owned(&cut(take.0, cuts)), method, strictness, max_bytes);
    let (pieces, whole): (Got, Got) = (receive(cuts), receive(&[]));
    assert_eq!(pieces.is_ok(), whole.is_ok(), "{pieces:?} {whole:?}");
    if let (Ok(pieces), Ok(whole)) = (pieces, whole) {
        assert_eq!(pieces, whole, "what succeeds does not depend on the cuts");
        let (status, fields, body) = whole;
        assert!((200..1000).contains(&status) && fields <= limits::HEADERS_MAX);
        assert!(body.len() as u64 <= max_bytes && (*method != Method::Head || body.is_empty()));
    }
}
