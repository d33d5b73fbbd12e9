//! The settings of the engine that flags give.

use std::path::PathBuf;
use std::time::Duration;

use overlapped_fetch::sink::Needs;
use overlapped_fetch::{Config, Family, Http, Identity, Network, Pace, Response, Retry, Timeouts};
use overlapped_proto::bucket::Rate;
use overlapped_proto::limits;
use overlapped_proto::max_errors::MaxErrors;
use overlapped_proto::time::Nanos;

use super::continued::continued;
use super::fetch::Flags;
use super::one::One;
use super::proxies::proxies;
use super::request::request;
use super::sinks::{Main, Sinks};
use super::values::Ranges;
use crate::exit::Error;

/// # Errors
///
/// [`Error::Usage`]: a value that cannot be, or a file that cannot be read.
pub(super) fn config(flags: &mut Flags, sinks: &Sinks, one: bool) -> Result<Config, Error> {
    let needs = sinks.needs();
    let reads_body = !matches!(sinks.main, Main::Lines | Main::Written | Main::Nothing) || needs.body;
    Ok(Config {
        request: continued(request(flags)?, sinks.one.as_ref().and_then(|one| one.continued.as_ref())),
        pace: pace(flags, one),
        retry: Retry {
            retries: flags.retry,
            max_time: flags.retry_max_time.and_then(|span| span.0),
            all_errors: flags.retry_all_errors,
        },
        timeouts: timeouts(flags)?,
        response: Response {
            // An archive has the bodies that the other outputs leave out.
            body: reads_body && (!flags.no_body || sinks.has_archive()),
            undecoded: needs.undecoded,
            raw_head: needs.raw_head || sinks.one.as_ref().is_some_and(One::shows_head),
            sent: needs.sent,
            strict_http: flags.strict_http,
            spool: sinks.spool(),
            max_bytes: if flags.max_filesize.0 == 0 { u64::MAX } else { flags.max_filesize.0 },
            memory_max: if flags.max_memory.0 == 0 { None } else { Some(flags.max_memory.0) },
            fail: flags.fail.take().map_or_else(|| Response::default().fail, |Ranges(ranges)| ranges),
            ..Response::default()
        },
        max_redirects: if flags.no_location { 0 } else { flags.max_redirs },
        network: network(flags, needs)?,
        hosts: std::mem::take(&mut flags.hosts),
        max_errors: if flags.fail_early { Some(MaxErrors::Rows(1)) } else { flags.max_errors },
        ordered: flags.ordered,
        window_rows: flags.window,
        ..Config::default()
    })
}

fn pace(flags: &Flags, one: bool) -> Pace {
    Pace {
        parallel_max: flags.parallel_max,
        parallel_max_host: flags.parallel_max_host.or(flags.polite.then_some(1)),
        rate: flags.rate,
        rate_host: flags.rate_host.or(flags.polite.then_some(Rate { count: 1, per: Nanos::from_secs(1) })),
        adaptive: !flags.no_adaptive,
        robots: flags.robots || flags.polite,
        // One URL fails after its attempts, as with curl; only a list waits for a host that is away.
        max_host_errors: if one { 0 } else { flags.max_host_errors },
        host_down_after: flags.host_down_after.0,
    }
}

fn timeouts(flags: &Flags) -> Result<Timeouts, Error> {
    let speed = match (flags.speed_limit.0, flags.speed_time.0) {
        (0, _) | (_, None) => None,
        (_, Some(span)) if span < Duration::from_secs(1) => {
            return Err(Error::Usage(
                "--speed-time is at least 1 s: a speed needs some time to be seen".to_owned(),
            ));
        }
        (bytes, Some(span)) => Some((bytes, span)),
    };
    let is_default = flags.connect_timeout == limits::CONNECT_TIMEOUT.into();
    let given = |default: Nanos| if is_default { Some(default.into()) } else { flags.connect_timeout.0 };
    Ok(Timeouts {
        dns: given(limits::DNS_TIMEOUT),
        connect: flags.connect_timeout.0,
        tls: given(limits::TLS_TIMEOUT),
        first_byte: flags.first_byte_timeout.0,
        speed,
        total: flags.max_time.0,
    })
}

fn network(flags: &mut Flags, needs: Needs) -> Result<Network, Error> {
    let ca_pem = match &flags.cacert {
        Some(path) => Some(std::fs::read(path).map_err(|error| Error::reading(path, &error))?),
        None => None,
    };
    Ok(Network {
        http: match (flags.http1, flags.http2_prior_knowledge) {
            (true, _) => Http::Http1,
            (_, true) => Http::Http2,
            (false, false) if needs.http1 && !flags.http2 => Http::Http1,
            (false, false) => Http::Negotiated,
        },
        family: match (flags.ipv4, flags.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            (false, false) => None,
        },
        ca_pem,
        proxies: proxies(flags)?,
        identity: identity_of(flags)?,
        connect_to: std::mem::take(&mut flags.connect_to),
        unix_socket: flags.unix_socket.take(),
        interface: flags.interface.take(),
        insecure_hosts: std::mem::take(&mut flags.insecure_hosts),
        resolve: flags.resolve.drain(..).map(|given| (given.host, given.port, given.addresses)).collect(),
        public_only: flags.public_only,
        hsts: flags.hsts,
        allow_addresses: std::mem::take(&mut flags.allow_addresses),
    })
}

/// The client certificate of `-E`, with the key from the same file or that of `--key`.
fn identity_of(flags: &Flags) -> Result<Option<Identity>, Error> {
    let Some(cert) = &flags.cert else {
        return match flags.key {
            None => Ok(None),
            Some(_) => Err(Error::Usage("--key belongs to a certificate: --cert FILE".to_owned())),
        };
    };
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Error::reading(path, &error));
    let chain_pem = read(cert)?;
    let key_pem = flags.key.as_ref().map_or_else(|| Ok(chain_pem.clone()), read)?;
    Ok(Some(Identity { chain_pem, key_pem }))
}
