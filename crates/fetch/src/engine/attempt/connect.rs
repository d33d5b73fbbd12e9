//! Opens the connection of an attempt: to the server itself, or through a proxy. What is dialled was judged by the address policy.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use overlapped_proto::error::ErrorKind;
use overlapped_proto::keepalive::Lease;
use overlapped_proto::limits::{UNIX_PAUSE, UNIX_PAUSE_MAX};
use overlapped_proto::origin::{ConnKey, Scheme};
use overlapped_proto::outcome::Failure;
use overlapped_proto::protocol::{Protocol, Sign};
use overlapped_proto::proxy::{Kind, Proxy, Target};
use overlapped_proto::record::Connection as Wire;
use overlapped_proto::time::Nanos;
use tokio::net::UnixStream;

use super::Attempt;
use crate::config::Http;
use crate::engine::requester::borrowed;
use crate::locality::Locality;
use crate::net::Connection;
use crate::net::alarm::Deadline;
use crate::net::http1::Forwarding;
use crate::net::link::Link;
use crate::net::stream::Stream;
use crate::net::tls::{Alpn, chose_http1, chose_http2};
use crate::net::tls_failure::Identify;
use crate::net::{connect, http1, http2, tunnel};
use crate::plan::Use;

/// The stream to a server, or to the proxy that forwards requests to it.
struct Way {
    link: Link,
    forwarding: Option<Arc<Forwarding>>,
}

impl<L: Locality, A: Fn()> Attempt<'_, L, A> {
    /// A new connection to the origin, of which this is `known`.
    pub(super) async fn connect(
        &mut self,
        key: &ConnKey,
        known: Protocol,
    ) -> Result<Lease<Box<Connection>>, Failure> {
        let alpn = self.alpn(known);
        self.outcome.wire = Wire { reused: Some(false), ..Wire::default() };
        let way = match self.proxy {
            None => Way { link: self.dial_origin(key).await?, forwarding: None },
            Some(proxy) => self.through(proxy, key).await?,
        };
        self.is_forwarded = way.forwarding.is_some();
        let remote = self.outcome.wire.remote;
        let requester = self.requester;
        let trust = self.terms.tls.map_or(&requester.plan.trust, |(trust, _)| trust);
        let identify = match key.origin.scheme() {
            Scheme::Https => trust.identifies_by(self.identify()),
            Scheme::Http => Identify::No,
        };
        let mut is_http2 = self.terms.http == Http::Http2 && way.forwarding.is_none();
        let stream = match (key.origin.scheme(), way.link) {
            (Scheme::Https, link) => {
                self.outcome.connecting = self.step(ErrorKind::TlsTimeout);
                let limit = self.terms.timeouts.tls;
                let deadline = Deadline::after(requester.now(), limit, ErrorKind::TlsTimeout);
                let handshake = trust.handshake(key.origin.host(), link, alpn, identify);
                let tls =
                    self.alarm.within(deadline, handshake).await?.map_err(|failure| match self.proxy {
                        Some(proxy) => Failure::new(
                            failure.kind,
                            format!("through the proxy {proxy}: {}", failure.message),
                        ),
                        None => failure,
                    })?;
                self.outcome.watch.tls(requester.stamp());
                is_http2 |= chose_http2(&tls);
                // A server that ignores what it does not know would speak HTTP/2 again.
                if known == Protocol::Broken && !chose_http1(&tls) {
                    let message = "the server does not choose HTTP/1.1 (ALPN)";
                    return Err(Failure::new(ErrorKind::TlsHandshake, message));
                }
                Stream::Tls(Box::new(tls))
            }
            // TLS to the proxy alone.
            (Scheme::Http, Link::Tls(tls)) if way.forwarding.is_some() => Stream::Tls(tls),
            (Scheme::Http, link) => Stream::Plain(link),
        };
        self.outcome.connecting = None;
        requester.count_connection();
        self.trace.connected(remote);
        (self.accepted)();
        let now = requester.now();
        if is_http2 {
            let (windows, home) = (requester.plan.windows, requester.home()?);
            let opened = http2::open(stream, windows, identify, key.clone(), remote, now, home);
            let deadline = Deadline::after(now, self.terms.timeouts.connect, ErrorKind::ConnectTimeout);
            let connection = self.alarm.within(deadline, opened).await??;
            return Ok(match self.is_alone {
                true => Lease::Stream(Box::new(Connection::Http2(connection.lease()))),
                false => requester.share(key, connection),
            });
        }
        if alpn == Alpn::Both && key.origin.scheme() == Scheme::Https {
            requester.see(key, Sign::ChoseHttp1, self.terms.http);
        }
        let mut connection = http1::Connection::new(stream, L::runtime(), remote, now);
        (connection.forwarding, connection.identify) = (way.forwarding, identify);
        Ok(Lease::Exclusive(Box::new(Connection::Http1(connection))))
    }

    /// The protocols to offer over TLS.
    fn alpn(&self, known: Protocol) -> Alpn {
        match self.terms.http {
            Http::Http1 => Alpn::Http1,
            Http::Http2 => Alpn::Http2,
            Http::Negotiated if known.has_left_http2() => Alpn::Http1,
            Http::Negotiated => Alpn::Both,
        }
    }

    /// A client certificate is a credential, for the origin of the row alone.
    fn identify(&self) -> Identify {
        if self.job.crossed_origin { Identify::No } else { Identify::Yes }
    }

    /// The timeout of a step, if it is evidence about the origin: a row that was redirected may have little time left.
    fn step(&self, kind: ErrorKind) -> Option<ErrorKind> {
        self.job.chain.is_empty().then_some(kind)
    }

    async fn dial_origin(&mut self, key: &ConnKey) -> Result<Link, Failure> {
        let (requester, limits) = (self.requester, self.terms.timeouts);
        if let Some(path) = &requester.plan.unix_socket {
            requester.plan.pass_by(&self.job.url, Use::UnixSocket);
            self.outcome.connecting = self.step(ErrorKind::ConnectTimeout);
            let socket = self.dial_unix(path).await?;
            self.outcome.watch.connect(requester.stamp());
            return Ok(Link::Unix(socket));
        }
        self.outcome.connecting = self.step(ErrorKind::DnsTimeout);
        let deadline = Deadline::after(requester.now(), limits.dns, ErrorKind::DnsTimeout);
        let elsewhere = requester.plan.elsewhere(&self.job.url);
        let elsewhere = elsewhere.as_ref();
        let addresses = requester.addresses(self.job, elsewhere, &mut self.outcome.watch);
        let addresses = self.alarm.within(deadline, addresses).await??;

        self.outcome.connecting = self.step(ErrorKind::ConnectTimeout);
        let deadline = Deadline::after(requester.now(), limits.connect, ErrorKind::ConnectTimeout);
        let port = elsewhere.map_or(key.origin.port(), |other| other.port);
        let dialled =
            connect::dial(&addresses, port, requester.plan.local.as_ref(), &requester.plan.last_files);
        let tcp = self.alarm.within(deadline, dialled).await??;
        self.outcome.watch.connect(requester.stamp());
        self.outcome.wire.remote = Some(tcp.peer_addr().map_err(|error| {
            Failure::new(ErrorKind::ConnectReset, format!("{}: {error}", key.origin.host()))
        })?);
        Ok(Link::Tcp(tcp))
    }

    /// Connects to a Unix socket. While its backlog is full it is asked again, after pauses that grow: this machine's queue says
    /// nothing about the server, until the time for a connection has passed.
    async fn dial_unix(&mut self, path: &Path) -> Result<UnixStream, Failure> {
        let requester = self.requester;
        let limit = self.terms.timeouts.connect;
        let deadline = Deadline::after(requester.now(), limit, ErrorKind::ConnectTimeout);
        let mut pause = UNIX_PAUSE.0;
        loop {
            let dialled = connect::unix(path, &requester.plan.last_files);
            if let Some(socket) = self.alarm.within(deadline, dialled).await?? {
                return Ok(socket);
            }
            // Of many that wait, not all ask at the same time.
            let random = Nanos(pause / 2 + requester.random() % pause);
            let waited = self.alarm.within(deadline, tokio::time::sleep(random.into())).await;
            waited.map_err(|failure| {
                let what = "the backlog of the socket is full";
                Failure::new(
                    failure.kind,
                    format!("--unix-socket {}: {what}: {}", path.display(), failure.message),
                )
            })?;
            pause = (pause * 2).min(UNIX_PAUSE_MAX.0);
        }
    }

    /// Connects to the proxy, and through it, unless it forwards requests.
    async fn through(&mut self, proxy: &Proxy, key: &ConnKey) -> Result<Way, Failure> {
        let requester = self.requester;
        // As with curl, the proxy connects to what stands in the place of the host and port.
        let elsewhere = requester.plan.elsewhere(&self.job.url);
        let elsewhere = elsewhere.as_ref();
        let host = elsewhere.map_or(self.job.url.host(), |other| Some(borrowed(&other.host)));
        requester.plan.judge_unseen(host, self.job)?;
        // A proxy that knows only addresses is given one that was judged.
        let resolved = match proxy.kind() {
            Kind::Socks5 => {
                self.outcome.connecting = self.step(ErrorKind::DnsTimeout);
                let limit = self.terms.timeouts.dns;
                let deadline = Deadline::after(requester.now(), limit, ErrorKind::DnsTimeout);
                let addresses = requester.addresses(self.job, elsewhere, &mut self.outcome.watch);
                let addresses = self.alarm.within(deadline, addresses).await??;
                let none = || Failure::new(ErrorKind::DnsNotFound, "no address of the selected family");
                Some(addresses.first().ok_or_else(none)?.address())
            }
            Kind::Http | Kind::Https | Kind::Socks5h => {
                if elsewhere.is_none() {
                    requester.plan.pass_by(&self.job.url, Use::Proxy);
                }
                None
            }
        };
        self.outcome.connecting = self.step(ErrorKind::ProxyUnreachable);
        let reached = self.reach(proxy).await;
        let mut link = reached.map_err(|failure| unreachable(proxy, failure))?;

        let forwards = proxy.forwards()
            && key.origin.scheme() == Scheme::Http
            && self.terms.http != Http::Http2
            && elsewhere.is_none();
        if forwards {
            self.outcome.connecting = None;
            let authorization = proxy.authorization().map(Into::into);
            let forwarding = Some(Arc::new(Forwarding { authorization }));
            self.outcome.watch.connect(requester.stamp());
            return Ok(Way { link, forwarding });
        }
        self.outcome.connecting = self.step(ErrorKind::ProxyFailed);
        let limit = self.terms.timeouts.connect;
        let deadline = Deadline::after(requester.now(), limit, ErrorKind::ConnectTimeout);
        let (host, port) = match elsewhere {
            Some(other) => (&*other.host.to_string(), other.port),
            None => (key.origin.host(), key.origin.port()),
        };
        let opened = async {
            match proxy.kind() {
                Kind::Http | Kind::Https => tunnel::connect(&mut link, proxy, host, port).await,
                Kind::Socks5 | Kind::Socks5h => {
                    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
                    let target = resolved.or(literal).map_or(Target::Name(host), Target::Address);
                    tunnel::socks(&mut link, proxy, target, port).await
                }
            }
        };
        let opened = self.alarm.within(deadline, opened).await;
        opened.map_err(|failure| failed(proxy, failure))??;
        // A server of HTTP/2 without TLS may speak first.
        if key.origin.scheme() == Scheme::Https || self.terms.http != Http::Http2 {
            tunnel::check_quiet(&mut link, proxy).await?;
        }
        self.outcome.watch.connect(requester.stamp());
        Ok(Way { link, forwarding: None })
    }

    /// Connects to a proxy, with TLS if it wants that.
    async fn reach(&mut self, proxy: &Proxy) -> Result<Link, Failure> {
        let (requester, timeouts) = (self.requester, self.terms.timeouts);
        let deadline = Deadline::after(requester.now(), timeouts.dns, ErrorKind::DnsTimeout);
        let addresses = requester.proxy_addresses(proxy, &mut self.outcome.watch);
        let addresses = self.alarm.within(deadline, addresses).await??;

        let deadline = Deadline::after(requester.now(), timeouts.connect, ErrorKind::ConnectTimeout);
        let dialled = connect::dial(
            &addresses,
            proxy.port(),
            requester.plan.local.as_ref(),
            &requester.plan.last_files,
        );
        let tcp = self.alarm.within(deadline, dialled).await??;
        let broken = |error| Failure::new(ErrorKind::ConnectReset, format!("{error}"));
        self.outcome.wire.remote = Some(tcp.peer_addr().map_err(broken)?);
        if proxy.kind() != Kind::Https {
            return Ok(Link::Tcp(tcp));
        }
        let trust = self.terms.tls.map_or(&requester.plan.trust, |(trust, _)| trust);
        let deadline = Deadline::after(requester.now(), timeouts.tls, ErrorKind::TlsTimeout);
        let host = proxy.host().to_string();
        let handshake = trust.handshake(&host, Link::Tcp(tcp), Alpn::Http1, Identify::No);
        Ok(Link::Tls(Box::new(self.alarm.within(deadline, handshake).await??)))
    }
}

/// What failed on the way to a proxy is no evidence about the host, except where it is of this program or machine.
fn unreachable(proxy: &Proxy, failure: Failure) -> Failure {
    let is_ours =
        matches!(failure.kind, ErrorKind::TimeoutTotal | ErrorKind::Resource | ErrorKind::PolicyAddress);
    let kind = if is_ours { failure.kind } else { ErrorKind::ProxyUnreachable };
    Failure::new(kind, format!("the proxy {proxy}: {}", failure.message))
}

/// The time for the tunnel has passed.
fn failed(proxy: &Proxy, failure: Failure) -> Failure {
    if failure.kind != ErrorKind::ConnectTimeout {
        return failure;
    }
    let message = format!("the proxy {proxy} did not connect to the host: {}", failure.message);
    Failure::new(ErrorKind::ProxyFailed, message)
}
