//! The plan: a [`Config`], checked and converted once to the form that the engine uses.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use overlapped_proto::address::Dialable;
use overlapped_proto::bucket::Rate;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::{Keep, Strictness};
use overlapped_proto::job::{HostKey, Job};
use overlapped_proto::max_errors::MaxErrors;
use overlapped_proto::origin::{Route, is_this_machine};
use overlapped_proto::outcome::Failure;
use overlapped_proto::proxy::{Exceptions, Proxies, Proxy};
use overlapped_proto::schedule::HostPace;
use overlapped_proto::time::Nanos;
use overlapped_proto::{address, limits, redirect, retry, robots, schedule};
use url::{Host, Url};

use crate::body::spool::RunId;
use crate::config::{
    self, Config, Family, HostConfig, HostPort, Http, Identity, Network, Pace, Request, Response, Retry,
    Timeouts,
};
use crate::cookies::CookieJar;
use crate::error::Error;
use crate::fs::{Folder, LastFiles, shards_max};
use crate::hsts::Hsts;
use crate::memory::Memory;
use crate::net::connect::{self, Local};
use crate::net::exchange::Reading;
use crate::net::http2::Windows;
use crate::net::request::Template;
use crate::net::tls::Trust;

/// A checked [`Config`], in the form that the engine uses.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) template: Template,
    /// The hosts that have settings of their own, and whether there was a request for them.
    hosts_met: HashMap<Box<str>, AtomicBool>,
    pub(crate) pace: schedule::Pace,
    pub(crate) timeouts: Limits,
    pub(crate) response: Response,
    pub(crate) redirect: redirect::Policy,
    /// How heads are read.
    pub(crate) reading: Reading,
    /// The rate over all shards; the scheduler's own limit would be per shard.
    pub(crate) rate: Option<Rate>,
    pub(crate) trust: Trust,
    /// The versions of HTTP that are spoken.
    pub(crate) http: Http,
    /// The windows of connections of HTTP/2.
    pub(crate) windows: Windows,
    pub(crate) decodes: bool,
    /// The rule for the last free file descriptors.
    pub(crate) last_files: Arc<LastFiles>,
    /// The memory budget of responses.
    pub(crate) memory: Arc<Memory>,
    /// The product token for robots.txt; `None`: robots.txt is not fetched.
    pub(crate) robots: Option<Box<str>>,
    /// The hosts that are reached by https only, if they are kept.
    pub(crate) hsts: Option<Hsts>,
    /// Beneath which rows may name files to send.
    pub(crate) body_dir: Option<Arc<Folder>>,
    /// The cookies of all rows.
    pub(crate) cookies: Option<CookieJar>,
    pub(crate) max_errors: Option<MaxErrors>,
    pub(crate) ordered: bool,
    pub(crate) window_rows: usize,
    pub(crate) shards: usize,
    pub(crate) run: RunId,
    /// Which rows go through which proxy.
    pub(crate) proxies: Proxies,
    /// Where all connections go.
    pub(crate) unix_socket: Option<PathBuf>,
    /// From where they are made.
    pub(crate) local: Option<Local>,
    detours: Vec<Detour>,
    family: Option<Family>,
    pinned: Vec<Pin>,
    addresses: address::Policy,
}

/// [`Timeouts`] in the engine's unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) dns: Option<Nanos>,
    pub(crate) connect: Option<Nanos>,
    pub(crate) tls: Option<Nanos>,
    pub(crate) first_byte: Option<Nanos>,
    pub(crate) speed: Option<(u64, Nanos)>,
    pub(crate) total: Option<Nanos>,
}

/// Addresses that the caller has set for a host and port.
#[derive(Debug)]
struct Pin {
    /// As it was given.
    given: String,
    /// As URLs have it, without a dot at its end.
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
    /// The highest [`Use`] so far.
    used: AtomicU8,
}

/// What has become of a [`Pin`]. A later one replaces an earlier one.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Use {
    /// No row had its host and port.
    None,
    /// One had, and a Unix socket was dialled.
    UnixSocket,
    /// One had, and another host was dialled.
    Elsewhere,
    /// One had, and a proxy has connected to the host.
    Proxy,
    /// Its addresses were dialled.
    Dialled,
}

/// The addresses that are set for hosts and ports. Of several for the same the last one counts, as with curl.
fn pins(resolve: Vec<(String, u16, Vec<IpAddr>)>) -> Result<Vec<Pin>, Error> {
    let mut pins: Vec<Pin> = Vec::new();
    for (given, port, addresses) in resolve {
        let host = Host::parse(given.strip_suffix('.').unwrap_or(&given))
            .map_err(|_| Error::config(format!("--resolve: {given:?} is no host")))?
            .to_string();
        pins.retain(|pin| (pin.host.as_str(), pin.port) != (host.as_str(), port));
        pins.push(Pin { given, host, port, addresses, used: AtomicU8::new(Use::None as u8) });
    }
    Ok(pins)
}

/// Why a pin was not used.
const WHY_UNUSED: [(Use, &str); 4] = [
    (Use::None, "was not needed: no row of this run had this host and port"),
    (Use::UnixSocket, "was not used: --unix-socket leads elsewhere"),
    (Use::Elsewhere, "was not used: --connect-to leads elsewhere"),
    (Use::Proxy, "was not used: the proxy connects to this host, and finds its address itself"),
];

/// A host and port that are connected to instead of those of a URL.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
}

/// A host and port that are connected to instead of others. What is not given fits any, or stays as it is.
#[derive(Debug)]
struct Detour {
    of_host: Option<Host<String>>,
    of_port: Option<u16>,
    host: Option<Host<String>>,
    port: Option<u16>,
}

impl Detour {
    fn of((from, to): &(HostPort, HostPort)) -> Result<Self, Error> {
        let host = |host: &str| match host.strip_suffix('.').unwrap_or(host) {
            "" => Ok(None),
            bare => Host::parse(bare)
                .map(Some)
                .map_err(|_| Error::config(format!("connect_to: {host:?} is no host"))),
        };
        Ok(Self { of_host: host(&from.0)?, of_port: from.1, host: host(&to.0)?, port: to.1 })
    }

    fn is_for(&self, url: &Url) -> bool {
        let host = url.host_str().map(|host| host.strip_suffix('.').unwrap_or(host));
        let is_host = |ours: &Host<String>| Some(ours.to_string().as_str()) == host;
        self.of_port.is_none_or(|port| url.port_or_known_default() == Some(port))
            && self.of_host.as_ref().is_none_or(is_host)
    }

    /// Where it leads instead of a URL that it is for; `None`: nowhere else.
    fn from(&self, url: &Url) -> Option<Elsewhere> {
        if self.host.is_none() && self.port.is_none() {
            return None;
        }
        let host = self.host.clone().or_else(|| url.host().map(|host| host.to_owned()))?;
        Some(Elsewhere { host, port: self.port.or_else(|| url.port_or_known_default())? })
    }
}

impl Plan {
    /// Checks a config.
    ///
    /// # Errors
    ///
    /// A setting is out of its range or contradicts another.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let Config { request, pace, retry, timeouts, response, max_redirects, network, ordered, .. } = config;
        in_range("parallel_max", pace.parallel_max, 1, limits::PARALLEL_MAX_MAX)?;
        host_names(&config.hosts)?;
        in_range("window_rows", config.window_rows, 1, usize::MAX)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = config.shards.unwrap_or_else(|| shards_max(cores));
        in_range("shards", shards, 1, limits::SHARDS_MAX)?;
        let unix_socket = unix_socket(&network)?;
        let window_rows =
            if ordered { config.window_rows.min(limits::REORDER_ROWS) } else { config.window_rows };
        Ok(Self {
            pace: scheduling(&pace, &retry, &request, &config.hosts, (ordered, shards)),
            template: Template::new(&request, &config.hosts)?,
            hosts_met: config
                .hosts
                .iter()
                .map(|host| (Box::from(&*host.name), AtomicBool::new(false)))
                .collect(),
            timeouts: Limits::new(&timeouts),
            redirect: redirect::Policy {
                max: if max_redirects == 0 { None } else { Some(max_redirects) },
                ..redirect::Policy::default()
            },
            reading: Reading {
                strictness: if response.strict_http { Strictness::Strict } else { Strictness::Lenient },
                keep: Keep { raw: response.raw_head, case: false },
            },
            decodes: request.compressed && !response.undecoded,
            memory: if ordered {
                Memory::ordered(response.memory_max)
            } else {
                Memory::new(response.memory_max)
            },
            last_files: Arc::default(),
            robots: pace.robots.then(|| robot(&request)),
            rate: pace.rate,
            http: network.http,
            windows: Windows::new(response.memory_max, pace.parallel_max),
            trust: Trust::new(
                network.ca_pem.as_deref(),
                network.insecure_hosts,
                network.identity.as_ref().map(|Identity { chain_pem, key_pem }| (&**chain_pem, &**key_pem)),
            )?,
            hsts: network.hsts.then(Hsts::default),
            body_dir: request.body_dir.as_deref().map(body_dir).transpose()?,
            cookies: config.cookies,
            max_errors: config.max_errors,
            ordered,
            window_rows,
            shards,
            run: RunId::draw(),
            proxies: proxies(&network.proxies, &config.hosts)?,
            unix_socket,
            local: network.interface.as_deref().map(local).transpose()?,
            detours: network.connect_to.iter().map(Detour::of).collect::<Result<_, _>>()?,
            family: network.family,
            pinned: pins(network.resolve)?,
            addresses: policy(network.public_only, &network.allow_addresses)?,
            response,
        })
    }

    /// What separates the connections of a row from others to the same origin. A row that was redirected by a public
    /// address must not use a connection that was opened for a row's own URL: it may lead to an address forbidden to it.
    pub(crate) fn route(&self, job: &Job) -> Route {
        self.meet(&job.url);
        let is_https = job.url.scheme() == "https";
        let is_insecure = is_https && self.trust.is_insecure(job.url.host_str().unwrap_or_default());
        let is_unnamed = is_https && job.crossed_origin && self.trust.identifies();
        Route {
            tls: 2 * u32::from(is_insecure) + u32::from(is_unnamed),
            policy: u32::from(job.from_public),
            ..Route::default()
        }
    }

    /// What is connected to instead of the host and port of a URL, by this machine or by a proxy.
    pub(crate) fn elsewhere(&self, url: &Url) -> Option<Elsewhere> {
        let found =
            self.detours.iter().filter(|detour| detour.is_for(url)).find_map(|detour| detour.from(url));
        if found.is_some() {
            self.pass_by(url, Use::Elsewhere);
        }
        found
    }

    /// The addresses configured for a host.
    pub(crate) fn pinned(&self, host: &Host<&str>, port: Option<u16>) -> Option<&[IpAddr]> {
        let pin = self.pin(host, port)?;
        pin.used.store(Use::Dialled as u8, Ordering::Relaxed);
        Some(&pin.addresses)
    }

    /// Notes that a row was not connected by the addresses of its host that are configured, if there are any, but in another way.
    pub(crate) fn pass_by(&self, url: &Url, way: Use) {
        if let Some(pin) = url.host().and_then(|host| self.pin(&host, url.port_or_known_default())) {
            pin.used.fetch_max(way as u8, Ordering::Relaxed);
        }
    }

    fn pin(&self, host: &Host<&str>, port: Option<u16>) -> Option<&Pin> {
        // Most runs have none, and need no text of the host.
        if self.pinned.is_empty() {
            return None;
        }
        let host = host.to_string();
        let host = host.strip_suffix('.').unwrap_or(&host);
        self.pinned.iter().find(|pin| Some(pin.port) == port && pin.host == host)
    }

    /// The hosts, with their ports, for which the caller has set addresses that were not dialled, and why.
    pub(crate) fn pins_unmet(&self) -> Vec<(String, &'static str)> {
        let why = |pin: &Pin| {
            let used = pin.used.load(Ordering::Relaxed);
            WHY_UNUSED.iter().find(|(known, _)| *known as u8 == used).map(|(_, why)| *why)
        };
        let unmet = self.pinned.iter().filter_map(|pin| Some((pin, why(pin)?)));
        unmet.map(|(pin, why)| (format!("{}:{}", pin.given, pin.port), why)).collect()
    }

    /// Notes that there is a request for this host.
    fn meet(&self, url: &Url) {
        let host = url.host_str().filter(|_| !self.hosts_met.is_empty()).unwrap_or_default();
        let met = self.hosts_met.get(host.strip_suffix('.').unwrap_or(host));
        // Written once, so that threads do not take the cache line from each other.
        if let Some(met) = met.filter(|met| !met.load(Ordering::Relaxed)) {
            met.store(true, Ordering::Relaxed);
        }
    }

    /// The hosts with settings of their own for which there was no request.
    pub(crate) fn hosts_unmet(&self) -> Vec<String> {
        let unmet = self.hosts_met.iter().filter(|(_, met)| !met.load(Ordering::Relaxed));
        let mut unmet: Vec<_> = unmet.map(|(name, _)| name.to_string()).collect();
        unmet.sort_unstable();
        unmet
    }

    /// Applies the address policy to the addresses of a proxy, which is no target of a redirect.
    pub(crate) fn dialable_proxy(&self, addresses: Vec<IpAddr>) -> Result<Vec<Dialable>, Failure> {
        self.of_family(addresses).into_iter().map(|address| self.addresses.judge(address)).collect()
    }

    /// Applies it to the host that a proxy connects to for a row: an address, or this machine. What other names lead to, only
    /// the proxy knows.
    pub(crate) fn judge_unseen(&self, host: Option<Host<&str>>, job: &Job) -> Result<(), Failure> {
        let address = match host {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(host) if is_this_machine(&host) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.judge(address, job).map(drop)
    }

    fn of_family(&self, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        match self.family {
            Some(Family::V4) => addresses.retain(IpAddr::is_ipv4),
            Some(Family::V6) => addresses.retain(IpAddr::is_ipv6),
            None => {}
        }
        addresses
    }

    fn judge(&self, address: IpAddr, job: &Job) -> Result<Dialable, Failure> {
        match job.from_public {
            false => self.addresses.judge(address),
            true => self.addresses.judge_from_public(address),
        }
    }

    /// Applies the address policy to `addresses`.
    pub(crate) fn dialable(&self, addresses: Vec<IpAddr>, job: &Job) -> Result<Vec<Dialable>, Failure> {
        // One forbidden address refuses the row: a mixture of allowed and forbidden ones indicates DNS rebinding.
        self.of_family(addresses).into_iter().map(|address| self.judge(address, job)).collect()
    }

    /// Bytes that are read at once of a file that is sent: with all requests in flight no more than their windows.
    pub(crate) fn upload_block(&self) -> usize {
        usize::try_from(self.windows.stream).unwrap_or(usize::MAX).min(limits::UPLOAD_BLOCK_BYTES)
    }

    /// The failure that a status counts as, if any.
    pub(crate) fn judge_status(&self, status: u16) -> Option<Failure> {
        let fails = self.response.fail.iter().any(|range| range.contains(&status));
        if !fails {
            return None;
        }
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let message = reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"));
        Some(Failure::new(ErrorKind::Status, message))
    }
}

impl Limits {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        Self {
            dns: timeouts.dns.map(Into::into),
            connect: timeouts.connect.map(Into::into),
            tls: timeouts.tls.map(Into::into),
            first_byte: timeouts.first_byte.map(Into::into),
            speed: timeouts.speed.map(|(bytes, span)| (bytes, span.into())),
            total: timeouts.total.map(Into::into),
        }
    }
}

/// Checks the names of hosts that have settings of their own.
fn host_names(hosts: &[HostConfig]) -> Result<(), Error> {
    in_range("hosts", hosts.len(), 0, limits::HOST_CONFIGS_MAX)?;
    let mut names = HashSet::new();
    for HostConfig { name, .. } in hosts {
        let parsed = Host::parse(name).map(|host| host.to_string());
        if parsed.as_ref() != Ok(name) {
            return Err(Error::config(format!("hosts: {name:?} is no host as URLs have it")));
        }
        if name.contains('*') {
            return Err(Error::config(format!(
                "hosts: {name:?}: * stands for no others: each host has settings of its own"
            )));
        }
        if !names.insert(name) {
            return Err(Error::config(format!("hosts: {name} is there twice")));
        }
    }
    Ok(())
}

/// `parallel_max_host` and the like: 0 is no limit.
fn limit(max: usize) -> Option<usize> {
    if max == 0 { None } else { Some(max) }
}

fn scheduling(
    pace: &Pace,
    retry: &Retry,
    request: &Request,
    hosts: &[HostConfig],
    (ordered, shards): (bool, usize),
) -> schedule::Pace {
    // In ordered mode a row must not wait for later ones, and at a rate the cost of connections does not count: then hosts
    // take turns row by row.
    let turns = ordered || pace.rate.is_some();
    schedule::Pace {
        parallel_max: pace.parallel_max,
        connects_max: (pace.parallel_max * limits::CONNECTS_QUARTERS / 4 / shards).max(2),
        parallel_max_host: match pace.parallel_max_host {
            None => Some(limits::PARALLEL_MAX_HOST),
            Some(0) => None,
            Some(n) => Some(n),
        },
        local_unlimited: pace.parallel_max_host.is_none(),
        rate_host: pace.rate_host,
        hosts: hosts
            .iter()
            .map(|host| {
                let parallel_max = host.parallel_max.map(limit);
                (HostKey::new(&host.name), HostPace { parallel_max, rate: host.rate })
            })
            .collect(),
        warm_starts_max: if turns { 1 } else { limits::WARM_STARTS_MAX },
        adaptive: pace.adaptive,
        host_errors_max: pace.max_host_errors,
        host_down_after: pace.host_down_after.map(Into::into),
        retry: retry::Policy {
            retries: retry.retries,
            all_errors: retry.all_errors,
            max_time: retry.max_time.map(Into::into),
            method: request.method.clone(),
        },
        ..schedule::Pace::default()
    }
}

/// The product token of the run's User-Agent.
fn robot(request: &Request) -> Box<str> {
    let is_it = |header: &&(String, String)| header.0.eq_ignore_ascii_case("user-agent");
    let given = request.headers.iter().rev().find(is_it).map(|(_, value)| robots::product_token(value));
    given.filter(|token| !token.is_empty()).unwrap_or("overlapped").into()
}

fn policy(public_only: bool, allowed: &[String]) -> Result<address::Policy, Error> {
    let wrong = |error: address::NetworkError| Error::config(format!("allow_addresses: {error}"));
    let allow = allowed.iter().map(|range| range.parse().map_err(wrong)).collect::<Result<_, _>>()?;
    Ok(address::Policy { public_only, allow })
}

fn local(interface: &str) -> Result<Local, Error> {
    Local::parse(interface).map_err(|what| Error::config(format!("--interface {interface:?}: {what}")))
}

/// The Unix socket of all connections. What says where else they go, or from where, would have no effect.
fn unix_socket(network: &Network) -> Result<Option<PathBuf>, Error> {
    let Some(path) = &network.unix_socket else { return Ok(None) };
    let others =
        [("--connect-to", !network.connect_to.is_empty()), ("--interface", network.interface.is_some())];
    if let Some((other, _)) = others.iter().find(|(_, is_given)| *is_given) {
        let what = format!(
            "all connections go to the socket of --unix-socket, so {other} has no effect: give one of them"
        );
        return Err(Error::config(what));
    }
    connect::check_unix(path).map_err(|what| Error::config(format!("--unix-socket {what}")))?;
    Ok(Some(path.clone()))
}

fn body_dir(path: &Path) -> Result<Arc<Folder>, Error> {
    let failed = |error| Error::config(format!("body_dir: {}: {error}", path.display()));
    Folder::open(path).map(Arc::new).map_err(failed)
}

fn proxies(config: &config::Proxies, own: &[HostConfig]) -> Result<Proxies, Error> {
    let config::Proxies { http, https, user, no_proxy, hosts } = config;
    let url =
        |text: &String| Proxy::parse(text).map_err(|invalid| Error::config(format!("proxies: {invalid}")));
    let parse = |text: &String| {
        let proxy = url(text)?;
        Ok(match user {
            Some((user, password)) => proxy.with_user(user, password),
            None => proxy,
        })
    };
    let proxy = |text: &Option<String>| text.as_ref().map(parse).transpose();
    let hosts = hosts.iter().map(|(hosts, own)| Ok((Exceptions::parse(hosts), proxy(own)?)));
    // The user and password are not those of these proxies.
    let single = own.iter().filter_map(|host| Some((Box::from(&*host.name), host.proxy.as_ref()?)));
    let single = single.map(|(host, own)| Ok((host, own.as_ref().map(url).transpose()?)));
    let single = single.collect::<Result<_, Error>>()?;
    let hosts = hosts.collect::<Result<_, Error>>()?;
    Ok(Proxies::new(proxy(http)?, proxy(https)?, Exceptions::parse(no_proxy), single, hosts))
}

fn in_range(name: &str, value: usize, low: usize, high: usize) -> Result<(), Error> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let most = if high == usize::MAX { String::new() } else { format!(" and at most {high}") };
    Err(Error::config(format!("{name} is {value}; it must be at least {low}{most}")))
}
