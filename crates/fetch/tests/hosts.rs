//! How many requests a host carries at once, and what becomes of one that is dead.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overlapped_fetch::{Config, Network, Pace};
use overlapped_testkit::{Request, Script, Server, refused_on};
use support::{config, fetch, retrying};

const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Names that lead to the server, so that the defaults for other machines apply to it, and not those for loopback.
fn named(server: &Server, names: &[&str]) -> Network {
    let port = server.addr().port();
    let pin = |name: &&str| ((*name).to_owned(), port, vec![server.addr().ip()]);
    Network { resolve: names.iter().map(pin).collect(), ..Network::default() }
}

fn url(server: &Server, name: &str, path: &str) -> String {
    format!("http://{name}:{}{path}", server.addr().port())
}

#[test]
fn a_stranger_gets_six_at_once() {
    let server = Server::builder().address(SECOND).start();
    let network = named(&server, &["a.test", "b.test"]);
    let urls =
        (0..100).map(|row| url(&server, if row % 2 == 0 { "a.test" } else { "b.test" }, "/together/6"));
    let fetched = fetch(Config { network, ..config() }, urls);
    assert_eq!(fetched.errors(), [""; 100]);
    for name in ["a.test", "b.test"] {
        let host = server.host(&format!("{name}:{}", server.addr().port()));
        assert_eq!((host.requests, host.max_in_flight), (50, 6), "{name}");
    }
    assert!(server.connections() <= 12);
    assert!(fetched.records.iter().all(|record| record.connection.remote == Some(server.addr())));
}

#[test]
fn a_limit_that_is_given_holds_for_this_machine_too() {
    let server = Server::builder().hosts(2).start();
    let pace = Pace { parallel_max_host: Some(3), ..Pace::default() };
    let urls = (0..60).map(|row| server.url_on(row, "/together/3"));
    fetch(Config { pace, ..config() }, urls);
    for (_, host) in server.hosts() {
        assert_eq!((host.requests, host.max_in_flight), (30, 3));
    }
}

#[test]
fn this_machine_has_no_limit_of_its_own() {
    let server = Server::start();
    fetch(config(), (0..50).map(|row| server.url(&format!("/together/50?{row}"))));
    assert_eq!(server.max_in_flight(), 50);
}

#[test]
fn two_thousand_at_once_are_two_thousand() {
    let server = Server::builder().connections(2_500).start();
    let pace = Pace { parallel_max: 2_000, ..Pace::default() };
    let urls = (0..4_000).map(|row| server.url(&format!("/together/2000?{row}")));
    let fetched = fetch(Config { pace, ..config() }, urls);
    assert_eq!(fetched.summary.progress.ok, 4_000, "{:?}", fetched.summary.by_error);
    assert_eq!(server.max_in_flight(), 2_000);
    assert!(server.connections() <= 2_000);
}

#[test]
fn the_limit_of_a_host_can_be_taken_away() {
    let server = Server::builder().address(SECOND).start();
    let pace = Pace { parallel_max_host: Some(0), ..Pace::default() };
    let network = named(&server, &["a.test"]);
    // Until it has answered, no more run at once than may fail before it counts as down.
    let urls = (0..100).map(|row| url(&server, "a.test", if row < 20 { "/ok" } else { "/together/80" }));
    fetch(Config { pace, network, ..config() }, urls);
    assert_eq!(server.requests(), 100);
}

#[test]
fn the_limit_of_all_holds_over_all_shards() {
    for parallel_max in [1, 2, 7] {
        let arrived = Arc::new(AtomicUsize::new(0));
        let together = move |_: &Request| {
            arrived.fetch_add(1, Ordering::SeqCst);
            let arrived = Arc::clone(&arrived);
            let all = Script::new().until(move || arrived.load(Ordering::SeqCst) >= parallel_max);
            all.pause(Duration::from_millis(5)).send("HTTP/1.1 204 No\r\n\r\n")
        };
        let server = Server::builder().hosts(16).handler("/", together).start();
        let pace = Pace { parallel_max, ..Pace::default() };
        let urls = (0..160).map(|row| server.url_on(row, "/"));
        fetch(Config { pace, ..config() }, urls);
        assert_eq!((server.requests(), server.max_in_flight()), (160, parallel_max));
    }
}

#[test]
fn many_hosts_get_their_turns() {
    let server = Server::builder().hosts(50).start();
    let urls = (0..1_000).map(|row| server.url_on(row, &format!("/row/{row}")));
    fetch(Config { ordered: false, ..config() }, urls);
    assert_eq!(server.row_hits(), vec![1; 1_000]);
    let hosts = server.hosts();
    assert_eq!(hosts.len(), 50);
    assert!(hosts.values().all(|host| host.requests == 20));
}

#[test]
fn a_dead_host_costs_a_few_connects_and_no_more() {
    let dead = refused_on(SECOND);
    let server = Server::start();
    let pin = ("dead.test".to_owned(), dead.addr().port(), vec![IpAddr::from(SECOND)]);
    let network = Network { resolve: vec![pin], ..Network::default() };
    let pace = Pace { host_down_after: Some(Duration::from_secs(1)), ..Pace::default() };
    let urls = (0..1_000).map(|row| {
        if row % 10 == 0 {
            server.url(&format!("/row/{row}"))
        } else {
            format!("http://dead.test:{}/{row}", dead.addr().port())
        }
    });
    let fetched = fetch(Config { network, pace, ..retrying(2) }, urls);
    assert_eq!(fetched.summary.progress.ok, 100);
    let attempts: u64 =
        fetched.records.iter().filter(|r| !r.ok).map(|record| u64::from(record.attempts)).sum();
    assert!(attempts <= 20, "{attempts} connects to a dead host");
    let by_error = &fetched.summary.by_error;
    let (down, refused) = (by_error.get("host.down"), by_error.get("connect.refused"));
    assert_eq!(down.unwrap_or(&0) + refused.unwrap_or(&0), 900, "{by_error:?}");
    assert!(*down.unwrap() >= 880, "{by_error:?}");
    for record in fetched.records.iter().filter(|record| support::error(record) == "host.down") {
        assert_eq!(record.status, None);
        let told = &record.failure.as_ref().unwrap().message;
        let expected = if record.attempts > 0 { "not tried again: " } else { "not tried: " };
        assert!(told.starts_with(expected), "after {} attempts: {told}", record.attempts);
    }
}

#[test]
fn a_host_is_never_given_up_where_nobody_asks_for_it() {
    let dead = refused_on(SECOND);
    let pace = Pace { max_host_errors: 0, ..Pace::default() };
    let fetched = fetch(Config { pace, ..config() }, (0..100).map(|row| dead.url(&format!("/{row}"))));
    assert_eq!(fetched.errors(), ["connect.refused"; 100]);
}

#[test]
fn a_rate_holds_over_all_shards() {
    use overlapped_proto::bucket::Rate;
    use overlapped_proto::time::Nanos;
    let server = Server::builder().hosts(8).start();
    let rate = Some(Rate { count: 20, per: Nanos::from_millis(200) });
    let pace = Pace { rate, ..Pace::default() };
    let fetched = fetch(Config { pace, ..config() }, (0..60).map(|row| server.url_on(row, "/ok")));
    let mut at: Vec<_> = fetched.records.iter().map(|record| record.started_unix_us.unwrap()).collect();
    at.sort_unstable();
    assert!(at.windows(21).all(|starts| starts[20] - starts[0] >= 199_999), "{at:?}");
}
