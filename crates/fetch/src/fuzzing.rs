//! For the fuzz targets: exchanges over a stream in memory, with any bytes from the server. The product does not use it.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::future::join_all;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{Method, Row};
use overlapped_proto::limits;
use overlapped_proto::origin::{ConnKey, Route, Scheme};
use overlapped_proto::outcome::Failure;
use overlapped_proto::request::RequestHead;
use overlapped_proto::time::Nanos;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use url::Url;

use crate::memory::Memory;
use crate::net::exchange::{Exchange, Reading};
use crate::net::http2::{self, Windows};
use crate::net::request::Request;
use crate::net::stream::{InMemory, Stream};

/// What one request got: its status, the number of its header fields, and its body.
pub type Got = Result<(u16, usize, Vec<u8>), ErrorKind>;

/// Makes this number of requests at once on one connection of HTTP/2, whose server sends these pieces and then closes it.
pub fn http2(pieces: Vec<Vec<u8>>, requests: usize) -> Vec<Got> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    runtime.block_on(async {
        let is_asked = Arc::new(Asked::default());
        let stream = Stream::Plain(Pipe { pieces: pieces.into(), asked: Arc::clone(&is_asked) });
        let url = Url::parse("http://a.test/").expect("a URL");
        let key = ConnKey::new(&url, Route::default()).expect("a URL of http");
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let windows = Windows::new(None, limits::PARALLEL_MAX);
        let opened = http2::open(stream, windows, key, Some(remote), Nanos::ZERO).await;
        let connection = opened.expect("the pipe takes all that is written");
        let exchanges = (0..requests).map(|_| exchange(connection.lease()));
        let all = join_all(exchanges);
        // The requests are begun before the server answers: each is polled once, then the task writes them.
        let answers = async {
            tokio::task::yield_now().await;
            is_asked.set();
        };
        let (got, ()) = futures_util::future::join(all, answers).await;
        got
    })
}

async fn exchange(mut stream: http2::Stream) -> Got {
    let head = RequestHead::new(&Method::Get, Scheme::Http, "a.test", "/", &[][..], 0);
    let mut request = Request { head: head.expect("a plain request"), body: Bytes::new(), upload: None };
    let mut share = Memory::new(None).share(Row(0));
    let kind = |failure: Failure| failure.kind;
    let head = stream.send(&mut request, Reading::default(), &mut share, || {}).await.map_err(kind)?;
    let mut body = stream.take_arrived().unwrap_or_default().to_vec();
    while let Some(piece) = stream.frame(limits::READ_BYTES).await.map_err(kind)? {
        body.extend_from_slice(&piece);
    }
    Ok((head.status, head.headers.iter().count(), body))
}

/// Whether the server may answer.
#[derive(Default)]
struct Asked {
    is_set: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Asked {
    fn waker(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
        self.waker().take().into_iter().for_each(Waker::wake);
    }
}

/// A socket in memory that takes all that is written, and gives the pieces once it is asked.
struct Pipe {
    pieces: VecDeque<Vec<u8>>,
    asked: Arc<Asked>,
}

impl InMemory for Pipe {}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pipe = self.get_mut();
        if !pipe.asked.is_set.load(Ordering::SeqCst) {
            *pipe.asked.waker() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let Some(mut piece) = pipe.pieces.pop_front() else { return Poll::Ready(Ok(())) };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            pipe.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
