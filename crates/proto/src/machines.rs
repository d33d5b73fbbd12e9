//! How long a list takes on how many machines, from the limits of hosts and of a machine.
//!
//! An estimate: each request takes the same time, and all machines are busy until the end, but for the largest host, which
//! one machine has.

use crate::bucket::Rate;
use crate::time::Nanos;

/// What is to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Rows that can be fetched.
    pub rows: u64,
    /// Those of the host with the most.
    pub largest_host: u64,
    /// How long a request takes.
    pub latency: Nanos,
    /// Bytes of a response.
    pub response_bytes: u64,
    /// Requests at once to one host.
    pub parallel_host: usize,
    /// Requests to one host in a span of time.
    pub rate_host: Option<Rate>,
}

/// What one machine can do.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Requests at once.
    pub parallel: usize,
    /// Bytes that it receives in a second; 0: no limit.
    pub bytes_a_second: u64,
}

impl Load {
    /// How long the largest host takes: on any number of machines the list takes no less.
    ///
    /// ```
    /// use overlapped_proto::machines::{Load, Machine};
    /// use overlapped_proto::time::Nanos;
    ///
    /// let load = Load {
    ///     rows: 1_000_000,
    ///     largest_host: 1_200,
    ///     latency: Nanos::from_secs(1),
    ///     response_bytes: 100_000,
    ///     parallel_host: 6,
    ///     rate_host: None,
    /// };
    /// let machine = Machine { parallel: 250, bytes_a_second: 100_000_000 };
    /// assert_eq!(load.host_time(), Nanos::from_secs(200));
    /// assert_eq!(load.time(machine, 1), Nanos::from_secs(4_000));
    /// assert_eq!(load.time(machine, 100), Nanos::from_secs(200));
    /// assert_eq!(load.machines_useful(machine), 20);
    /// ```
    #[must_use]
    pub fn host_time(&self) -> Nanos {
        let rows = u128::from(self.largest_host);
        let at_once = rows * u128::from(self.latency.0) / self.parallel_host.max(1) as u128;
        let by_rate = self.rate_host.map_or(0, |rate| {
            rows.saturating_sub(1) * u128::from(rate.per.0) / u128::from(rate.count.max(1))
        });
        nanos(at_once.max(by_rate))
    }

    /// How long the list takes.
    #[must_use]
    pub fn time(&self, machine: Machine, machines: u64) -> Nanos {
        let share = self.work(machine) / u128::from(machines.max(1));
        nanos(share).max(self.host_time())
    }

    /// The number of machines beyond which the largest host alone decides.
    #[must_use]
    pub fn machines_useful(&self, machine: Machine) -> u64 {
        let host = u128::from(self.host_time().0).max(1);
        u64::try_from(self.work(machine).div_ceil(host)).unwrap_or(u64::MAX).clamp(1, self.rows.max(1))
    }

    /// Nanoseconds that one machine takes without limits of hosts.
    fn work(&self, machine: Machine) -> u128 {
        let rows = u128::from(self.rows);
        let at_once = rows * u128::from(self.latency.0) / machine.parallel.max(1) as u128;
        let bytes = rows * u128::from(self.response_bytes) * 1_000_000_000;
        at_once.max(bytes.checked_div(u128::from(machine.bytes_a_second)).unwrap_or(0))
    }
}

fn nanos(nanos: u128) -> Nanos {
    Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
