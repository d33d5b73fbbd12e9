//! How long a list takes on how many machines, from the limits of hosts and of a machine.
//!
//! An estimate: each request takes the same time, and hosts take turns, as the scheduler has it. So all hosts with rows left
//! have the same share of a machine, up to the limit of a host, and the host with the most rows is the last: while there
//! are many others it has little more than one of them. Machines have as many hosts each.

use crate::bucket::Rate;
use crate::time::Nanos;

/// What is to be fetched.
#[derive(Clone, Debug)]
pub struct Load {
    /// Rows of each host.
    pub hosts: Hosts,
    /// How long a request takes.
    pub latency: Nanos,
    /// Bytes of a response.
    pub response_bytes: u64,
    /// Requests at once to one host.
    pub parallel_host: usize,
    /// Requests to one host in a span of time.
    pub rate_host: Option<Rate>,
}

/// Numbers of rows, and how many hosts have each.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// In ascending order of rows.
    sizes: Vec<(u64, u64)>,
}

impl Hosts {
    /// From the rows of each host.
    #[must_use]
    pub fn new(rows: impl IntoIterator<Item = u64>) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        rows.into_iter().filter(|rows| *rows > 0).for_each(|rows| *counts.entry(rows).or_insert(0) += 1);
        Self { sizes: counts.into_iter().collect() }
    }

    /// The rows of the largest.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.sizes.last().map_or(0, |(rows, _)| *rows)
    }
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
    /// use overlapped_proto::machines::{Hosts, Load, Machine};
    /// use overlapped_proto::time::Nanos;
    ///
    /// let hosts = std::iter::repeat_n(100, 1_000).chain([1_200]);
    /// let load = Load {
    ///     hosts: Hosts::new(hosts),
    ///     latency: Nanos::from_secs(1),
    ///     response_bytes: 100_000,
    ///     parallel_host: 6,
    ///     rate_host: None,
    /// };
    /// let machine = Machine { parallel: 250, bytes_a_second: 100_000_000 };
    /// assert_eq!(load.host_time(), Nanos::from_secs(200));
    /// // 100 turns of 1,001 hosts, then the 1,100 rows that the largest has left, at most 6 at a time.
    /// assert_eq!(load.time(machine, 1).as_secs_f64().round(), (100.0 * 1_001.0 / 250.0 + 1_100.0_f64 / 6.0).round());
    /// assert_eq!(load.time(machine, 100), Nanos::from_secs(200));
    /// assert_eq!(load.machines_useful(machine), 11);
    /// ```
    #[must_use]
    pub fn host_time(&self) -> Nanos {
        let rows = self.hosts.largest();
        // The first request of a rate does not wait.
        let by_rate = rows.saturating_sub(1) as f64 * self.row_by_rate();
        nanos((rows as f64 * self.row_at_once()).max(by_rate))
    }

    /// How long the list takes.
    #[must_use]
    pub fn time(&self, machine: Machine, machines: u64) -> Nanos {
        let row = self.machine_row(machine) / machines.max(1) as f64;
        let mut left: u64 = self.hosts.sizes.iter().map(|(_, hosts)| *hosts).sum();
        let (mut time, mut done) = (0.0, 0);
        for (rows, hosts) in &self.hosts.sizes {
            // Until these have none left, each row of each host is one turn.
            time += (rows - done) as f64 * (left as f64 * row).max(self.host_row());
            (left, done) = (left - hosts, *rows);
        }
        nanos(time).max(self.host_time())
    }

    /// The least number of machines with which the list takes at most a tenth longer than its largest host.
    #[must_use]
    pub fn machines_useful(&self, machine: Machine) -> u64 {
        let enough = |machines| self.time(machine, machines).0 <= self.host_time().0 / 10 * 11;
        let (mut fewer, mut more) = (0, 1_u64);
        while !enough(more) && more < MACHINES_MAX {
            (fewer, more) = (more, more * 2);
        }
        while more - fewer > 1 {
            let middle = fewer + (more - fewer) / 2;
            if enough(middle) { more = middle } else { fewer = middle }
        }
        more
    }

    /// Nanoseconds that a row of one host takes, with as many at a time as it may have.
    fn host_row(&self) -> f64 {
        self.row_at_once().max(self.row_by_rate())
    }

    fn row_at_once(&self) -> f64 {
        self.latency.0 as f64 / self.parallel_host.max(1) as f64
    }

    fn row_by_rate(&self) -> f64 {
        self.rate_host.map_or(0.0, |rate| rate.per.0 as f64 / rate.count.max(1) as f64)
    }

    /// Nanoseconds that a row takes of a machine, without limits of hosts.
    fn machine_row(&self, machine: Machine) -> f64 {
        let at_once = self.latency.0 as f64 / machine.parallel.max(1) as f64;
        let bytes = match machine.bytes_a_second {
            0 => 0.0,
            rate => self.response_bytes as f64 * 1e9 / rate as f64,
        };
        at_once.max(bytes)
    }
}

/// Nobody has more machines.
const MACHINES_MAX: u64 = 1 << 20;

fn nanos(nanos: f64) -> Nanos {
    Nanos(nanos.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(hosts: &[u64], parallel: usize, machines: u64) -> f64 {
        let load = Load {
            hosts: Hosts::new(hosts.iter().copied()),
            latency: Nanos::from_secs(1),
            response_bytes: 0,
            parallel_host: 2,
            rate_host: None,
        };
        load.time(Machine { parallel, bytes_a_second: 0 }, machines).as_secs_f64()
    }

    #[test]
    fn hosts_take_turns() {
        assert_eq!(seconds(&[], 10, 1), 0.0);
        assert_eq!(seconds(&[10], 10, 1), 5.0);
        // Four hosts have two each at a time; of eight, each has one.
        assert_eq!(seconds(&[10; 4], 8, 1), 5.0);
        assert_eq!(seconds(&[10; 8], 8, 1), 10.0);
        assert_eq!(seconds(&[10; 8], 8, 2), 5.0);
        // While there are eight, the large one has one at a time.
        assert_eq!(seconds(&[10, 10, 10, 10, 10, 10, 10, 30], 8, 1), 10.0 + 10.0);
    }
}
