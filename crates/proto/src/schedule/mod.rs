//! Scheduling under politeness limits: which row may start now. Rows are queued by host from the moment they are read
//! until they start, and again while they wait for a retry.
//!
//! [`Next::Start`] reserves the slot in the same call, so a decision is never overtaken by another. Every start counts
//! against every limit, be it a first attempt, a retry or a redirect. Every row comes back exactly once, by `Deliver`,
//! `Fail`, `evict` or `drain`, or leaves by `release`.
//!
//! # Turns
//!
//! Hosts that may start take turns, in a ring: each starts one row. If hosts lose their idle connections between two turns,
//! because they are more than idle connections may be kept, or their servers close them, nearly every row would need a new
//! connection. So, while that happens, a turn *goes on*: when a row ends and leaves an idle connection ([`Scheduler::kept`]),
//! the next row of its host starts before those of the ring. Such a turn has at most `warm_starts_max` starts, and lasts at
//! most `WARM_TIME_MAX`. So while a host waits in the ring, no other starts more rows than those of the turn that it is in and
//! of one more.
//!
//! # What answers and failures do
//!
//! - `Retry-After` on a status that is retried *parks* the host: none of its rows starts before, for at most ten minutes.
//! - A host *refuses* if it answers 429, or 502, 503, 504, 522 or 524 to two rows in a row; while its rate is lowered, with
//!   any of these. Then it is parked for 1 s, doubling to 60 s, with jitter, until another answer comes. Answers that come
//!   in during a parking do not lengthen it. The first parking that it did not ask for halves its rate; other answers raise it
//!   (AIMD). So one broken page does not pause its host.
//! - A row that is refused with its host uses no attempt: it waits as long as it has waited, for `host_down_after` at most.
//!   From then on it uses its attempts, as a row does that alone is refused. One whose attempts are used up goes on waiting
//!   if its host has given no other answer since the row's first attempt.
//! - After a refusal that is not 429, the first and the last row of the queue probe in turn, so that broken pages at the
//!   front do not hide good ones. A row that is refused for eight seconds, while others are answered, is attributed
//!   to its page only.
//! - Origins that have not answered hold at most `connects_max` of the requests in flight together; their other rows wait
//!   in a queue of origins. So many hosts that swallow connects do not hold back those that answer.
//! - A host that has given no other answer for `host_down_after`, and was parked twice, is *down*: its rows fail at once.
//!   The first ten parkings that it asked for do not count. Without that limit it is down after two days of parkings. One that
//!   refuses some requests and answers others in turn may refuse many in a row by chance: it is parked for at most 4 s, down only
//!   after twenty parkings in a row, and its rate is not lowered below one a second.
//! - Refusals and timeouts halve the host's concurrency limit; good answers raise it by one (AIMD).
//! - `host_errors_max` failures in a row to reach an *origin* (scheme, host, port) park it: for 1 s, doubling to 60 s,
//!   with jitter. At the end of each parking one of its rows probes it. A probe that fails does not count as an attempt
//!   of its row, nor does the failure of a row that was in flight when the origin was parked. Any answer ends the
//!   parking, and the waiting rows go on by slow start: two at a time, one more with each answer. Rows of other origins
//!   of the host are not affected.
//! - An attempt whose first byte times out counts against its origin as well, and as an attempt of its row.
//! - An origin that gave no answer for `host_down_after` from its first failure on is *given up*: its rows fail at once,
//!   with no attempt. One whose name does not exist is given up instead of being parked.
//! - Until an origin has accepted a connection, and again from the first failure on, the attempts in flight are limited
//!   to the failures that are left before it is parked; so a dead origin costs `host_errors_max` attempts and a few
//!   probes. A row whose last attempt failed to reach the origin parks it earlier, from the third failure in a row on,
//!   or waits by itself while the origin answers others; so no row is lost before `host_down_after` is over, however few
//!   there are. Without retries the first two failures in a row are those of their rows.
//! - When ten hosts in a row fail as they do when the local network or resolver is down, and nothing answers in between,
//!   only a probe starts from time to time, and no row fails for it, for up to an hour. Before anything was reached in a
//!   run, this takes a hundred hosts.
//!
//! # Cost
//!
//! `poll` and `finish` take constant time for a host that may start; a host or an origin that waits for a time goes
//! through a heap, O(log hosts). Only giving up a host or an origin scans the rows that wait for a retry. Memory: one slab
//! of rows (200 bytes and the URL each), one slab of hosts (about 200 bytes each, with one origin). Idle hosts are evicted
//! in LRU order once there are `hosts_max`; those that are parked, failing or down only when there is no other.

mod scheduler;
mod eviction;
mod selection;
mod verdict;
mod queues;
mod network;
mod hosts;
mod host;
mod refusals;
mod reach;

pub use queues::Scheduler;

use std::collections::BTreeMap;

use crate::bucket::Rate;
use crate::job::{HostKey, Job};
use crate::limits;
use crate::outcome::Failure;
use crate::retry;
use crate::time::Nanos;

/// The limits of a scheduler. A host belongs to one scheduler, so the limits of a host hold for the whole run. Limits over
/// all hosts (`parallel_max`, `rate`) hold for one scheduler; a run with several must divide them.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Requests in flight at once.
    pub parallel_max: usize,
    /// Those of them to origins that have not answered, or not since they last failed. No limit if `host_errors_max` is 0.
    pub connects_max: usize,
    /// Requests in flight at once to one host. `None`: no limit.
    pub parallel_max_host: Option<usize>,
    /// True if this machine itself is exempt from `parallel_max_host`.
    pub local_unlimited: bool,
    /// Rows of one host that [`Scheduler::evict`] leaves in memory.
    pub window_rows_host: usize,
    /// Hosts remembered that have no rows, queued or in flight.
    pub hosts_max: usize,
    /// Starts, over all hosts.
    pub rate: Option<Rate>,
    /// Starts, for each host.
    pub rate_host: Option<Rate>,
    /// Limits of single hosts, instead of these.
    pub hosts: BTreeMap<HostKey, HostPace>,
    /// Rows that a host starts in one turn that goes on ([`Scheduler::kept`]). 1: hosts always take turns row by row.
    pub warm_starts_max: u16,
    /// True to lower the concurrency and the rate of a host that refuses or times out, and to park it.
    pub adaptive: bool,
    /// Failures in a row to reach an origin before it is parked. 0: never.
    pub host_errors_max: u32,
    /// How long an origin may give no answer, or a host nothing but refusals, before its rows fail. `None`: no limit.
    pub host_down_after: Option<Nanos>,
    /// Which failures are retried.
    pub retry: retry::Policy,
}

/// The limits of one host. `None`: those of all hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostPace {
    /// Requests in flight at once; `Some(None)`: no limit.
    pub parallel_max: Option<Option<usize>>,
    /// Starts.
    pub rate: Option<Rate>,
}

impl Pace {
    /// The limits that a host has of its own.
    fn of_host(&self, key: HostKey) -> HostPace {
        // A run has none, in general.
        if self.hosts.is_empty() {
            HostPace::default()
        } else {
            self.hosts.get(&key).copied().unwrap_or_default()
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            parallel_max: limits::PARALLEL_MAX,
            connects_max: limits::PARALLEL_MAX * limits::CONNECTS_QUARTERS / 4,
            parallel_max_host: Some(limits::PARALLEL_MAX_HOST),
            local_unlimited: true,
            window_rows_host: limits::WINDOW_ROWS_HOST,
            hosts_max: limits::HOSTS_MAX,
            rate: None,
            rate_host: None,
            hosts: BTreeMap::new(),
            warm_starts_max: limits::WARM_STARTS_MAX,
            adaptive: true,
            host_errors_max: limits::HOST_ERRORS_MAX,
            host_down_after: Some(limits::HOST_DOWN_AFTER),
            retry: retry::Policy::default(),
        }
    }
}

/// What to do next.
#[derive(Debug)]
#[must_use = "a row that is returned must run or be put back"]
pub enum Next {
    /// Start this row. Its slot is taken; `finish`, `redirect`, `release` or `put_back` releases it.
    Start(Job),
    /// This row fails without an attempt, because its host is down or its origin was given up.
    Fail(Job, Failure),
    /// Nothing before this time, unless a row is submitted or ends.
    WaitUntil(Nanos),
    /// Nothing until a row is submitted or ends.
    WaitForEvent,
    /// Nothing, and nothing is queued, waiting or in flight.
    Idle,
}

/// What happens to a row whose attempt ended.
#[derive(Debug)]
#[must_use = "a row that is returned must be delivered"]
#[expect(
    clippy::large_enum_variant,
    reason = "it is returned and taken apart once; a box would be an allocation a row"
)]
pub enum Finish {
    /// This was its last attempt.
    Deliver(Job),
    /// It stays in the scheduler and starts again, not before this time.
    RetryAt(Nanos),
    /// It stays in the scheduler until its origin, or the network, can be reached, or its host answers again. The attempt
    /// is not counted.
    PutBack,
}

/// The limit that holds the run back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// No limit: rows come in more slowly than they could start, or have all started.
    Nothing,
    /// Requests in flight at once.
    ParallelMax,
    /// Requests in flight at once to one host.
    ParallelMaxHost,
    /// Starts over all hosts.
    Rate,
    /// Starts for each host, or the interval that its robots.txt asks for.
    RateHost,
    /// The lowered concurrency of hosts that answer slowly or refuse.
    Adaptive,
    /// Hosts that are paused because they refuse, whether or not they asked for it.
    Parked,
    /// Rows wait for their retry.
    Retry,
    /// Origins that cannot be reached: each is probed by one row at a time.
    Away,
    /// The network seems down: only a probe starts from time to time.
    Network,
}

impl Held {
    /// The flag that changes the limit, if there is one.
    #[must_use]
    pub const fn flag(self) -> Option<&'static str> {
        match self {
            Self::ParallelMax => Some("--parallel-max"),
            Self::ParallelMaxHost => Some("--parallel-max-host"),
            Self::Rate => Some("--rate"),
            Self::RateHost => Some("--rate-host"),
            Self::Adaptive => Some("--no-adaptive"),
            Self::Away => Some("--host-down-after"),
            Self::Nothing | Self::Parked | Self::Retry | Self::Network => None,
        }
    }
}
