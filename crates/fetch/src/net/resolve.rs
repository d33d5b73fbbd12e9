//! Name resolution: `getaddrinfo` on the executor, single-flight for each name, with a cache.
//!
//! It is the system's resolver, because no other reads `/etc/hosts`, search domains and VPN settings. It blocks and
//! cannot be cancelled, so each call occupies a thread of the dns view until it returns; see `lookups`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::origin::is_localhost;
use overlapped_proto::outcome::Failure;

use super::lookups::Lookups;
use crate::clock::Clock;
use crate::fs::is_out_of_files;
use crate::single_flight::{Bounds, SingleFlight};

/// The addresses of a name, in the resolver's order of preference.
pub(crate) type Addresses = Arc<[IpAddr]>;

const BOUNDS: Bounds =
    Bounds { entries_max: limits::DNS_CACHE_MAX, weight_max: 0, ttl: limits::DNS_CACHE_TTL };

/// The resolver of one shard, or of a client.
pub(crate) struct Resolver {
    lookups: Lookups,
    clock: Clock,
    cache: SingleFlight<Box<str>, Addresses, BoxFuture<'static, Result<Addresses, Failure>>>,
}

impl Resolver {
    /// Resolves by `lookups`, which bound the threads blocked in the system's resolver.
    pub(crate) fn new(lookups: Lookups, clock: Clock) -> Self {
        Self { lookups, clock, cache: SingleFlight::new(BOUNDS, |_| 0) }
    }

    /// The addresses of `host`. Those of `localhost` and of names below it are known without a look-up (RFC 6761, section 6.3).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the lookup, which others may wait for.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Addresses, Failure> {
        if is_localhost(host) {
            return Ok(Arc::new([Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]));
        }
        let key = host.into();
        match self.cache.get(&key, self.clock.now(), || self.ask(host)) {
            Ok(addresses) => Ok(addresses),
            Err(mut flight) => {
                // It begins when there is a place, see `Lookups::run`.
                let answer = loop {
                    let at = self.clock.instant(self.clock.now() + limits::DNS_RETRY);
                    let again = pin!(tokio::time::sleep_until(at));
                    match select(flight, again).await {
                        Either::Left((answer, _)) => break answer,
                        Either::Right(((), pending)) => flight = pending,
                    }
                };
                self.cache.learn(&key, &answer, self.clock.now());
                answer
            }
        }
    }

    fn ask(&self, host: &str) -> BoxFuture<'static, Result<Addresses, Failure>> {
        let name = host.to_owned();
        let (lookups, clock) = (self.lookups.clone(), self.clock);
        let answer = async move {
            match lookups.run(clock, move || look_up(&name)).await {
                Ok(found) => found.map(Arc::from),
                Err(error) => {
                    Err(Failure::new(ErrorKind::Resource, format!("no thread to resolve on: {error}")))
                }
            }
        };
        answer.boxed()
    }
}

/// # Blocking
///
/// Until the system's resolver returns, which has no time limit.
fn look_up(name: &str) -> Result<Vec<IpAddr>, Failure> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(name), None, Some(hints)).map_err(|error| failure(name, error))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.filter_map(Result::ok).map(|info| info.sockaddr.ip()) {
        if !addresses.contains(&address) && addresses.len() < limits::ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(Failure::new(ErrorKind::DnsNotFound, format!("{name} has no address")));
    }
    Ok(addresses)
}

fn failure(name: &str, error: LookupError) -> Failure {
    let kind = error.kind();
    let error = std::io::Error::from(error);
    let kind = match kind {
        _ if is_out_of_files(&error) => ErrorKind::Resource,
        LookupErrorKind::NoName | LookupErrorKind::NoData => ErrorKind::DnsNotFound,
        LookupErrorKind::Memory => ErrorKind::Resource,
        LookupErrorKind::Again
        | LookupErrorKind::Fail
        | LookupErrorKind::System
        | LookupErrorKind::Unknown
        | LookupErrorKind::IO
        | LookupErrorKind::Badflags
        | LookupErrorKind::Family
        | LookupErrorKind::Service
        | LookupErrorKind::Socktype => ErrorKind::DnsTemporary,
    };
    Failure::new(kind, format!("{name}: {error}"))
}
