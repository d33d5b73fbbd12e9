//! Limits of single hosts: they hold instead of those of all hosts, and for no other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};

use overlapped_proto::bucket::Rate;
use overlapped_proto::job::{HostKey, Job, Row};
use overlapped_proto::schedule::{HostPace, Next, Pace, Scheduler};
use overlapped_proto::time::Nanos;

/// The rows of each host that start in this time, if none ends.
fn started(pace: Pace, until: Nanos) -> HashMap<String, usize> {
    let mut scheduler = Scheduler::new(pace);
    let hosts = ["a.test", "b.test", "c.test", "d.test", "127.0.0.1"];
    for (row, host) in (0..).zip(hosts.iter().cycle().take(hosts.len() * 20)) {
        scheduler.submit(Job::new(Row(row), format!("http://{host}/").parse().unwrap()), Nanos::ZERO);
    }
    let (mut started, mut now) = (HashMap::new(), Nanos::ZERO);
    while now <= until {
        if let Next::Start(job) = scheduler.poll(now) {
            *started.entry(job.url.host_str().unwrap().to_owned()).or_default() += 1;
        } else {
            now += Nanos::from_millis(10);
        }
    }
    started
}

#[test]
fn each_host_has_its_own_or_the_common_ones() {
    let own = |parallel_max, rate: Option<&str>| HostPace {
        parallel_max,
        rate: rate.map(|rate| Rate::parse(rate).unwrap()),
    };
    let hosts = BTreeMap::from([
        (HostKey::new("a.test"), own(Some(Some(1)), None)),
        (HostKey::new("b.test"), own(Some(None), None)),
        (HostKey::new("c.test"), own(Some(Some(20)), Some("1/s"))),
        (HostKey::new("127.0.0.1"), own(Some(Some(2)), None)),
    ]);
    let pace = Pace { host_errors_max: 0, parallel_max_host: Some(4), hosts, ..Pace::default() };
    let found = started(pace, Nanos::from_millis(2_500));
    let expected = [("a.test", 1), ("b.test", 20), ("c.test", 3), ("d.test", 4), ("127.0.0.1", 2)];
    assert_eq!(found, expected.map(|(host, rows)| (host.to_owned(), rows)).into());
}
