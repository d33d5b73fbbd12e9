//! Name resolution: `getaddrinfo` on the executor, single-flight for each name, with a cache.
//!
//! It is the system's resolver, because no other reads `/etc/hosts`, search domains and VPN settings. It blocks and
//! cannot be cancelled, so each call occupies a thread of the dns view until it returns.

use std::cell::RefCell;
use std::hash::RandomState;
use std::net::IpAddr;
use std::rc::Rc;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::lru::Lru;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;

use crate::clock::Clock;
use crate::fs::is_out_of_files;

/// The addresses of a name, in the resolver's order of preference.
pub(crate) type Addresses = Rc<[IpAddr]>;

type Flight = Shared<LocalBoxFuture<'static, Result<Addresses, Failure>>>;

enum Entry {
    Known { addresses: Addresses, until: Nanos },
    Asked(Flight),
}

/// The resolver of one shard.
pub(crate) struct Resolver {
    view: Executor,
    clock: Clock,
    cache: RefCell<Cache>,
}

type Cache = Lru<Box<str>, Entry, RandomState>;

impl Resolver {
    /// Resolves on `view`, which bounds the threads blocked in the system's resolver.
    pub(crate) fn new(view: Executor, clock: Clock) -> Self {
        Self { view, clock, cache: RefCell::default() }
    }

    /// The addresses of `host`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the lookup, which others may wait for.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Addresses, Failure> {
        let flight = match self.cache.borrow_mut().get(host) {
            Some(Entry::Known { addresses, until }) if self.clock.now() < *until => {
                return Ok(addresses.clone());
            }
            Some(Entry::Asked(flight)) => Some(flight.clone()),
            Some(Entry::Known { .. }) | None => None,
        };
        let flight = flight.unwrap_or_else(|| self.ask(host));
        let answer = flight.await;
        self.learn(host, &answer);
        answer
    }

    fn ask(&self, host: &str) -> Flight {
        let name = host.to_owned();
        let job = self.view.submit(move || look_up(&name));
        let answer = async move {
            match job.await {
                Ok(found) => found.map(Rc::from),
                Err(error) => {
                    Err(Failure::new(ErrorKind::Resource, format!("no thread to resolve on: {error}")))
                }
            }
        };
        let flight = answer.boxed_local().shared();
        keep(&mut self.cache.borrow_mut(), host, Entry::Asked(flight.clone()));
        flight
    }

    /// Replaces the pending lookup by its result. Called by every waiter; the first one does it. Failures are not cached.
    fn learn(&self, host: &str, answer: &Result<Addresses, Failure>) {
        let mut cache = self.cache.borrow_mut();
        if let Some(Entry::Asked(_)) = cache.get(host) {
            match answer {
                Ok(addresses) => {
                    let until = self.clock.now() + limits::DNS_CACHE_TTL;
                    keep(&mut cache, host, Entry::Known { addresses: addresses.clone(), until });
                }
                Err(_) => drop(cache.remove(host)),
            }
        }
    }
}

fn keep(cache: &mut Cache, host: &str, entry: Entry) {
    cache.insert(host.into(), entry);
    if cache.len() > limits::DNS_CACHE_MAX {
        cache.pop_oldest();
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
