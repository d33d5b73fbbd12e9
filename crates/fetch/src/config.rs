//! The settings of a run, as plain data. They are checked when the plan is made from them.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use overlapped_proto::bucket::Rate;
use overlapped_proto::job::Method;
use overlapped_proto::limits;
use overlapped_proto::max_errors::MaxErrors;
use overlapped_proto::netrc::Netrc;
use overlapped_proto::proxy::{Environment, Variable};

use crate::cookies::CookieJar;
use crate::fs::UploadFile;

/// All settings of a run. Every default that is a number is a constant of `overlapped_proto::limits`.
///
/// ```
/// use overlapped_fetch::{Config, Pace};
///
/// let config = Config { pace: Pace { parallel_max: 64, ..Pace::default() }, ..Config::default() };
/// assert_eq!(config.max_redirects, 10);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// What every request sends unless its row overrides it.
    pub request: Request,
    /// How many requests may run, and how fast.
    pub pace: Pace,
    /// What is retried.
    pub retry: Retry,
    /// Time limits by phase; `None`: no limit.
    pub timeouts: Timeouts,
    /// What is kept of a response.
    pub response: Response,
    /// Redirects followed for one row; 0: the redirect itself is the result.
    pub max_redirects: u16,
    /// How connections are made.
    pub network: Network,
    /// Settings of single hosts, instead of those above; each host once.
    pub hosts: Vec<HostConfig>,
    /// A jar that all rows share. Without one the cookies of a row last from one of its redirects to the next.
    pub cookies: Option<CookieJar>,
    /// Failed rows at which the run is drained.
    pub max_errors: Option<MaxErrors>,
    /// Write records in the order of the list.
    pub ordered: bool,
    /// The most rows in memory. Rows of a host that has too many of them are spilled to disk, so that others can start.
    pub window_rows: usize,
    /// Threads that fetch; `None`: one per processor, or fewer where only few files may be open.
    pub shards: Option<usize>,
}

/// What every request sends unless its row overrides it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Header fields, in order. A field given here replaces a default of the same name; an empty value removes it.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Bytes>,
    /// Instead, a file whose content is sent.
    pub body_file: Option<UploadFile>,
    /// The directory beneath which rows may name files to send ([`Row::body_file`](crate::Row::body_file)). Whoever writes the
    /// list can send any file in it anywhere. Without it such rows fail.
    pub body_dir: Option<PathBuf>,
    /// User name and password for basic authentication, sent to the origin of the row's own URL only.
    pub user: Option<(String, String)>,
    /// The token for bearer authentication, sent to the origin of the row's own URL only.
    pub bearer: Option<String>,
    /// User names and passwords by host, for basic authentication where nothing else is set. Each is sent to the origin of the
    /// row's own URL only.
    pub netrc: Option<Arc<Netrc>>,
    /// Ask for compressed bodies, and decode them.
    pub compressed: bool,
}

/// What differs for one host, on all its ports. The headers and credentials of a row come before it. A redirect that leads to the
/// host from another origin gets its limits and its proxy, and of its headers those that are no secret.
///
/// ```
/// use overlapped_fetch::{Config, HostConfig};
///
/// let slow = HostConfig { name: "slow.example.org".into(), rate: Some("1/s".parse()?), ..HostConfig::default() };
/// let config = Config { hosts: vec![slow], ..Config::default() };
/// # assert!(overlapped_fetch::Bulk::new(config).is_ok());
/// # Ok::<(), overlapped_fetch::InvalidRate>(())
/// ```
#[derive(Clone, Default)]
pub struct HostConfig {
    /// Its name or address as in URLs, without a port. Names below it are other hosts.
    pub name: String,
    /// Requests in flight to it; `Some(0)`: no limit.
    pub parallel_max: Option<usize>,
    /// Requests per span to it.
    pub rate: Option<Rate>,
    /// Header fields, in order. A field given here replaces one of the same name; an empty value removes it.
    pub headers: Vec<(String, String)>,
    /// User name and password for basic authentication, sent to rows' own URLs on this host only.
    pub user: Option<(String, String)>,
    /// The token for bearer authentication, likewise.
    pub bearer: Option<String>,
    /// Its proxy, or none, whatever [`Proxies`] says.
    pub proxy: Option<Option<String>>,
}

/// Without credentials.
impl fmt::Debug for HostConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How many requests may run, and how fast.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Requests in flight at once.
    pub parallel_max: usize,
    /// Requests in flight to one host; `None`: 6, and unlimited for loopback. `Some(0)`: no limit.
    pub parallel_max_host: Option<usize>,
    /// Requests per span, over all hosts.
    pub rate: Option<Rate>,
    /// Requests per span, to each host.
    pub rate_host: Option<Rate>,
    /// Adapt a host's concurrency and rate to its responses, and pause it while it refuses (429, 502, 503, 504, 522, 524).
    pub adaptive: bool,
    /// Fetch each site's robots.txt first, and follow it (RFC 9309).
    pub robots: bool,
    /// Consecutive failures to reach an origin (scheme, host, port) before it is parked and only probed now and then; 0:
    /// never.
    pub max_host_errors: u32,
    /// How long an origin may be unreachable, or a host answer nothing but 429, 502, 503, 504, 522 and 524, before its rows
    /// fail as `host.down`; `None`: no limit.
    pub host_down_after: Option<Duration>,
}

/// What is retried.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Retries after the first attempt.
    pub retries: u16,
    /// No retry starts later than this after the first attempt.
    pub max_time: Option<Duration>,
    /// Also retry methods that are not idempotent, and failures that are not transient.
    pub all_errors: bool,
}

/// Time limits by phase; `None`: no limit.
///
/// ```
/// use std::time::Duration;
/// use overlapped_fetch::{Config, Retry, Timeouts};
///
/// let timeouts = Timeouts { connect: Some(Duration::from_secs(3)), total: None, ..Timeouts::default() };
/// let config = Config { timeouts, retry: Retry { retries: 5, ..Retry::default() }, ..Config::default() };
/// # assert!(overlapped_fetch::Bulk::new(config).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Name resolution.
    pub dns: Option<Duration>,
    /// Opening the connection.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request to the first byte of the response.
    pub first_byte: Option<Duration>,
    /// The minimum speed of a body: bytes per second, measured over a span.
    pub speed: Option<(u64, Duration)>,
    /// An attempt with the redirects before it, without the time in the queue.
    pub total: Option<Duration>,
}

/// What is kept of a response.
///
/// ```
/// use overlapped_fetch::{Config, Response};
///
/// // No bodies, and only statuses from 500 on are failures.
/// let response = Response { body: false, fail: vec![500..=599], ..Response::default() };
/// let config = Config { response, ..Config::default() };
/// # assert!(overlapped_fetch::Bulk::new(config).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct Response {
    /// Keep the body.
    pub body: bool,
    /// Keep the body as it came, in its content codings.
    pub undecoded: bool,
    /// Keep the bytes of the head as they came ([`Record::raw_head`](overlapped_proto::record::Record::raw_head)).
    pub raw_head: bool,
    /// Keep the request, without its credentials ([`Record::sent`](overlapped_proto::record::Record::sent)).
    pub sent: bool,
    /// Compute the SHA-256 of the body that is kept.
    pub sha256: bool,
    /// Decoded bytes of a body before it fails as `body.too_large`.
    pub max_bytes: u64,
    /// Refuse every head that violates RFC 9112. Otherwise violations that do not affect the length of the message are
    /// accepted, as browsers do, and noted in the record.
    pub strict_http: bool,
    /// Statuses that count as failures.
    pub fail: Vec<RangeInclusive<u16>>,
    /// The memory budget: bytes of responses in memory until their records are written; `None`, the default: no
    /// limit, since a caller who keeps records wants their bodies in memory. Beyond half of
    /// it, bodies and the heads of finished rows are spooled to disk
    /// ([`Body::Spooled`](overlapped_proto::record::Body::Spooled)); beyond all of it, large heads and decoders wait before
    /// they read on. A record that a sink keeps counts for as long as it is kept.
    pub memory_max: Option<u64>,
    /// A directory for bodies that are too large to hold, for sinks that rename files. Without one they go to an unlinked
    /// file, in the run directory of a durable run, or else in the directory for temporary files.
    pub spool: Option<PathBuf>,
}

/// How connections are made.
///
/// ```
/// use overlapped_fetch::{Config, Http, Network};
///
/// let resolve = vec![("example.org".to_owned(), 443, vec!["192.0.2.7".parse()?])];
/// let network = Network { http: Http::Http1, resolve, public_only: true, ..Network::default() };
/// let config = Config { network, ..Config::default() };
/// # assert!(overlapped_fetch::Bulk::new(config).is_ok());
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// The versions of HTTP.
    pub http: Http,
    /// IPv4 or IPv6 only.
    pub family: Option<Family>,
    /// Certificates to trust instead of the system's, as PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Names whose certificate is not verified.
    pub insecure_hosts: Vec<String>,
    /// `host:port` to dial at other addresses (curl's `--resolve`); of several for the same the last one counts.
    pub resolve: Vec<(String, u16, Vec<IpAddr>)>,
    /// The client certificate for servers that ask for one. It is a credential: after a redirect to another origin it is not
    /// sent any more.
    pub identity: Option<Identity>,
    /// Other hosts and ports that are connected to instead of those of URLs (curl's `--connect-to`), which the server is still asked
    /// for; the first that fits, and leads elsewhere, counts. An empty host or no port fits any, or keeps that of the URL. A proxy
    /// connects to them through a tunnel.
    pub connect_to: Vec<(HostPort, HostPort)>,
    /// A Unix socket to which all connections go, through no proxy. There is no `connect_to` and no `interface` beside it.
    pub unix_socket: Option<PathBuf>,
    /// The local address that connections are made from, or the name of a network interface, both of this machine.
    pub interface: Option<String>,
    /// Through which proxies.
    pub proxies: Proxies,
    /// Refuse private, loopback and link-local addresses, for lists from untrusted sources.
    pub public_only: bool,
    /// Reach hosts by https only that have asked for that over https (RFC 6797), as long as the run or the client lasts. A row whose
    /// URL is changed by that has the note `hsts`.
    pub hsts: bool,
    /// Address ranges that are always allowed.
    pub allow_addresses: Vec<String>,
}

/// A host, which may be empty, and a port.
pub type HostPort = (String, Option<u16>);

/// A client certificate.
#[derive(Clone)]
pub struct Identity {
    /// The certificate and those that lead to its authority, as PEM.
    pub chain_pem: Vec<u8>,
    /// Its private key, as PEM without a password. It may be in the same file.
    pub key_pem: Vec<u8>,
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Which requests go through which proxy. A proxy is a URL: `http://HOST:PORT`, `https://`, `socks5://` (names are resolved here)
/// or `socks5h://` (by the proxy), with `NAME:PASSWORD@` before the host if it wants that. Without a scheme it is http, and
/// without a port 1080, or 443 for https.
///
/// ```
/// use overlapped_fetch::{Config, Network, Proxies};
///
/// let proxies = Proxies { no_proxy: "example.org, 10.0.0.0/8".into(), ..Proxies::all("http://proxy.test:3128") };
/// let config = Config { network: Network { proxies, ..Network::default() }, ..Config::default() };
/// ```
#[derive(Clone, Default)]
pub struct Proxies {
    /// For URLs of http.
    pub http: Option<String>,
    /// For URLs of https.
    pub https: Option<String>,
    /// A user name and a password for all of these that have none in their URLs.
    pub user: Option<(String, String)>,
    /// Hosts that are reached without: names, which include all below them, addresses and networks, separated by commas, each
    /// optionally with a port; or `*` for all.
    pub no_proxy: String,
    /// Proxies, or none, for hosts that are written in the same way. They precede all others, and the first that fits counts.
    pub hosts: Vec<(String, Option<String>)>,
}

impl Proxies {
    /// The same proxy for all requests.
    #[must_use]
    pub fn all(proxy: impl Into<String>) -> Self {
        let proxy = proxy.into();
        Self { http: Some(proxy.clone()), https: Some(proxy), ..Self::default() }
    }

    /// Those of the environment, as curl reads it: `http_proxy` (in lower case only), `https_proxy`, `all_proxy` and `no_proxy`.
    #[must_use]
    pub fn from_env() -> Self {
        let Environment { http, https, exceptions } = Environment::read(|name| std::env::var(name).ok());
        let value = |variable: Variable| variable.value;
        let (http, https) = (http.map(value), https.map(value));
        Self { http, https, no_proxy: exceptions.map(value).unwrap_or_default(), ..Self::default() }
    }
}

/// Without the proxies, whose URLs may hold passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

/// The versions of HTTP that are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http {
    /// Over TLS what the server chooses of HTTP/2 and HTTP/1.1 (ALPN), and HTTP/1.1 without TLS.
    #[default]
    Negotiated,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only, without asking whether the server speaks it.
    Http2,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request: Request::default(),
            pace: Pace::default(),
            retry: Retry::default(),
            timeouts: Timeouts::default(),
            response: Response::default(),
            max_redirects: limits::REDIRECTS_MAX,
            network: Network::default(),
            hosts: Vec::new(),
            cookies: None,
            max_errors: None,
            ordered: false,
            window_rows: limits::WINDOW_ROWS,
            shards: None,
        }
    }
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: Method::Get,
            headers: Vec::new(),
            body: None,
            body_file: None,
            body_dir: None,
            user: None,
            bearer: None,
            netrc: None,
            compressed: true,
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            parallel_max: limits::PARALLEL_MAX,
            parallel_max_host: None,
            rate: None,
            rate_host: None,
            adaptive: true,
            robots: false,
            max_host_errors: limits::HOST_ERRORS_MAX,
            host_down_after: Some(limits::HOST_DOWN_AFTER.into()),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { retries: limits::RETRIES, max_time: None, all_errors: false }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dns: Some(limits::DNS_TIMEOUT.into()),
            connect: Some(limits::CONNECT_TIMEOUT.into()),
            tls: Some(limits::TLS_TIMEOUT.into()),
            first_byte: Some(limits::FIRST_BYTE_TIMEOUT.into()),
            speed: Some((limits::SPEED_LIMIT_BYTES, limits::SPEED_TIME.into())),
            total: Some(limits::TOTAL_TIMEOUT.into()),
        }
    }
}

impl Default for Response {
    fn default() -> Self {
        Self {
            body: true,
            undecoded: false,
            raw_head: false,
            sent: false,
            sha256: false,
            max_bytes: limits::BODY_BYTES_MAX,
            strict_http: false,
            fail: vec![400..=999],
            memory_max: None,
            spool: None,
        }
    }
}
