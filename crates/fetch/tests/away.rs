//! Origins that cannot be reached: for a while, which costs no row, or for good, which costs a few connects.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overlapped_fetch::{Bulk, Config, Input, Pace, Timeouts, sink};
use overlapped_proto::bucket::Rate;
use overlapped_proto::time::Nanos;
use overlapped_testkit::{Server, blackhole, blackhole_on, refused_on};
use support::{LONG, config, error, fetch, retrying, wait};

/// An address of this machine that no other test uses, for a port that is given back and taken again.
const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 77, 1);

/// The same for the test of one row.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 77, 2);

/// What is dead is given up so soon that a test can wait for it.
fn impatient() -> Pace {
    Pace { host_down_after: Some(Duration::from_secs(2)), ..Pace::default() }
}

/// The server goes away in the middle of the list and comes back on the same port.
fn restart(pace: Pace, config: Config) {
    let rows = 1_500;
    let server = Server::builder().address(OWN).start();
    let port = server.addr().port();
    let urls: Vec<_> = (0..rows).map(|row| server.url(&format!("/row/{row}"))).collect();
    let (sink, collected) = sink::collect();
    let bulk = Bulk::new(Config { pace, ..config }).unwrap();
    let run = bulk.input(Input::Urls(Box::new(urls.into_iter()))).sink(sink).start().unwrap();
    let control = run.control();
    assert!(server.wait_for_requests(300, LONG));
    drop(server);
    while control.progress().hosts_parked == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let again = Server::builder().address(OWN).port(port).start();
    let summary = wait(run).unwrap();
    assert_eq!((summary.progress.ok, &summary.by_error), (rows, &Default::default()));
    assert!(again.requests() > 0);
    let most = collected.take().iter().map(|record| record.attempts).max();
    assert!(most <= Some(4), "waiting for it counts as no attempt: {most:?}");
}

#[test]
fn a_restart_of_a_server_costs_no_row() {
    let rate = Some(Rate { count: 500, per: Nanos::from_secs(1) });
    restart(Pace { rate, ..Pace::default() }, retrying(2));
    restart(Pace { parallel_max_host: Some(1), ..Pace::default() }, retrying(2));
}

#[test]
fn a_dead_port_takes_nothing_from_a_healthy_one_of_the_same_host() {
    let server = Server::start();
    let dead = refused_on(Ipv4Addr::LOCALHOST);
    let urls = (0..500).map(|row| match row % 5 {
        0 => dead.url(&format!("/{row}")),
        _ => server.url(&format!("/row/{row}")),
    });
    let fetched = fetch(Config { pace: impatient(), ..retrying(2) }, urls);
    assert_eq!(fetched.summary.progress.ok, 400, "{:?}", fetched.summary.by_error);
    let own = format!(":{}/", dead.addr().port());
    let failed = fetched.records.iter().filter(|record| !record.ok);
    for record in failed {
        assert!(record.url.contains(&own), "{}", record.url);
        assert!(["host.down", "connect.refused"].contains(&error(record)), "{}", error(record));
    }
}

/// It accepts and then says nothing, so that every connect can be counted: the TLS handshake times out.
#[test]
fn a_dead_host_of_ten_thousand_rows_costs_at_most_thirty_connects() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            count.fetch_add(1, Ordering::SeqCst);
            kept.push(stream);
        }
    });
    let server = Server::start();
    let timeouts = Timeouts { tls: Some(Duration::from_millis(50)), ..Timeouts::default() };
    let pace = Pace { host_down_after: Some(Duration::from_secs(4)), ..Pace::default() };
    let urls = (0..10_100).map(|row| match row % 101 {
        0 => server.url(&format!("/row/{row}")),
        _ => format!("https://127.0.0.1:{port}/{row}"),
    });
    let fetched = fetch(Config { pace, timeouts, ordered: false, ..retrying(2) }, urls);
    assert_eq!(fetched.summary.progress.ok, 100);
    let connects = accepted.load(Ordering::SeqCst);
    assert!((1..=30).contains(&connects), "{connects} connects");
    let down = fetched.summary.by_error.get("host.down").unwrap();
    assert!(*down >= 9_980, "{:?}", fetched.summary.by_error);
    let untried = fetched.records.iter().find(|record| error(record) == "host.down").unwrap();
    let told = untried.failure.as_ref().unwrap().message.to_string();
    assert!(told.contains("4 s (--host-down-after)") && told.contains("tls.timeout"), "{told}");
}

#[test]
fn a_total_timeout_while_connecting_hid_that_an_origin_is_away() {
    let hole = blackhole();
    let timeouts = Timeouts { total: Some(Duration::from_millis(50)), ..Timeouts::default() };
    let pace = Pace { host_down_after: Some(Duration::from_secs(1)), ..Pace::default() };
    let urls = (0..400).map(|row| hole.url(&format!("/{row}")));
    let fetched = fetch(Config { pace, timeouts, ..retrying(2) }, urls);
    // The rows that tried it have their own failure.
    let own = fetched.summary.by_error["timeout.total"];
    assert_eq!(own + fetched.summary.by_error["host.down"], 400, "{:?}", fetched.summary.by_error);
    assert!((1..=20).contains(&own), "{:?}", fetched.summary.by_error);
}

/// Each of them may have twenty connects under way, until they time out.
#[test]
fn hosts_that_swallow_connects_held_the_places_of_those_that_answer() {
    let holes: Vec<_> = (0..12).map(|host| blackhole_on(Ipv4Addr::new(127, 0, 79, host + 1))).collect();
    let server = Server::builder().hosts(20).start();
    let urls = (0..20 * 32).map(|row| match row % 32 {
        host @ ..12 => holes[host].url(&format!("/{row}")),
        host => server.url_on(host - 12, &format!("/row/{row}")),
    });
    let timeouts = Timeouts { connect: Some(Duration::from_secs(6)), ..Timeouts::default() };
    let pace = Pace { parallel_max: 64, host_down_after: Some(Duration::from_secs(7)), ..Pace::default() };
    let fetched = fetch(Config { pace, timeouts, ordered: false, ..config() }, urls);
    assert_eq!(fetched.summary.progress.ok, 400, "{:?}", fetched.summary.by_error);
    let first_failed = fetched.records.iter().position(|record| !record.ok);
    assert_eq!(first_failed, Some(400), "a row waited until a connect had timed out");
}

#[test]
fn many_dead_hosts_are_waited_for_at_the_same_time() {
    let dead: Vec<_> = (0..60).map(|host| refused_on(Ipv4Addr::new(127, 0, 78, host + 1))).collect();
    let urls = (0..60 * 30).map(|row| dead[row % 60].url(&format!("/{row}")));
    // One after the other they would take two minutes, and a run that hangs fails.
    let fetched = fetch(Config { pace: impatient(), ..config() }, urls);
    assert_eq!(fetched.summary.progress.ok, 0);
    assert!(fetched.summary.by_error["host.down"] > 60, "{:?}", fetched.summary.by_error);
}

/// Three dead hosts, each more than 10,000 rows behind the one before: while the first holds the records back, the list is
/// read on, until all three are waited for at the same time.
#[test]
fn in_order_dead_hosts_were_met_one_after_the_other() {
    let dead: Vec<_> = (0..3).map(|host| refused_on(Ipv4Addr::new(127, 0, 80, host + 1))).collect();
    let server = Server::builder().hosts(4).start();
    let healthy: Vec<_> = (0..4).map(|host| server.url_on(host, "/ok")).collect();
    let urls = (0..20_500_usize).map(move |row| match row % 10_200 {
        place @ ..100 => dead[row / 10_200].url(&format!("/{place}")),
        place => healthy[place % 4].clone(),
    });
    let pace = Pace { host_down_after: Some(Duration::from_secs(120)), ..Pace::default() };
    let config = Config { pace, ordered: true, ..config() };
    let run = Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls))).start().unwrap();
    let control = run.control();
    while control.progress().hosts_parked < 3 {
        assert!(control.progress().rows_done < 20_500, "they were given up one by one");
        std::thread::sleep(Duration::from_millis(10));
    }
    control.abort();
    let _ = wait(run);
}

/// Nothing listens until the row has waited for its origin, which the counts of the run show.
#[test]
fn a_row_of_a_host_of_one_row_waits_while_it_is_away() {
    let port = refused_on(OTHER).addr().port();
    let (sink, collected) = sink::collect();
    let url = format!("http://{OTHER}:{port}/ok");
    let bulk = Bulk::new(retrying(2)).unwrap();
    let run = bulk.input(Input::Urls(Box::new([url].into_iter()))).sink(sink).start().unwrap();
    let control = run.control();
    while control.progress().hosts_parked == 0 {
        assert_eq!(control.progress().rows_done, 0, "it does not wait");
        std::thread::sleep(Duration::from_millis(10));
    }
    let server = Server::builder().address(OTHER).port(port).start();
    assert_eq!(wait(run).unwrap().progress.ok, 1);
    assert_eq!((server.requests(), collected.take()[0].attempts), (1, 3));
}

#[test]
fn one_url_to_a_closed_port_fails_with_its_own_error() {
    let dead = refused_on(Ipv4Addr::LOCALHOST);
    // After its span, or after its attempts where no origin is parked.
    for pace in [impatient(), Pace { max_host_errors: 0, ..Pace::default() }] {
        let fetched = fetch(Config { pace, ..retrying(2) }, [dead.url("/")]);
        assert_eq!((fetched.errors(), fetched.records[0].attempts), (vec!["connect.refused"], 3));
    }
}
