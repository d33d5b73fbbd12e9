//! For the fuzz targets: exchanges over a stream in memory, with any bytes from the server. The product does not use it.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::future::join_all;
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::Strictness;
use overlapped_proto::job::{Method, Row};
use overlapped_proto::limits;
use overlapped_proto::origin::{ConnKey, Route, Scheme};
use overlapped_proto::outcome::Failure;
use overlapped_proto::proxy::{Kind, Proxy, Target};
use overlapped_proto::request::RequestHead;
use overlapped_proto::time::Nanos;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use url::Url;

use crate::body::decode::{Decoder, Progress};
use crate::body::drain::{Overflow, Rules, drain};
use crate::body::spool::RunId;
use crate::clock::Clock;
use crate::memory::Memory;
use crate::net::alarm::Alarm;
use crate::net::exchange::{Exchange, Reading};
use crate::net::http1;
use crate::net::http2::{self, Windows};
use crate::net::request::Request;
use crate::net::stream::{InMemory, Stream};
use crate::net::tls_failure::Identify;
use crate::net::tunnel;

/// What one request got: its status, the number of its header fields, and its body.
pub type Got = Result<(u16, usize, Vec<u8>), ErrorKind>;

/// Makes one request on a connection of HTTP/1.1 whose server sends these pieces and then closes it. The body is received as
/// that of a row: decoded, up to `max_bytes`.
pub fn response(pieces: Vec<Vec<u8>>, method: &Method, strictness: Strictness, max_bytes: u64) -> Got {
    let (cpu, disk) = executors();
    let clock = Clock::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime can be made").block_on(async {
        let stream = Stream::Plain(Pipe::answering(pieces));
        let mut connection = http1::Connection::new(stream, None, None, Nanos::ZERO);
        let head = RequestHead::new(method, Scheme::Http, "a.test", "/", &[][..], 0);
        let mut request = Request { head: head.expect("a plain request"), body: Bytes::new(), upload: None };
        let mut share = Memory::new(None).share(Row(0));
        let reading = Reading { strictness, ..Reading::default() };
        let kind = |failure: Failure| failure.kind;
        let head = connection.send(&mut request, reading, &mut share, || {}).await.map_err(kind)?;
        let decoder = Decoder::new(head.headers.all("content-encoding"), max_bytes).map_err(kind)?;
        let rules = Rules {
            keep: true,
            sha256: false,
            max_bytes,
            speed: None,
            overflow: Overflow::Nowhere,
            disk,
            cpu,
            run: RunId(0),
            row: Row(0),
            attempt: 0,
            cut: false,
        };
        let mut alarm = Alarm::new(clock);
        let drained =
            drain(&mut connection, decoder, &rules, &mut share, &mut alarm, clock, clock.now()).await;
        if let Some(failure) = &drained.failure {
            return Err(failure.kind);
        }
        let (bytes, fields) = (drained.bytes, head.headers.iter().count());
        let body = drained.into_body().inline().unwrap_or_default().to_vec();
        assert_eq!(bytes, body.len() as u64, "all that is counted is kept");
        Ok((head.status, fields, body))
    })
}

/// Decodes a body with these values of `Content-Encoding`, which arrives in these pieces, in steps with room for `room` bytes.
pub fn decode(
    codings: &[&[u8]],
    pieces: &[&[u8]],
    room: usize,
    max_bytes: u64,
) -> Result<Vec<u8>, ErrorKind> {
    let kind = |failure: Failure| failure.kind;
    let Some(mut decoder) = Decoder::new(codings.iter().copied(), max_bytes).map_err(kind)? else {
        return Ok(pieces.concat());
    };
    let (mut decoded, mut output) = (Vec::new(), vec![0; room]);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match decoder.step(&mut rest, &mut output).map_err(kind)? {
                Progress::Worked { written, .. } => {
                    decoded.extend_from_slice(output.get(..written).expect("it fits into the room"));
                    // The caller of a decoder does this.
                    if decoded.len() as u64 > max_bytes {
                        return Err(ErrorKind::BodyTooLarge);
                    }
                }
                Progress::NeedsInput => break,
                Progress::Over => return decoder.finish().map_err(kind).map(|()| decoded),
            }
        }
        assert!(rest.is_empty(), "all of it is consumed");
    }
    decoder.finish().map_err(kind).map(|()| decoded)
}

/// Asks a proxy for a tunnel, which answers with these pieces. Returns what is left of them for the server behind it.
pub fn tunnel(pieces: Vec<Vec<u8>>, proxy: &Proxy) -> Result<Vec<u8>, ErrorKind> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime can be made").block_on(async {
        let mut pipe = Pipe::answering(pieces);
        let asked = match proxy.kind() {
            Kind::Http | Kind::Https => tunnel::connect(&mut pipe, proxy, "a.test", 443).await,
            Kind::Socks5 | Kind::Socks5h => {
                tunnel::socks(&mut pipe, proxy, Target::Name("a.test"), 443).await
            }
        };
        asked.map_err(|failure| failure.kind)?;
        Ok(pipe.pieces.into_iter().collect::<Vec<_>>().concat())
    })
}

/// For decoding, and for the disk, which is not used.
fn executors() -> (&'static Executor, &'static Executor) {
    static EXECUTOR: OnceLock<Executor> = OnceLock::new();
    let executor =
        EXECUTOR.get_or_init(|| Executor::builder().max_workers(1).build().expect("a thread can be started"));
    (executor, executor)
}

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
        let opened =
            http2::open(stream, windows, Identify::No, key, Some(remote), Nanos::ZERO, Handle::current())
                .await;
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

impl Pipe {
    /// One that does not wait to be asked.
    fn answering(pieces: Vec<Vec<u8>>) -> Self {
        let asked = Arc::new(Asked::default());
        asked.set();
        Self { pieces: pieces.into(), asked }
    }
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
