//! The statistics of a dry run: rows, bad rows, hosts, and the least time that the list takes under the limits.
//!
//! Memory is bounded: rows of hosts beyond [`limits::HOSTS_SURVEYED_MAX`] are counted together, in
//! [`Survey::rows_of_other_hosts`].

use std::collections::HashMap;

use crate::bucket::Rate;
use crate::input::{BadRow, RowRead};
use crate::job::HostKey;
use crate::limits;
use crate::time::Nanos;

/// The count so far.
///
/// ```
/// use overlapped_proto::bucket::Rate;
/// use overlapped_proto::input::{Format, Options, Reader};
/// use overlapped_proto::survey::Survey;
/// use overlapped_proto::time::Nanos;
///
/// let mut survey = Survey::default();
/// let mut reader = Reader::new(Format::Text, Options::default());
/// reader.push(b"http://a.test/1\nhttp://a.test/2\nb.test\nhttp://c.test/\n", &mut |row| survey.add(row))?;
/// reader.finish(&mut |row| survey.add(row))?;
/// assert_eq!((survey.rows(), survey.bad(), survey.hosts()), (4, 1, 2));
/// assert_eq!(survey.bad_rows()[0].0, 3); // its line
/// assert_eq!(survey.largest()[0], ("a.test".into(), 2));
/// assert_eq!(survey.time_min(None, |_| Rate::parse("1/s")), Nanos::from_secs(1));
/// # Ok::<(), overlapped_proto::outcome::Failure>(())
/// ```
#[derive(Debug, Default)]
pub struct Survey {
    rows: u64,
    bad: u64,
    bad_rows: Vec<(u64, BadRow)>,
    hosts: HashMap<HostKey, u64>,
    others: u64,
    /// The [`limits::LARGEST_HOSTS_TOLD`] hosts with the most rows, unordered.
    largest: Vec<Largest>,
    /// The fewest rows of a host in `largest`, once it is full.
    threshold: u64,
}

#[derive(Debug)]
struct Largest {
    host: HostKey,
    name: Box<str>,
    rows: u64,
}

impl Survey {
    /// Counts a row.
    pub fn add(&mut self, row: RowRead) {
        self.rows += 1;
        match row.job {
            Ok(job) => self.add_host(job.host, job.url.host_str().unwrap_or_default()),
            Err(bad) => {
                self.bad += 1;
                if self.bad_rows.len() < limits::BAD_ROWS_TOLD {
                    self.bad_rows.push((row.line, bad));
                }
            }
        }
    }

    fn add_host(&mut self, host: HostKey, name: &str) {
        let room = self.hosts.len() < limits::HOSTS_SURVEYED_MAX;
        let rows = match self.hosts.get_mut(&host) {
            Some(rows) => rows,
            None if room => self.hosts.entry(host).or_default(),
            None => {
                self.others += 1;
                return;
            }
        };
        *rows += 1;
        // Checked at each row of the host, so that it is ranked at its last row at the latest.
        if *rows > self.threshold {
            let rows = *rows;
            self.rank(host, name, rows);
        }
    }

    fn rank(&mut self, host: HostKey, name: &str, rows: u64) {
        match self.largest.iter_mut().find(|known| known.host == host) {
            Some(known) => known.rows = rows,
            None => {
                if self.largest.len() >= limits::LARGEST_HOSTS_TOLD
                    && let Some(least) = self.largest.iter().enumerate().min_by_key(|(_, known)| known.rows)
                {
                    self.largest.swap_remove(least.0);
                }
                self.largest.push(Largest { host, name: name.into(), rows });
            }
        }
        if self.largest.len() >= limits::LARGEST_HOSTS_TOLD {
            self.threshold = self.largest.iter().map(|known| known.rows).min().unwrap_or(0);
        }
    }

    /// All rows.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows that cannot be fetched.
    #[must_use]
    pub const fn bad(&self) -> u64 {
        self.bad
    }

    /// The first of them, each with its line.
    #[must_use]
    pub fn bad_rows(&self) -> &[(u64, BadRow)] {
        &self.bad_rows
    }

    /// The rows of each host that is counted separately, in no order.
    pub fn host_rows(&self) -> impl Iterator<Item = u64> {
        self.hosts.values().copied()
    }

    /// Hosts that are counted separately.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Rows of further hosts, which are not counted separately.
    #[must_use]
    pub const fn rows_of_other_hosts(&self) -> u64 {
        self.others
    }

    /// The hosts with the most rows, most first.
    #[must_use]
    pub fn largest(&self) -> Vec<(Box<str>, u64)> {
        let mut hosts: Vec<_> = self.largest.iter().map(|known| (known.name.clone(), known.rows)).collect();
        hosts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        hosts
    }

    /// The least time that the rows take under these rates, one over all hosts and one for each host, if each row is
    /// one request that takes no time itself.
    #[must_use]
    pub fn time_min(&self, rate: Option<Rate>, rate_host: impl Fn(&str) -> Option<Rate>) -> Nanos {
        let time = |rate: Option<Rate>, rows: u64| {
            let Some(rate) = rate else { return Nanos::ZERO };
            let spans = u128::from(rows.saturating_sub(1)) * u128::from(rate.per.0);
            Nanos(u64::try_from(spans / u128::from(rate.count.max(1))).unwrap_or(u64::MAX))
        };
        let hosts = self.largest.iter().map(|known| time(rate_host(&known.name), known.rows));
        hosts.max().unwrap_or(Nanos::ZERO).max(time(rate, self.rows - self.bad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Job, Row};

    fn row(number: u64, host: u64) -> RowRead {
        let url = format!("http://h{host}.test/").parse().unwrap();
        RowRead { line: number + 1, offset: 0, bytes: 0, job: Ok(Job::new(Row(number), url)) }
    }

    /// Host `h` has `rows(h)` rows, in the order that `step` makes.
    fn check(hosts: u64, step: u64, rows: impl Fn(u64) -> u64) {
        let mut list: Vec<u64> = (0..hosts).flat_map(|host| vec![host; rows(host) as usize]).collect();
        let len = list.len() as u64;
        list = (0..len).map(|i| list[(i * step % len) as usize]).collect();
        let mut survey = Survey::default();
        (0..).zip(&list).for_each(|(number, host)| survey.add(row(number, *host)));
        let mut expected: Vec<(Box<str>, u64)> =
            (0..hosts).map(|h| (format!("h{h}.test").into(), rows(h))).collect();
        expected.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let counts = |hosts: &[(Box<str>, u64)]| hosts.iter().map(|(_, rows)| *rows).collect::<Vec<_>>();
        let told = survey.largest();
        expected.truncate(limits::LARGEST_HOSTS_TOLD);
        assert_eq!(counts(&told), counts(&expected));
        assert_eq!((survey.rows(), survey.hosts() as u64), (len, hosts));
    }

    #[test]
    fn the_largest_hosts_are_found_whatever_the_order() {
        check(3, 1, |host| host + 1);
        for step in [1, 7, 11, 13, 3_001] {
            check(100, step, |host| host + 1);
            check(100, step, |host| 100 - host);
            check(60, step, |_| 5);
        }
    }
}
