//! Names: resolved once for all rows that ask, and an address is judged before it is dialled.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::net::IpAddr;

use overlapped_fetch::{Bulk, Config, ErrorClass, Network};
use overlapped_testkit::{Script, Server, refused_on};
use support::{config, error, fetch, fetch_one, one_by_one, retrying};

fn localhost(server: &Server, path: &str) -> String {
    server.url(path).replace("127.0.0.1", "localhost")
}

#[test]
fn localhost_is_resolved_once() {
    let server = Server::start();
    let fetched = fetch(one_by_one(), ["/close", "/ok", "/ok"].map(|path| localhost(&server, path)));
    assert_eq!(fetched.errors(), ["http.no_response", "", ""]);
    let resolved: Vec<_> = fetched.records.iter().map(|record| record.timing.dns.is_some()).collect();
    assert!(resolved[0] && !resolved[2], "{resolved:?}");
    assert!(server.seen().iter().all(|seen| seen.header("host").unwrap().starts_with("localhost:")));
}

/// No resolver has to know them (RFC 6761, section 6.3), and none can lead them elsewhere.
#[test]
fn names_below_localhost_are_this_machine() {
    let server = Server::start();
    let port = server.addr().port();
    let urls =
        || ["app.localhost", "a.B.LOCALHOST.", "localhost."].map(|name| format!("http://{name}:{port}/ok"));
    assert_eq!(fetch(config(), urls()).errors(), [""; 3]);
    let asked = format!("app.localhost:{port}");
    assert!(server.seen().iter().any(|seen| seen.header("host") == Some(&asked)));
    let network = Network { public_only: true, ..Network::default() };
    assert_eq!(fetch(Config { network, ..config() }, urls()).errors(), ["policy.address"; 3]);
    assert_eq!(server.requests(), 3);
}

#[test]
fn many_rows_of_one_name_all_get_its_address() {
    let server = Server::start();
    let fetched = fetch(config(), (0..200).map(|row| localhost(&server, &format!("/row/{row}"))));
    assert_eq!(fetched.errors(), [""; 200]);
}

/// A label is at most 63 bytes long, so no resolver needs to be asked, and none can know it.
#[test]
fn a_name_that_cannot_exist_is_not_found() {
    let urls = (0..3).map(|row| format!("http://{}.test/{row}", "x".repeat(64)));
    let fetched = fetch(retrying(2), urls);
    assert_eq!(fetched.errors(), ["dns.not_found"; 3]);
    assert!(fetched.records.iter().all(|record| record.attempts == 1 && record.connection.remote.is_none()));
}

#[test]
fn an_address_that_is_given_is_dialled_without_asking() {
    let server = Server::builder().address([127, 0, 0, 3]).start();
    let port = server.addr().port();
    let pin = |name: &str, port| (name.to_owned(), port, vec![server.addr().ip()]);
    let network = Network { resolve: vec![pin("A.test", port), pin("c.test", 1)], ..Network::default() };
    let fetched = fetch(Config { network, ..config() }, [format!("http://a.TEST:{port}/ok")]);
    assert_eq!((fetched.errors()[0], fetched.records[0].timing.dns), ("", None));
    assert_eq!(server.seen()[0].header("host"), Some(format!("a.test:{port}").as_str()));
}

#[test]
fn the_next_address_is_tried_when_one_is_dead() {
    let dead = refused_on([127, 0, 0, 4].into());
    let server = Server::builder().address([127, 0, 0, 5]).port(dead.addr().port()).start();
    let addresses: Vec<IpAddr> = vec![dead.addr().ip(), "::1".parse().unwrap(), server.addr().ip()];
    let network =
        Network { resolve: vec![("a.test".into(), server.addr().port(), addresses)], ..Network::default() };
    let record =
        fetch_one(Config { network, ..config() }, format!("http://a.test:{}/ok", server.addr().port()));
    assert_eq!((error(&record), record.connection.remote), ("", Some(server.addr())));
}

#[test]
fn this_machine_is_not_public() {
    let server = Server::start();
    let port = server.addr().port();
    let network = Network {
        public_only: true,
        resolve: vec![
            ("a.test".into(), port, vec!["127.0.0.1".parse().unwrap()]),
            ("b.test".into(), port, vec!["203.0.113.1".parse().unwrap(), "127.0.0.1".parse().unwrap()]),
        ],
        ..Network::default()
    };
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "a.test",
        "b.test",
    ];
    let fetched =
        fetch(Config { network, ..retrying(2) }, hosts.map(|host| format!("http://{host}:{port}/ok")));
    for record in &fetched.records {
        assert_eq!((error(record), record.attempts), ("policy.address", 1), "{}", record.url);
    }
    assert_eq!((server.requests(), server.connections()), (0, 0), "judged before it is dialled");
}

#[test]
fn a_range_that_is_allowed_is_dialled() {
    let server = Server::builder().hosts(2).start();
    let network =
        Network { public_only: true, allow_addresses: vec!["127.0.0.2/32".into()], ..Network::default() };
    let fetched = fetch(Config { network, ..config() }, [server.url_on(0, "/ok"), server.url_on(1, "/ok")]);
    assert_eq!(fetched.errors(), ["policy.address", ""]);
    let network = Network { allow_addresses: vec!["127.0.0.0/33".into()], ..Network::default() };
    let Err(refused) = Bulk::new(Config { network, ..config() }) else {
        unreachable!("a range that is none")
    };
    assert_eq!(refused.class(), ErrorClass::Config);
}

#[test]
fn the_policy_holds_on_every_hop() {
    let to = |location: &str| Script::response(302, &[("Location", location)], "");
    let server = Server::builder()
        .hosts(2)
        .route("/metadata", to("http://169.254.169.254/latest/meta-data/"))
        .handler("/inside", |request| {
            let port = request.header("host").unwrap().rsplit(':').next().unwrap().to_owned();
            Script::response(302, &[("Location", &format!("http://127.0.0.2:{port}/ok"))], "")
        })
        .start();
    let network =
        Network { public_only: true, allow_addresses: vec!["127.0.0.1".into()], ..Network::default() };
    let urls = ["/metadata", "/inside"].map(|path| server.url(path));
    let fetched = fetch(Config { network, ..config() }, urls);
    assert_eq!(fetched.errors(), ["policy.address"; 2]);
    assert!(fetched.records.iter().all(|record| record.chain.len() == 1));
    assert_eq!(server.requests(), 2);
}
