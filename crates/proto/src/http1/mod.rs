//! HTTP/1.1 on the wire (RFC 9112), for a client: the head of a request, the head of a response, and where its body ends.
//!
//! The parsers are incremental: bytes arrive in pieces of any size, and the result does not depend on where they are
//! split. Ambiguous messages are refused, because a proxy on the path may read them in the other way (response smuggling).
//! Within that, heads are read as browsers and curl read them, and departures from the standard are noted.
//!
//! ```
//! use overlapped_proto::http1::{HeadReader, Piece, Strictness};
//! use overlapped_proto::job::Method;
//!
//! let mut input = &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"[..];
//! let (head, mut body) = HeadReader::new(&Method::Get, Strictness::Lenient).read(&mut input)?.expect("the head is whole");
//! assert_eq!((head.status, head.headers.first("transfer-encoding")), (200, Some(&b"chunked"[..])));
//!
//! let Piece { framing, data } = body.next(input)?;
//! assert_eq!(&input[framing..framing + data], b"ok");
//! body.next(&input[framing + data..])?;
//! assert!(body.is_done());
//! # Ok::<(), overlapped_proto::outcome::Failure>(())
//! ```

mod request;
mod head;
mod lenient;
mod framing;
mod body;
mod chunked;

pub use body::Body;
pub use chunked::Piece;
pub use framing::Strictness;
pub use head::{Head, HeadReader, Keep};
pub use request::{CHUNK_END, LAST_CHUNK, TargetForm, write_chunk_size, write_request, write_request_shown};
