//! One request and its response on a connection, whatever the version of HTTP.

use std::sync::Arc;

use bytes::Bytes;
use overlapped_proto::http1::{Head, Keep, Strictness};
use overlapped_proto::outcome::Failure;

use super::request::Request;
use super::upload::Progress;
use crate::memory::Share;

/// A connection, or one stream of it, as the attempt that makes a request sees it.
///
/// An exchange goes from [`Exchange::send`] over [`Exchange::frame`], until that returns `None`, and [`Exchange::finish`] to
/// [`Exchange::after`]. If one of the futures is dropped before it is ready, the exchange must be dropped as well.
pub(crate) trait Exchange {
    /// Sends `request`, takes its upload, and returns the head of the response; `sent` is called once the request is handed to the system.
    /// An upload that was not begun when it fails may be given back.
    /// The head may arrive before the request is sent; sending then goes on while the body is read. `share` counts the
    /// head. While memory is short, a head that is already large waits before it reads on. Its deadline runs meanwhile,
    /// since heads of that size are rare, and a row that times out is retried.
    ///
    /// # Cancel safety
    ///
    /// A connection on which this future was dropped before it was ready must be closed.
    async fn send(
        &mut self,
        request: &mut Request<'_>,
        reading: Reading,
        share: &mut Share,
        sent: impl FnOnce(),
    ) -> Result<Head, Failure>;

    /// The next piece of the body, or `None` at its end. Reads at most `most` bytes at once.
    ///
    /// # Cancel safety
    ///
    /// A connection on which this future was dropped before it was ready must be closed.
    async fn frame(&mut self, most: usize) -> Result<Option<Bytes>, Failure>;

    /// Sends what is left of the request after a response that was read to its end, if that is a success (2xx): a server may answer
    /// before it has read the request, and would otherwise get a part of it. One that has refused the request needs no more of it.
    ///
    /// # Cancel safety
    ///
    /// As [`Exchange::frame`].
    async fn finish(&mut self) -> Result<(), Failure>;

    /// How far the body of the last request is sent, if that was not sent at once.
    fn progress(&self) -> Option<Arc<Progress>>;

    /// The whole body, if its length is known and it has arrived with the head.
    fn take_arrived(&mut self) -> Option<Bytes>;

    /// Copies unread bytes out of a shared read buffer. To be called before a long wait, because the buffer can be used
    /// again only when no slice of it is left.
    fn leave_block(&mut self);

    /// How many bytes of the body are still to come, if its length is known.
    fn bytes_left(&self) -> Option<u64>;

    /// Bytes of bodies received so far, including their framing, by which the speed is judged.
    fn body_bytes(&self) -> u64;

    /// True if a truncated body would be detected.
    fn proves_the_end(&self) -> bool;

    /// True if anything was received since the request was sent.
    fn is_answered(&self) -> bool;

    /// What can be done with the connection after a response that was read to its end.
    fn after(&mut self) -> After;
}

/// How the head of a response is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) strictness: Strictness,
    pub(crate) keep: Keep,
}

/// What can be done with a connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Another request: the request was sent, the response is complete, nothing follows it, and its head allows it.
    Reuse,
    /// Nothing: the response is followed by bytes that no request asked for.
    Unasked,
    /// Nothing.
    Close,
}
