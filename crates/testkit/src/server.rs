//! The server: its builder, and accessors for what it has recorded.
//!
//! A server owns a background thread with a runtime. Dropping the server drops the runtime with all connections, and joins the
//! thread, so that nothing outlives the test.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::files::raise_open_files;
use crate::json;
use crate::record::{HostRecord, Recorder, Seen};
use crate::request::Request;
use crate::routes::World;
use crate::script::Script;
use crate::service::{self, Handler, Shared};
#[cfg(feature = "tls")]
use crate::tls::{Certificate, Tls};

/// The default of the builder's `record_limit`.
pub const RECORD_LIMIT: usize = 100_000;

/// A running server on loopback.
///
/// ```
/// use overlapped_testkit::Server;
///
/// let server = Server::start();
/// let url = server.url("/delay/10"); // http://127.0.0.1:PORT/delay/10
/// // … fetch it with the client under test, then check what the server has recorded:
/// assert_eq!(server.count("/delay"), 0);
/// assert_eq!(server.max_in_flight(), 0);
/// # let _ = url;
/// ```
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The settings of a [`Server`].
///
/// ```
/// use overlapped_testkit::{Script, Server};
///
/// let server = Server::builder()
///     .route("/teapot", Script::response(418, &[], "short and stout"))
///     .robots("User-agent: *\nDisallow: /private\n")
///     .hosts(3)
///     .start();
/// assert_eq!(server.addresses().len(), 3); // 127.0.0.1, .2 and .3 on one port
/// ```
#[derive(Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    addresses: Vec<IpAddr>,
    port: u16,
    scale: Option<f64>,
    robots: Option<String>,
    record_limit: Option<usize>,
    routes: HashMap<String, Script>,
    handlers: Vec<(String, Handler)>,
    raw: Vec<Script>,
    connections: u64,
    #[cfg(feature = "tls")]
    certificate: Option<Certificate>,
    #[cfg(feature = "tls")]
    names: Vec<String>,
    #[cfg(feature = "tls")]
    wants_client: bool,
    #[cfg(feature = "tls")]
    alpn: Option<Vec<&'static str>>,
}

impl Builder {
    /// Listens on this loopback address, such as `127.0.0.2` or `::1`, instead of `127.0.0.1`. If called several times, the server
    /// listens on all of them with the same port.
    pub fn address(mut self, address: impl Into<IpAddr>) -> Builder {
        self.addresses.push(address.into());
        self
    }

    /// Listens on `count` addresses, 127.0.0.1, 127.0.0.2, …, with the same port. To a client each is a host of its own.
    pub fn hosts(mut self, count: u16) -> Builder {
        for host in 1..=count {
            let [high, low] = host.to_be_bytes();
            self.addresses.push(Ipv4Addr::new(127, 0, high, low).into());
        }
        self
    }

    /// Listens on this port instead of any free one.
    pub fn port(mut self, port: u16) -> Builder {
        self.port = port;
        self
    }

    /// Scales the delays of `/experiment/0..4`; the default is 0.1.
    pub fn scale(mut self, scale: f64) -> Builder {
        self.scale = Some(scale);
        self
    }

    /// Sets the text of `/robots.txt`, which is 404 by default.
    pub fn robots(mut self, text: impl Into<String>) -> Builder {
        self.robots = Some(text.into());
        self
    }

    /// Sets the most requests that are kept for [`Server::seen`]. Counts are not affected.
    pub fn record_limit(mut self, requests: usize) -> Builder {
        self.record_limit = Some(requests);
        self
    }

    /// Responds to this path, with any query, by a script. It takes precedence over the built-in routes.
    pub fn route(mut self, path: impl Into<String>, script: Script) -> Builder {
        self.routes.insert(path.into(), script);
        self
    }

    /// Responds to every path with this prefix by the script that the closure returns; the first match counts. The closure must
    /// not block.
    pub fn handler(
        mut self,
        path_prefix: impl Into<String>,
        handler: impl Fn(&Request) -> Script + Send + Sync + 'static,
    ) -> Builder {
        self.handlers.push((path_prefix.into(), Box::new(handler)));
        self
    }

    /// Plays scripts on whole connections instead of routes: the first on the first connection and so on, the last on all
    /// further ones.
    ///
    /// # Panics
    ///
    /// When there is no script.
    pub fn raw(mut self, scripts: impl IntoIterator<Item = Script>) -> Builder {
        self.raw = scripts.into_iter().collect();
        assert!(!self.raw.is_empty(), "a raw server needs a script");
        self
    }

    /// Sets the number of concurrent connections, so that the limit on open files is raised if it is too low for both ends of
    /// each in this process.
    pub fn connections(mut self, count: u64) -> Builder {
        self.connections = count;
        self
    }

    /// Speaks TLS with a valid certificate, whose CA is [`Server::ca_pem`].
    #[cfg(feature = "tls")]
    pub fn tls(self) -> Builder {
        self.tls_with(Certificate::Valid)
    }

    /// Speaks TLS with a certificate of this kind.
    #[cfg(feature = "tls")]
    pub fn tls_with(mut self, certificate: Certificate) -> Builder {
        self.certificate = Some(certificate);
        self
    }

    /// Adds a name for which the certificate is valid, besides `localhost` and the addresses.
    #[cfg(feature = "tls")]
    pub fn tls_name(mut self, name: impl Into<String>) -> Builder {
        self.names.push(name.into());
        self
    }

    /// Accepts only clients with a certificate of its CA, such as [`Server::client_pem`].
    #[cfg(feature = "tls")]
    pub fn wants_client_certificate(mut self) -> Builder {
        self.wants_client = true;
        self
    }

    /// Offers these protocols by ALPN instead of `http/1.1`, which is spoken nevertheless; none: the client's ALPN is not
    /// answered.
    #[cfg(feature = "tls")]
    pub fn alpn(mut self, protocols: &[&'static str]) -> Builder {
        self.alpn = Some(protocols.to_vec());
        self
    }

    /// Starts the server.
    ///
    /// # Panics
    ///
    /// When the server cannot listen on the addresses: a test needs its server.
    pub fn start(self) -> Server {
        self.try_start().expect("the loopback server starts")
    }

    /// Starts the server.
    ///
    /// # Errors
    ///
    /// When the addresses can't be listened on, or the thread can't be started.
    pub fn try_start(mut self) -> io::Result<Server> {
        if self.addresses.is_empty() {
            self.addresses.push(Ipv4Addr::LOCALHOST.into());
        }
        if self.connections > 0 {
            raise_open_files();
        }
        #[cfg(feature = "tls")]
        let alpn = self.alpn.unwrap_or_else(|| vec!["http/1.1"]);
        #[cfg(feature = "tls")]
        let tls = self
            .certificate
            .map(|certificate| Tls::new(certificate, &self.names, &self.addresses, &alpn, self.wants_client));
        #[cfg(feature = "tls")]
        let scheme = if tls.is_some() { "https" } else { "http" };
        #[cfg(not(feature = "tls"))]
        let scheme = "http";
        let recorder = Arc::new(Recorder::new(self.record_limit.unwrap_or(RECORD_LIMIT)));
        let shared = Arc::new(Shared {
            recorder: Arc::clone(&recorder),
            world: World {
                recorder,
                scheme,
                scale: self.scale.unwrap_or(0.1),
                robots: self.robots,
                hits: Mutex::new(HashMap::new()),
            },
            routes: self.routes,
            handlers: self.handlers,
            raw: self.raw,
            #[cfg(feature = "tls")]
            tls,
        });
        let (stop, stopped) = oneshot::channel();
        let (started, start) = mpsc::channel();
        let at_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("testkit".to_owned())
            .spawn(move || service::run(&self.addresses, self.port, &at_thread, &started, stopped))?;
        let addresses = start.recv().expect("the thread says how its start went")?;
        Ok(Server { addresses, shared, stop: Some(stop), thread: Some(thread) })
    }
}

impl Server {
    /// Starts a server on `127.0.0.1` with the built-in routes.
    ///
    /// # Panics
    ///
    /// When it can't listen.
    pub fn start() -> Server {
        Server::builder().start()
    }

    /// A builder for other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The (first) address.
    pub fn addr(&self) -> SocketAddr {
        *self.addresses.first().expect("a server listens on at least one address")
    }

    /// All addresses, in the order of the builder.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The URL of a path on the first address.
    pub fn url(&self, path: &str) -> String {
        self.url_at(self.addr(), path)
    }

    /// The URL of a path on the address with this index, modulo the number of addresses. It spreads rows over hosts.
    pub fn url_on(&self, host: usize, path: &str) -> String {
        let index = host % self.addresses.len();
        self.url_at(*self.addresses.get(index).expect("the index is below the length"), path)
    }

    /// The certificate authority of this server, as PEM; `None` without TLS.
    #[cfg(feature = "tls")]
    pub fn ca_pem(&self) -> Option<&str> {
        self.shared.tls.as_ref().map(Tls::ca_pem)
    }

    /// The certificate of this server, as PEM; `None` without TLS.
    #[cfg(feature = "tls")]
    pub fn certificate_pem(&self) -> Option<&str> {
        self.shared.tls.as_ref().map(Tls::certificate_pem)
    }

    /// A certificate that the server accepts of a client, and its key, as PEM; `None` if it wants none.
    #[cfg(feature = "tls")]
    pub fn client_pem(&self) -> Option<(&str, &str)> {
        self.shared.tls.as_ref().and_then(Tls::client_pem)
    }

    /// The number of connections whose TLS handshake failed, for example because the client refused the certificate.
    #[cfg(feature = "tls")]
    pub fn failed_handshakes(&self) -> u64 {
        self.shared.recorder.failed_handshakes()
    }

    /// The number of connections whose TLS session was resumed from an earlier connection.
    #[cfg(feature = "tls")]
    pub fn resumed_handshakes(&self) -> u64 {
        self.shared.recorder.resumed_handshakes()
    }

    /// The requests in the order of arrival, up to the `record_limit`.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.recorder.seen()
    }

    /// Clears the record, including the counts but not the number of connections. Requests in flight stay in flight.
    pub fn forget(&self) {
        self.shared.recorder.forget();
    }

    /// The number of requests.
    pub fn requests(&self) -> u64 {
        self.shared.recorder.counts().requests
    }

    /// The number of requests whose path and query have this prefix.
    ///
    /// # Panics
    ///
    /// When there were more requests than the `record_limit`, and the prefix extends beyond the first segment (`/bytes/`, `/ok`):
    /// the count is unknown then.
    pub fn count(&self, path_prefix: &str) -> u64 {
        let count = self.shared.recorder.count(path_prefix);
        count.expect(
            "requests by this prefix are counted only as long as all are kept: raise the record_limit",
        )
    }

    /// The number of requests of each `/row/N`, by N (below [`ROWS_MAX`](crate::ROWS_MAX)); the `record_limit` does not apply.
    pub fn row_hits(&self) -> Vec<u16> {
        self.shared.recorder.row_hits()
    }

    /// The number of requests in flight now.
    pub fn in_flight(&self) -> usize {
        self.shared.recorder.counts().in_flight
    }

    /// The peak number of requests in flight.
    pub fn max_in_flight(&self) -> usize {
        self.shared.recorder.counts().max_in_flight
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> u64 {
        self.shared.recorder.counts().connections
    }

    /// The number of open connections.
    pub fn open_connections(&self) -> usize {
        self.shared.recorder.counts().open_connections
    }

    /// The peak number of open connections.
    pub fn max_open_connections(&self) -> usize {
        self.shared.recorder.counts().max_open_connections
    }

    /// The number of requests that could not be parsed.
    pub fn malformed(&self) -> u64 {
        self.shared.recorder.counts().malformed
    }

    /// The record of one host, by its Host header in lower case, such as `127.0.0.2:8080`.
    pub fn host(&self, host: &str) -> HostRecord {
        self.shared.recorder.host(host)
    }

    /// The record of every host.
    pub fn hosts(&self) -> BTreeMap<String, HostRecord> {
        self.shared.recorder.hosts()
    }

    /// The time since the start: the clock of [`Seen::at`].
    pub fn elapsed(&self) -> Duration {
        self.shared.recorder.elapsed()
    }

    /// Waits until `requests` requests have arrived; true if they did within the time.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread.
    pub fn wait_for_requests(&self, requests: u64, time: Duration) -> bool {
        self.wait_until(time, |server| server.requests() >= requests)
    }

    /// Waits until a condition on the server holds; true if it did within the time.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread.
    pub fn wait_until(&self, time: Duration, holds: impl Fn(&Server) -> bool) -> bool {
        let deadline = Instant::now() + time;
        while !holds(self) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Writes a JSON line for each kept request: url, host, method, time_s, in_flight, connection, body_bytes, ending, ended_s.
    ///
    /// # Errors
    ///
    /// When `out` can't be written to.
    pub fn write_record(&self, mut out: impl io::Write) -> io::Result<()> {
        for seen in self.seen() {
            out.write_all(json::of_seen(&seen, self.shared.world.scheme).as_bytes())?;
        }
        out.flush()
    }

    /// True if the head or body of any kept request contains these bytes, such as a secret that must not be sent.
    pub fn received(&self, needle: impl Into<Bytes>) -> bool {
        let needle = needle.into();
        let holds =
            |bytes: &[u8]| needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle);
        self.seen().iter().any(|seen| holds(&seen.request.head) || holds(&seen.request.body))
    }
}

impl Server {
    fn url_at(&self, address: SocketAddr, path: &str) -> String {
        format!("{}://{address}{path}", self.shared.world.scheme)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has printed its panic. A second one here would hide which test failed.
            let _ = thread.join();
        }
    }
}
