//! A server of HTTP/2, without TLS (prior knowledge) or with it (ALPN). Each connection is served by rules, or its frames are
//! played by hand on a thread of its own.
//!
//! Only this file uses the library `h2`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
#[cfg(feature = "tls")]
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::frames::Frames;
#[cfg(feature = "tls")]
use crate::tls::{Certificate, Tls};

/// How one connection is served.
pub enum Http2 {
    /// By rules.
    Rules(Http2Rules),
    /// Frame by frame, by this function on a thread of its own; without TLS only.
    Frames(Box<dyn FnOnce(Frames) + Send>),
}

/// The rules by which a connection is served.
pub struct Http2Rules {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams_max: Option<u32>,
    /// Sends GOAWAY after this number of requests, and serves those that it has.
    pub goaway_after: Option<u64>,
    /// What each request gets.
    pub answer: Arc<dyn Fn(&Asked) -> Reply + Send + Sync>,
}

/// A request, as received.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// `:authority`.
    pub authority: String,
    /// The path with the query.
    pub path: String,
    /// The header fields in order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The number of the connection, from 0.
    pub connection: u64,
}

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A response. Each part of the body is a frame; the fields of the last list are trailers.
    Response(u16, Vec<(&'static str, String)>, Vec<Bytes>, Vec<(&'static str, String)>),
    /// Interim responses with this status, then the reply.
    Interim(u32, Box<Reply>),
    /// A reset with this error code.
    Reset(u32),
    /// A head and this body, and then a reset.
    Broken(Bytes, u32),
    /// A body of this length, as the client's window lets it pass.
    Large(u64),
    /// The reply after a pause.
    Late(Duration, Box<Reply>),
    /// Nothing, until the client resets the stream.
    Silence,
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: impl Into<Bytes>) -> Reply {
        Reply::Response(200, Vec::new(), vec![body.into()], Vec::new())
    }
}

impl Http2Rules {
    /// These replies, and no limits.
    pub fn new(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Http2Rules {
        Http2Rules { streams_max: None, goaway_after: None, answer: Arc::new(answer) }
    }
}

/// A running server of HTTP/2 on 127.0.0.1.
///
/// ```
/// use overlapped_testkit::{Http2, Http2Rules, Http2Server, Reply};
///
/// let server = Http2Server::start(|_| Http2::Rules(Http2Rules::new(|asked| Reply::ok(asked.path.clone()))));
/// let url = server.url("/row/7"); // http://127.0.0.1:PORT/row/7
/// // … fetch it with the client under test, then check what the server has recorded:
/// assert_eq!((server.connections(), server.seen().len()), (0, 0));
/// # let _ = url;
/// ```
pub struct Http2Server {
    address: SocketAddr,
    #[cfg(feature = "tls")]
    ca_pem: Option<String>,
    record: Arc<Record>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Record {
    connections: AtomicU64,
    open: AtomicUsize,
    in_flight: Mutex<HashMap<u64, (usize, usize)>>,
    seen: Mutex<Vec<Asked>>,
    resets: Mutex<Vec<u32>>,
}

type Plan = Arc<dyn Fn(u64) -> Http2 + Send + Sync>;

impl Http2Server {
    /// Starts a server without TLS. `plan` says how each connection is served, by its number from 0.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub fn start(plan: impl Fn(u64) -> Http2 + Send + Sync + 'static) -> Http2Server {
        let security = Security {
            #[cfg(feature = "tls")]
            tls: None,
        };
        Http2Server::start_with(Arc::new(plan), security)
    }

    /// Starts a server with TLS that offers these protocols by ALPN. It speaks HTTP/1.1 if that is chosen, else HTTP/2.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[cfg(feature = "tls")]
    pub fn start_tls(alpn: &[&str], plan: impl Fn(u64) -> Http2 + Send + Sync + 'static) -> Http2Server {
        let tls = Tls::new(Certificate::Valid, &[], &[Ipv4Addr::LOCALHOST.into()], alpn, false);
        Http2Server::start_with(Arc::new(plan), Security { tls: Some(tls) })
    }

    fn start_with(plan: Plan, security: Security) -> Http2Server {
        let record = Arc::new(Record::default());
        let (stop, stopped) = oneshot::channel();
        let (started, start) = mpsc::channel();
        #[cfg(feature = "tls")]
        let ca_pem = security.tls.as_ref().map(|tls| tls.ca_pem().to_owned());
        let at_thread = Arc::clone(&record);
        let thread = std::thread::Builder::new()
            .name("testkit-http2".to_owned())
            .spawn(move || run(&plan, security, &at_thread, &started, stopped))
            .expect("a thread starts");
        let address = start.recv().expect("the thread says how its start went").expect("the server listens");
        Http2Server {
            address,
            #[cfg(feature = "tls")]
            ca_pem,
            record,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The address.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        #[cfg(feature = "tls")]
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        #[cfg(not(feature = "tls"))]
        let scheme = "http";
        format!("{scheme}://{}{path}", self.address)
    }

    /// The certificate authority of this server, as PEM; `None` without TLS.
    #[cfg(feature = "tls")]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> u64 {
        self.record.connections.load(Ordering::SeqCst)
    }

    /// The connections that are open now and served by rules.
    pub fn open_connections(&self) -> usize {
        self.record.open.load(Ordering::SeqCst)
    }

    /// The requests in the order of arrival, on connections that are served by rules.
    pub fn seen(&self) -> Vec<Asked> {
        lock(&self.record.seen).clone()
    }

    /// The peak number of streams on any one connection that is served by rules.
    pub fn streams_peak(&self) -> usize {
        lock(&self.record.in_flight).values().map(|(_, peak)| *peak).max().unwrap_or(0)
    }

    /// The error codes with which the client has reset streams, of those whose reply was not finished.
    pub fn resets(&self) -> Vec<u32> {
        lock(&self.record.resets).clone()
    }

    /// Waits until a condition on the server holds; true if it did within the time.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread.
    pub fn wait_until(&self, time: Duration, holds: impl Fn(&Http2Server) -> bool) -> bool {
        let deadline = Instant::now() + time;
        while !holds(self) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl std::fmt::Debug for Http2Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Http2Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has printed its panic. A second one here would hide which test failed.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Security {
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

fn run(
    plan: &Plan,
    security: Security,
    record: &Arc<Record>,
    started: &mpsc::Sender<io::Result<SocketAddr>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // The receiver is dropped only if its thread panicked.
            let _ = started.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
            Ok(listener) => listener,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = started.send(listener.local_addr());
        let security = Arc::new(security);
        tokio::spawn(accept(listener, Arc::clone(plan), security, Arc::clone(record)));
        // An error means that the sender was dropped, which also means stop.
        let _ = stopped.await;
    });
}

async fn accept(listener: TcpListener, plan: Plan, security: Arc<Security>, record: Arc<Record>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = record.connections.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        match plan(number) {
            Http2::Frames(play) => {
                let blocking = stream.into_std().and_then(|std| std.set_nonblocking(false).map(|()| std));
                let blocking = blocking.expect("a socket can be made blocking");
                std::thread::spawn(move || play(Frames::new(blocking)));
            }
            Http2::Rules(rules) => {
                let (security, record) = (Arc::clone(&security), Arc::clone(&record));
                tokio::spawn(async move { secure(stream, number, rules, &security, &record).await });
            }
        }
    }
}

async fn secure(
    stream: TcpStream,
    number: u64,
    rules: Http2Rules,
    security: &Security,
    record: &Arc<Record>,
) {
    #[cfg(feature = "tls")]
    if let Some(tls) = &security.tls {
        if let Ok(stream) = tls.accept(stream).await {
            if stream.get_ref().1.alpn_protocol() == Some(b"http/1.1") {
                // An error: the client has left.
                let _ = serve_http1(stream, number, &rules, record).await;
            } else {
                serve(stream, number, rules, record).await;
            }
        }
        return;
    }
    let _ = security;
    serve(stream, number, rules, record).await;
}

/// HTTP/1.1, which the client has chosen: requests without a body, and whole responses.
#[cfg(feature = "tls")]
async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    connection: u64,
    rules: &Http2Rules,
    record: &Record,
) -> io::Result<()> {
    let mut stream = tokio::io::BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fields = lines.iter().filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
        let asked = Asked { method, authority: String::new(), path, fields, body: Vec::new(), connection };
        let reply = (rules.answer)(&asked);
        lock(&record.seen).push(asked);
        let Reply::Response(status, fields, parts, _) = reply else { return Ok(()) };
        let body = parts.concat();
        let mut head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\n", body.len());
        fields.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat()).await?;
        stream.flush().await?;
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    number: u64,
    rules: Http2Rules,
    record: &Arc<Record>,
) {
    record.open.fetch_add(1, Ordering::SeqCst);
    let mut builder = Builder::new();
    if let Some(most) = rules.streams_max {
        builder.max_concurrent_streams(most);
    }
    let mut requests = 0;
    if let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await {
        while let Some(Ok((request, respond))) = connection.accept().await {
            requests += 1;
            let (answer, record) = (Arc::clone(&rules.answer), Arc::clone(record));
            tokio::spawn(one(request, respond, number, answer, record));
            if rules.goaway_after == Some(requests) {
                connection.graceful_shutdown();
            }
        }
    }
    record.open.fetch_sub(1, Ordering::SeqCst);
}

async fn one(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: u64,
    answer: Arc<dyn Fn(&Asked) -> Reply + Send + Sync>,
    record: Arc<Record>,
) {
    {
        let mut in_flight = lock(&record.in_flight);
        let (now, peak) = in_flight.entry(connection).or_default();
        *now += 1;
        *peak = (*peak).max(*now);
    }
    let (parts, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(piece)) = incoming.data().await {
        let _ = incoming.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    let asked = Asked {
        method: parts.method.to_string(),
        authority: parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        fields: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
        body,
        connection,
    };
    let mut reply = answer(&asked);
    lock(&record.seen).push(asked);
    loop {
        match reply {
            Reply::Late(pause, then) => {
                tokio::time::sleep(pause).await;
                reply = *then;
            }
            Reply::Interim(count, then) => {
                for _ in 0..count {
                    let interim = Response::builder().status(103).body(()).expect("a plain response");
                    let _ = respond.send_informational(interim);
                }
                reply = *then;
            }
            Reply::Response(..) | Reply::Reset(_) | Reply::Broken(..) | Reply::Large(_) | Reply::Silence => {
                break;
            }
        }
    }
    // An error: the client has reset the stream or left.
    let reset = give(&mut respond, reply).await.err();
    lock(&record.resets).extend(reset.and_then(|error| error.reason()).map(u32::from));
    if let Some((now, _)) = lock(&record.in_flight).get_mut(&connection) {
        *now -= 1;
    }
}

async fn give(respond: &mut SendResponse<Bytes>, reply: Reply) -> Result<(), h2::Error> {
    let head = |status: u16, fields: &[(&'static str, String)]| {
        let builder = Response::builder().status(status);
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, value));
        builder.body(()).expect("the test gives valid fields")
    };
    match reply {
        Reply::Response(status, fields, parts, trailers) => {
            let is_whole = parts.iter().all(Bytes::is_empty) && trailers.is_empty();
            let mut stream = respond.send_response(head(status, &fields), is_whole)?;
            if is_whole {
                return Ok(());
            }
            let last = parts.len();
            for (number, part) in (1..).zip(parts) {
                push(&mut stream, part, number == last && trailers.is_empty()).await?;
            }
            if !trailers.is_empty() {
                stream.send_trailers(head(200, &trailers).into_parts().0.headers)?;
            }
        }
        Reply::Reset(code) => respond.send_reset(Reason::from(code)),
        Reply::Broken(body, code) => {
            let mut stream = respond.send_response(head(200, &[]), false)?;
            push(&mut stream, body, false).await?;
            // What was pushed is on its way once the window of the client was asked for.
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.send_reset(Reason::from(code));
        }
        Reply::Large(bytes) => {
            let mut stream = respond.send_response(head(200, &[]), false)?;
            let block = Bytes::from(vec![b'x'; 16 << 10]);
            let mut left = bytes;
            while left > 0 {
                let most = left.min(block.len() as u64);
                let part = block.slice(..usize::try_from(most).expect("a small block"));
                left -= most;
                push(&mut stream, part, left == 0).await?;
            }
        }
        Reply::Silence => {
            let reason = poll_fn(|cx| respond.poll_reset(cx)).await?;
            return Err(reason.into());
        }
        Reply::Late(..) | Reply::Interim(..) => unreachable!("they were taken apart"),
    }
    Ok(())
}

/// Sends a part as the window of the client allows.
async fn push(stream: &mut SendStream<Bytes>, mut part: Bytes, is_last: bool) -> Result<(), h2::Error> {
    loop {
        stream.reserve_capacity(part.len());
        let room = if part.is_empty() {
            0
        } else {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(room) => room?,
                None => return Ok(()),
            }
        };
        let now = part.split_to(room.min(part.len()));
        let is_over = part.is_empty();
        stream.send_data(now, is_over && is_last)?;
        if is_over {
            return Ok(());
        }
    }
}
