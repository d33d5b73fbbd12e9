//! Names of hosts as a name server answers, and networks that do not: in a namespace, by the system's own resolver.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod namespace;
mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use namespace::{NameServer, Says, inside};
use overlapped_fetch::{Client, Config, Network, Pace, Row, Timeouts, limits};
use overlapped_testkit::{Script, Server};
use support::{error, fetch, fetch_one, one_by_one, retrying};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// So many retries, and a row fails after them although its host cannot be reached.
fn tried(retries: u16) -> Config {
    Config { pace: Pace { max_host_errors: 0, ..Pace::default() }, ..retrying(retries) }
}

#[test]
fn what_a_name_server_says_is_told_apart() {
    inside("what_a_name_server_says_is_told_apart", "", || {
        let server = Server::start();
        let _names = NameServer::start(|name| match name.split('.').next().unwrap() {
            "servfail" => Says::Code(2),
            "missing" => Says::Code(3),
            "refused" => Says::Code(5),
            "empty" => Says::Nothing,
            "loop" => Says::Loop,
            "truncated" => Says::Truncated,
            "wrong-id" => Says::WrongId,
            "garbage" => Says::Garbage,
            "silent" => Says::Silence,
            _ => Says::Is(HERE),
        });
        let port = server.addr().port();
        let check = |name: &str, expected: &[&str], attempts: u16| {
            let record = fetch_one(tried(1), format!("http://{name}:{port}/ok"));
            assert!(expected.contains(&error(&record)), "{name}: {:?}", record.failure);
            assert_eq!(record.attempts, attempts, "{name}");
        };
        check("good.test", &[""], 1);
        check("under_score.test", &[""], 1);
        check("missing.test", &["dns.not_found"], 1);
        check("empty.test", &["dns.not_found"], 1);
        // The resolver may wait for a better answer until the time is over.
        for name in ["servfail", "refused", "truncated", "wrong-id", "garbage", "silent"] {
            check(&format!("{name}.test"), &["dns.temporary", "dns.timeout"], 2);
        }
        let record = fetch_one(retrying(0), format!("http://loop.test:{port}/ok"));
        assert!(error(&record).starts_with("dns."), "{record:?}");
        // No name server is asked for these.
        let long = format!("{}test", "a23456789.".repeat(26));
        check(&long, &["dns.not_found"], 1);
        check("a.123", &["input.url"], 0);
        assert_eq!(server.requests(), 2);
    });
}

/// A few names that nobody answers, and one that is answered when all other rows are done.
#[test]
fn names_that_are_not_answered_hold_no_others_up() {
    inside(
        "names_that_are_not_answered_hold_no_others_up",
        "echo 'nameserver 127.0.0.1\noptions timeout:30 attempts:1' > \"$1\"",
        || {
            const ROWS: usize = 500;
            let server = Arc::new(Server::start());
            let port = server.addr().port();
            let seen = Arc::clone(&server);
            let names = NameServer::start(move |name| {
                if name == "slow.test" {
                    assert!(
                        seen.wait_for_requests(ROWS as u64, Duration::from_secs(25)),
                        "others have waited"
                    );
                }
                if name.starts_with("silent") { Says::Silence } else { Says::Is(HERE) }
            });
            let silent = (0..8).map(|name| format!("http://silent{name}.test:{port}/ok"));
            let others = (0..ROWS).map(|row| format!("http://host{row}.test:{port}/ok"));
            let rows = silent.chain([format!("http://slow.test:{port}/ok")]).chain(others);
            let timeouts = Timeouts { dns: Some(Duration::from_secs(20)), ..Timeouts::default() };
            let fetched = fetch(Config { timeouts, ..retrying(0) }, rows);
            assert_eq!(fetched.errors()[..8], ["dns.timeout"; 8]);
            assert_eq!(fetched.errors()[8..], [""; ROWS + 1]);
            assert_eq!((names.asked("slow.test"), names.asked("host7.test")), (1, 1));
        },
    );
}

/// Far more names that nobody answers than look-ups run at once, before the others. (In a list so many dead hosts in a row would
/// look like a network that is down.)
#[test]
fn many_names_that_are_not_answered_hold_no_others_up() {
    inside(
        "many_names_that_are_not_answered_hold_no_others_up",
        "echo 'nameserver 127.0.0.1\noptions timeout:30 attempts:1' > \"$1\"",
        || {
            const SILENT: usize = 100;
            let server = Server::start();
            let port = server.addr().port();
            let _names = NameServer::start(|name| match name.starts_with("silent") {
                true => Says::Silence,
                false => Says::Is(HERE),
            });
            let timeouts = Timeouts { dns: Some(Duration::from_secs(15)), ..Timeouts::default() };
            let client = Client::new(Config { timeouts, ..retrying(0) }).unwrap();
            let silent = (0..SILENT).map(|name| format!("http://silent{name}.test:{port}/ok"));
            let others = (0..50).map(|row| format!("http://host{row}.test:{port}/ok"));
            let rows = silent.chain(others).map(|url| client.fetch(Row::new(url)));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let records = runtime.block_on(join_all(rows));
            let errors: Vec<_> = records.iter().map(error).collect();
            assert_eq!(errors[..SILENT], ["dns.timeout"; SILENT]);
            assert_eq!(errors[SILENT..], [""; 50]);
        },
    );
}

/// The second answer leads elsewhere; nobody asks for it.
#[test]
fn the_address_that_was_judged_is_dialled() {
    let setup = "ip addr add 93.184.216.34/32 dev lo";
    inside("the_address_that_was_judged_is_dialled", setup, || {
        let public = Server::builder().address([93, 184, 216, 34]).start();
        let private = Server::builder().address([127, 0, 0, 1]).port(public.addr().port()).start();
        let asked = AtomicUsize::new(0);
        let public_address = public.addr().ip();
        // Each of the first two questions is for one family.
        let names = NameServer::start(move |name| match name {
            "private.test" => Says::Is(HERE),
            _ if asked.fetch_add(1, Ordering::Relaxed) < 2 => Says::Is(public_address),
            _ => Says::Is(HERE),
        });
        let port = public.addr().port();
        let network = Network { public_only: true, ..Network::default() };
        let rows = (0..20).map(|row| format!("http://rebind.test:{port}/close?{row}"));
        let rows = rows.chain([format!("http://private.test:{port}/ok")]);
        let fetched = fetch(Config { network, ..one_by_one() }, rows);
        let (last, rows) = fetched.records.split_last().unwrap();
        assert_eq!(error(last), "policy.address");
        let dialled = |record: &overlapped_fetch::Record| record.connection.remote == Some(public.addr());
        assert!(rows.iter().all(dialled), "{rows:?}");
        assert_eq!((names.asked("rebind.test"), private.connections()), (1, 0));
    });
}

#[test]
fn a_changed_resolv_conf_is_read() {
    // Nobody answers there.
    let setup = "echo 'nameserver 127.0.0.9\noptions timeout:1 attempts:1' > \"$1\"";
    inside("a_changed_resolv_conf_is_read", setup, || {
        let server = Server::start();
        let _names = NameServer::start(|_| Says::Is(HERE));
        let url = format!("http://a.test:{}/ok", server.addr().port());
        let record = fetch_one(retrying(0), &*url);
        assert!(matches!(error(&record), "dns.temporary" | "dns.timeout"), "{record:?}");
        // The system reads it again when it has changed.
        std::fs::write("/etc/resolv.conf", namespace::RESOLV_CONF).unwrap();
        assert_eq!(error(&fetch_one(retrying(2), &*url)), "");
    });
}

/// Without one, and without any other file of settings, the name server of this machine is asked.
#[test]
fn no_resolv_conf_is_no_end() {
    let setup = "mkdir \"$1.d\"; mount --bind \"$1.d\" /etc";
    inside("no_resolv_conf_is_no_end", setup, || {
        let server = Server::start();
        let _names = NameServer::start(|_| Says::Is(HERE));
        let record = fetch_one(retrying(0), format!("http://a.test:{}/ok", server.addr().port()));
        assert_eq!(error(&record), "", "{record:?}");
    });
}

/// More names than the cache holds.
#[test]
fn a_run_of_many_names_ends() {
    inside("a_run_of_many_names_ends", "", || {
        const NAMES: usize = limits::DNS_CACHE_MAX + 500;
        let server = Server::start();
        let port = server.addr().port();
        let names = NameServer::start(|_| Says::Is(HERE));
        let rows = (0..NAMES).map(|name| format!("http://h{name}.test:{port}/ok"));
        let fetched = fetch(Config { shards: Some(1), ..retrying(2) }, rows);
        assert!(fetched.records.iter().all(|record| record.ok));
        assert!(names.asked("h0.test") > 0 && names.asked(&format!("h{}.test", NAMES - 1)) > 0);
    });
}

#[test]
fn a_network_without_a_way_is_unreachable() {
    inside("a_network_without_a_way_is_unreachable", "ip route add unreachable 10.9.9.0/24", || {
        // No route, and a route that says so.
        for host in ["10.8.8.8", "10.9.9.9"] {
            let record = fetch_one(tried(1), format!("http://{host}/"));
            assert_eq!((error(&record), record.attempts), ("connect.unreachable", 2), "{record:?}");
        }
    });
}

/// There are seven local ports, and a connection for each row.
#[test]
fn a_shortage_of_local_ports_fails_no_row() {
    let setup = "echo '40000 40006' > /proc/sys/net/ipv4/ip_local_port_range";
    inside("a_shortage_of_local_ports_fails_no_row", setup, || {
        let closing = Script::response(200, &[("connection", "close")], "").close();
        let server = Server::builder().port(30_000).route("/closing", closing).start();
        let pace = Pace { parallel_max: 60, ..Pace::default() };
        let rows = (0..300).map(|row| server.url(&format!("/closing?{row}")));
        let fetched = fetch(Config { pace, ..retrying(0) }, rows);
        assert_eq!(fetched.errors(), [""; 300]);
        assert!(server.max_open_connections() <= 7, "{}", server.max_open_connections());
    });
}
