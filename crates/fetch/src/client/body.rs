//! The body of a request: bytes, or what is read while it is sent.

use std::fmt;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use overlapped_proto::limits;
use overlapped_proto::request::BodyLength;

use crate::net::upload::{Source, Upload};

/// The body of a request.
///
/// One that is read while it is sent can be sent only once: such a request is not repeated once it was begun, and a redirect
/// that needs the body again is not followed.
pub struct RequestBody(pub(super) Payload);

pub(super) enum Payload {
    Bytes(Bytes),
    Upload(Box<Upload>),
}

impl RequestBody {
    /// What a reader has: `length` bytes, or in chunks whatever comes before its end.
    ///
    /// # Blocking
    ///
    /// The thread that makes the request reads it, and waits for it.
    pub fn reader(reader: impl Read + Send + 'static, length: Option<u64>) -> Self {
        Self::upload(Box::new(Reader { reader, block: Vec::new() }), length)
    }

    /// What a stream has: `length` bytes, or in chunks whatever comes before its end. Its first error ends the request.
    pub fn stream(
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        Self::upload(Box::new(Streamed(Mutex::new(Box::pin(stream)))), length)
    }

    fn upload(source: Box<dyn Source>, length: Option<u64>) -> Self {
        let length = length.map_or(BodyLength::Chunked, BodyLength::Known);
        Self(Payload::Upload(Box::new(Upload::new(source, length))))
    }
}

struct Reader<R> {
    reader: R,
    block: Vec<u8>,
}

impl<R: Read + Send> Source for Reader<R> {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.block.resize(limits::UPLOAD_BLOCK_BYTES, 0);
        let read = loop {
            match self.reader.read(&mut self.block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.block.truncate(read);
        Poll::Ready(Ok((read > 0).then(|| Bytes::copy_from_slice(&self.block))))
    }
}

/// Its lock is never taken; it makes the source `Sync`.
struct Streamed<S>(Mutex<Pin<Box<S>>>);

impl<S: Stream<Item = io::Result<Bytes>> + Send> Source for Streamed<S> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let stream = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        stream.as_mut().poll_next(cx).map(Option::transpose)
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Payload::Bytes(bytes) => write!(f, "RequestBody({} bytes)", bytes.len()),
            Payload::Upload(_) => f.write_str("RequestBody(..)"),
        }
    }
}

/// Conversions from what holds bytes.
macro_rules! from_bytes {
    ($($type:ty),+) => {
        $(impl From<$type> for RequestBody {
            fn from(bytes: $type) -> Self {
                Self(Payload::Bytes(bytes.into()))
            }
        })+
    };
}

from_bytes! { Bytes, Vec<u8>, String, &'static [u8], &'static str }
