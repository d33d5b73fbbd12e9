//! The types of `overlapped-proto` that a [`Record`] contains, re-exported, so that users need not depend on that crate.

pub use bytes::Bytes;
pub use overlapped_proto::error::{ErrorKind, Phase};
pub use overlapped_proto::job::{Method, Row};
pub use overlapped_proto::notes::{Note, Notes};
pub use overlapped_proto::outcome::{Failure, Hop};
pub use overlapped_proto::record::spooled::{ReadAt, Spooled};
pub use overlapped_proto::record::{Body, Connection, Headers, Hold, HttpVersion, Record, header_text};
pub use overlapped_proto::time::Nanos;
pub use overlapped_proto::timing::Timing;
