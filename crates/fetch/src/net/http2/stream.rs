//! A stream of a connection: one request and its response.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::Head;
use overlapped_proto::job::Method;
use overlapped_proto::limits;
use overlapped_proto::origin::ConnKey;
use overlapped_proto::outcome::Failure;
use overlapped_proto::request::RequestHead;
use overlapped_proto::time::Nanos;

use super::shared::{Lease, Shared, Vacancy};
use super::strays::Reader;
use super::{failure, message};
use crate::memory::Share;
use crate::net::exchange::{After, Exchange, Reading};
use crate::net::request::Request;
use crate::net::upload::{Progress, Upload};

/// A lease of one stream of a connection; in the pool, the connection itself.
pub(crate) struct Stream {
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
    /// `None` in the pool.
    #[expect(dead_code, reason = "kept for its drop")]
    lease: Option<Lease>,
    /// Until the body of the request is sent.
    sending: Option<SendStream<Bytes>>,
    /// What is still to be sent of it: these bytes, and then what is produced meanwhile.
    unsent: Bytes,
    upload: Option<Box<Upload>>,
    /// How far that is, or was, sent.
    progress: Option<Arc<Progress>>,
    response: Option<ResponseFuture>,
    /// From the request on.
    reader: Option<Reader>,
    interim: u32,
    body: Option<RecvStream>,
    /// What was read of the body and not given on.
    piece: Option<Result<Bytes, Failure>>,
    /// Bytes of the body to come, if the head announces them.
    left: Option<u64>,
    /// A response to this request has no body.
    is_bodiless: bool,
    /// The response is a success.
    succeeded: bool,
    is_done: bool,
    is_answered: bool,
    body_bytes: u64,
}

impl Stream {
    pub(super) fn new(send: SendRequest<Bytes>, shared: Arc<Shared>) -> Self {
        Self {
            send,
            shared,
            lease: None,
            sending: None,
            unsent: Bytes::new(),
            upload: None,
            progress: None,
            response: None,
            reader: None,
            interim: 0,
            body: None,
            piece: None,
            left: None,
            is_bodiless: false,
            succeeded: false,
            is_done: false,
            is_answered: false,
            body_bytes: 0,
        }
    }

    /// A further stream of the same connection.
    pub(crate) fn lease(&self) -> Self {
        Self {
            lease: Some(Lease::of(&self.shared)),
            ..Self::new(self.send.clone(), Arc::clone(&self.shared))
        }
    }

    /// What the connection has for another request, if it may have `most` of them at once.
    pub(crate) fn vacancy(&mut self, most: usize) -> Vacancy {
        self.shared.vacancy(&mut self.send, most)
    }

    /// True if the connection takes no more requests. Those that it has taken go on.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.vacancy(limits::H2_STREAMS_MAX), Vacancy::Closed)
    }

    /// Requests on the connection.
    pub(crate) fn leased(&self) -> usize {
        self.shared.leased.load(Ordering::Relaxed)
    }

    pub(crate) fn key(&self) -> &ConnKey {
        &self.shared.key
    }

    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.shared.remote
    }

    pub(crate) fn opened(&self) -> Nanos {
        self.shared.opened
    }

    /// Responses that have begun on the connection.
    pub(crate) fn answers(&self) -> u32 {
        u32::try_from(self.shared.answers.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// When the last request on the connection ended.
    pub(crate) fn last_used(&self) -> Nanos {
        Nanos(self.shared.last_used.load(Ordering::Relaxed))
    }

    /// A request on the connection has ended.
    pub(crate) fn used_at(&self, now: Nanos) {
        self.shared.last_used.store(now.0, Ordering::Relaxed);
    }

    /// True if the server wants, or speaks, HTTP/1.1.
    pub(crate) fn wants_http1(&self) -> bool {
        self.shared.received.is_http1() || self.shared.is_left.load(Ordering::Relaxed)
    }

    /// True if the connection has ended by an error, found on either side, and other requests were on it: they may be the
    /// reason.
    pub(crate) fn broke_with_others(&self) -> bool {
        self.shared.broken_with.load(Ordering::Relaxed) > 1
    }

    /// True if the connection has ended without GOAWAY and without an error of HTTP/2, and other requests were on it: the server may
    /// have closed it for one of them.
    pub(crate) fn was_lost_with_others(&self) -> bool {
        self.shared.lost_with.load(Ordering::Relaxed) > 1
    }

    /// True for the first request of the connection that asks.
    pub(crate) fn reports_first(&self) -> bool {
        !self.shared.is_reported.swap(true, Ordering::Relaxed)
    }

    /// To be called with each error, before requests on the connection end by it.
    fn note(&self, error: &h2::Error) {
        let counted = if failure::breaks_connection(error, &self.shared.received) {
            &self.shared.broken_with
        } else if error.is_io() {
            &self.shared.lost_with
        } else {
            return;
        };
        // The request whose response was given up has left, and is the reason.
        let requests = self.leased() + usize::from(self.shared.received.is_strayed());
        // An error: another request has counted.
        let _ = counted.compare_exchange(0, requests, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn failed_head(&self, error: &h2::Error) -> Failure {
        self.note(error);
        failure::of_head(error, &self.shared.received)
    }

    fn failed_body(&self, error: &h2::Error) -> Failure {
        self.note(error);
        failure::of_body(error, &self.shared.received)
    }

    fn poll_begin(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let ready = ready!(self.send.poll_ready(cx));
        ready.map_err(|error| self.failed_head(&error))?;
        let is_whole = self.unsent.is_empty() && self.upload.is_none();
        let request = message::request(head)?;
        let send = &mut self.send;
        let sent = self.shared.received.strays().read(|| {
            let (response, sending) = send.send_request(request, is_whole)?;
            let number = response.stream_id().into();
            Ok(((response, sending), number))
        });
        let ((response, sending), reader) = sent.map_err(|error| self.failed_head(&error))?;
        self.reader = Some(reader);
        self.response = Some(response);
        self.sending = (!is_whole).then_some(sending);
        Poll::Ready(Ok(()))
    }

    /// Sends what the windows of the server allow. A failure of the connection shows when the response is read.
    ///
    /// # Errors
    ///
    /// The body cannot be produced; the request is never complete.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while let Some(stream) = &mut self.sending {
            if let Some(upload) = self.upload.as_mut().filter(|_| self.unsent.is_empty()) {
                match upload.poll_piece(cx) {
                    Poll::Pending => {
                        upload.waits();
                        return Ok(());
                    }
                    Poll::Ready(Ok(Some(data))) => self.unsent = data,
                    Poll::Ready(Ok(None)) => self.upload = None,
                    Poll::Ready(Err(error)) => {
                        stream.send_reset(Reason::CANCEL);
                        (self.sending, self.upload) = (None, None);
                        return Err(Failure::new(ErrorKind::InputBody, error.to_string()));
                    }
                }
            }
            let mut room = 0;
            if !self.unsent.is_empty() {
                stream.reserve_capacity(self.unsent.len().min(limits::H2_SEND_BYTES_MAX));
                let capacity = stream.poll_capacity(cx);
                if let Some(progress) = &self.progress {
                    progress.waits_for_server(capacity.is_pending());
                }
                room = match capacity {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(Some(Err(_)) | None) => {
                        (self.sending, self.upload) = (None, None);
                        return Ok(());
                    }
                };
            }
            let part = self.unsent.split_to(room.min(self.unsent.len()));
            let is_last = self.unsent.is_empty() && self.upload.is_none();
            self.shared.received.progress();
            if let Some(progress) = &self.progress {
                progress.took(part.len());
            }
            if stream.send_data(part, is_last).is_err() || is_last {
                (self.sending, self.upload) = (None, None);
            }
        }
        Ok(())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let response = self.response.as_mut().expect("the request was sent");
        loop {
            match response.poll_informational(cx) {
                Poll::Ready(Some(Ok(_))) => {
                    self.is_answered = true;
                    self.shared.received.progress();
                    self.interim += 1;
                    if self.interim > limits::INTERIM_RESPONSES_MAX {
                        let message = "too many interim responses came before the one that counts";
                        return Poll::Ready(Err(Failure::new(ErrorKind::HttpLimit, message)));
                    }
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None | Some(Err(_))) => break,
            }
        }
        let response = match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => response,
            Err(error) => {
                if failure::asks_for_http1(&error) {
                    self.shared.is_left.store(true, Ordering::Relaxed);
                }
                return Poll::Ready(Err(self.failed_head(&error)));
            }
        };
        self.is_answered = true;
        self.shared.received.progress();
        self.shared.answers.fetch_add(1, Ordering::Relaxed);
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        self.is_bodiless |= matches!(status, 204 | 304);
        let ends_here = self.is_bodiless || body.is_end_stream();
        self.left = if ends_here { Some(0) } else { message::content_length(&parts.headers) };
        self.response = None;
        self.body = Some(body);
        Poll::Ready(message::response(status, &parts.headers))
    }

    /// The response was read to its end.
    fn ended(&mut self) {
        self.is_done = true;
        self.reader.iter_mut().for_each(Reader::ended);
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        if let Some(piece) = self.piece.take() {
            return Poll::Ready(piece.map(Some));
        }
        let body = self.body.as_mut().expect("a body is read after its head");
        loop {
            let Some(data) = ready!(body.poll_data(cx)) else {
                let trailers = ready!(body.poll_trailers(cx)).map_err(|error| self.failed_body(&error))?;
                if let Some(trailers) = trailers {
                    message::check_trailers(&trailers)?;
                }
                self.ended();
                return Poll::Ready(Ok(None));
            };
            let data = match data {
                Ok(data) => data,
                Err(error) => return Poll::Ready(Err(self.failed_body(&error))),
            };
            if data.is_empty() {
                continue;
            }
            if self.is_bodiless {
                let message = "there is a body where there can be none";
                return Poll::Ready(Err(Failure::new(ErrorKind::BodyFraming, message)));
            }
            // The piece is consumed before the next one is asked for. The window was enlarged by no more than it.
            let _ = body.flow_control().release_capacity(data.len());
            self.shared.received.progress();
            self.body_bytes += data.len() as u64;
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            return Poll::Ready(Ok(Some(data)));
        }
    }
}

impl Exchange for Stream {
    async fn send(
        &mut self,
        request: &mut Request<'_>,
        _: Reading,
        share: &mut Share,
        sent: impl FnOnce(),
    ) -> Result<Head, Failure> {
        self.is_bodiless = *request.head.method() == Method::Head;
        (self.unsent, self.upload) = (request.body.clone(), request.upload.take());
        let held = || (!self.unsent.is_empty()).then(Arc::default);
        self.progress = self.upload.as_deref().map(Upload::progress).or_else(held);
        let mut sent = Some(sent);
        let head = poll_fn(|cx| {
            if self.response.is_none() {
                ready!(self.poll_begin(&request.head, cx))?;
            }
            self.poll_upload(cx)?;
            if self.sending.is_none() {
                sent.take().into_iter().for_each(|sent| sent());
            }
            self.poll_head(cx)
        })
        .await;
        if head.is_err() {
            request.upload = self.upload.take().filter(|upload| !upload.has_begun());
        }
        self.succeeded = head.as_ref().is_ok_and(|head| (200..300).contains(&head.status));
        share.set(head.as_ref().map_or(0, |head| head.headers.bytes()));
        sent.take().into_iter().for_each(|sent| sent());
        head
    }

    async fn frame(&mut self, _: usize) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| {
            self.poll_upload(cx)?;
            self.poll_frame(cx)
        })
        .await
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        if !self.succeeded {
            return Ok(());
        }
        poll_fn(|cx| {
            self.poll_upload(cx)?;
            if self.sending.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }

    /// A body of one frame, with which the stream ends.
    fn take_arrived(&mut self) -> Option<Bytes> {
        let left = self.left?;
        if self.sending.is_some() || self.piece.is_some() {
            return None;
        }
        let mut data = Bytes::new();
        if left > 0 {
            match self.poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(Some(piece))) => data = piece,
                Poll::Ready(Ok(None)) | Poll::Pending => return None,
                Poll::Ready(Err(failure)) => {
                    self.piece = Some(Err(failure));
                    return None;
                }
            }
        }
        let is_whole = data.len() as u64 == left && self.body.as_ref().is_some_and(RecvStream::is_end_stream);
        if !is_whole {
            self.piece = Some(Ok(data)).filter(|_| left > 0);
            return None;
        }
        self.ended();
        Some(data)
    }

    fn leave_block(&mut self) {
        if let Some(Ok(piece)) = &mut self.piece {
            *piece = Bytes::copy_from_slice(piece);
        }
    }

    fn bytes_left(&self) -> Option<u64> {
        let held = self.piece.as_ref().and_then(|piece| piece.as_ref().ok());
        Some(self.left? + held.map_or(0, |piece| piece.len() as u64))
    }

    fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// The last frame of a stream has a mark.
    fn proves_the_end(&self) -> bool {
        true
    }

    fn is_answered(&self) -> bool {
        self.is_answered
    }

    fn after(&mut self) -> After {
        if self.is_done { After::Reuse } else { After::Close }
    }
}
