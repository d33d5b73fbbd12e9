//! Hosts that ask for https only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use overlapped_fetch::{Bulk, Client, Config, Input, Network, Record, Row, Tls, TlsConfig};
use overlapped_proto::notes::Note;
use overlapped_testkit::{Script, Server};
use support::{error, fetch, one_by_one, run};

/// A server of https that asks for https only, for so many seconds.
fn strict(value: &str) -> Server {
    let fields = [("strict-transport-security", value), ("content-length", "0")];
    Server::builder()
        .tls_name("a.test")
        .tls_name("b.a.test")
        .tls()
        .route("/", Script::response(200, &fields, ""))
        .start()
}

fn config(server: &Server) -> Config {
    let pins = ["a.test", "b.a.test"];
    let address = IpAddr::from([127, 0, 0, 1]);
    let resolve = pins.iter().map(|name| ((*name).to_owned(), server.addr().port(), vec![address])).collect();
    let ca_pem = server.ca_pem().map(|pem| pem.as_bytes().to_vec());
    Config { network: Network { hsts: true, ca_pem, resolve, ..Network::default() }, ..one_by_one() }
}

/// What became of a row of http: its error, or whether it was upgraded.
fn upgraded(record: &Record) -> bool {
    let is_noted = record.notes.iter().any(|note| note == Note::Hsts);
    assert_eq!(
        is_noted,
        record.final_url.as_deref().is_some_and(|url| url.starts_with("https:")),
        "{record:?}"
    );
    is_noted
}

#[test]
fn rows_behind_the_policy_go_over_https() {
    let server = Arc::new(strict("max-age=1000; includeSubDomains"));
    let port = server.addr().port();
    let urls = [
        format!("http://a.test:{port}/early"),
        format!("https://a.test:{port}/"),
        format!("http://a.test:{port}/?x"),
        format!("http://b.a.test:{port}/"),
    ];
    // The other host's row comes when the policy is known: the second request was sent by it.
    let rows = |urls: &[String]| urls.iter().map(Row::new).collect::<Vec<_>>();
    let (mut batches, seen) = (vec![rows(&urls[3..]), rows(&urls[..3])], Arc::clone(&server));
    let input = Input::Batches(Box::new(move |_| {
        if batches.len() == 1 {
            assert!(seen.wait_for_requests(2, Duration::from_secs(60)));
        }
        Ok(batches.pop().unwrap_or_default())
    }));
    let fetched = run(Bulk::new(config(&server)).unwrap().input(input));
    fetched.assert_complete(4);
    let found: Vec<_> = fetched.records.iter().map(upgraded).collect();
    assert_eq!(found, [false, false, true, true]);
    assert_ne!(error(&fetched.records[0]), "");
    assert_eq!(fetched.errors()[1..], ["", "", ""]);
    let row = &fetched.records[2];
    assert_eq!(
        (&*row.url, row.final_url.as_deref()),
        (&*urls[2], Some(&*urls[2].replace("http:", "https:")))
    );
    assert!(row.chain.is_empty() && row.attempts == 1, "{row:?}");
    // Only for those who ask for it.
    let network = Network { hsts: false, ..config(&server).network };
    let fetched = fetch(Config { network, ..config(&server) }, &urls[..]);
    assert!(!fetched.records.iter().any(upgraded));
}

#[test]
fn a_connection_that_is_not_verified_says_nothing() {
    let server = strict("max-age=1000");
    let port = server.addr().port();
    let urls = [format!("https://a.test:{port}/"), format!("http://a.test:{port}/")];
    let network = Network { insecure_hosts: vec!["a.test".into()], ..config(&server).network };
    let fetched = fetch(Config { network, ..config(&server) }, &urls[..]);
    assert_eq!(error(&fetched.records[0]), "");
    assert!(!upgraded(&fetched.records[1]));
}

#[test]
fn redirects_to_a_known_host_go_over_https() {
    let server = strict("max-age=1000");
    let port = server.addr().port();
    let location = format!("http://a.test:{port}/?there");
    let other =
        Server::builder().route("/away", Script::response(302, &[("location", &location)], "")).start();
    let urls = [format!("https://a.test:{port}/"), other.url("/away")];
    let fetched = fetch(config(&server), &urls[..]);
    assert_eq!(fetched.errors(), ["", ""]);
    let row = &fetched.records[1];
    assert!(upgraded(row));
    assert_eq!(row.final_url.as_deref(), Some(&*location.replace("http:", "https:")));
    let chain: Vec<_> = row.chain.iter().map(|hop| (&*hop.url, hop.status)).collect();
    assert_eq!(chain, [(&*urls[1], 302)]);
}

/// It sends to http what comes over https, and wants https for what comes over http.
#[test]
fn a_host_that_redirects_to_http_and_wants_https_is_no_endless_loop() {
    let server = Server::builder()
        .tls_name("a.test")
        .tls()
        .handler("/", |request| {
            let host = request.header("host").unwrap().to_owned();
            let fields =
                [("strict-transport-security", "max-age=9"), ("location", &*format!("http://{host}/"))];
            Script::response(302, &fields, "")
        })
        .start();
    let url = format!("https://a.test:{}/", server.addr().port());
    let record = &fetch(config(&server), [url]).records[0];
    assert_eq!((error(record), record.chain.len()), ("redirect.too_many", 10));
    assert!(upgraded(record) && server.requests() == 11);
}

#[test]
fn a_client_knows_hosts_too() {
    let server = strict("max-age=1000");
    let port = server.addr().port();
    let client = Client::new(config(&server)).unwrap();
    let url = |scheme: &str| format!("{scheme}://a.test:{port}/");
    let unverified = Tls::new(&TlsConfig { verify: false, ..TlsConfig::default() }).unwrap();
    overlapped::block_on(async {
        client.get(url("https")).tls(&unverified).send().await.unwrap();
        assert!(client.get(url("http")).send().await.is_err(), "nothing is known yet");
        client.get(url("https")).send().await.unwrap();
        let response = client.get(url("http")).send().await.unwrap();
        assert_eq!(response.final_url(), url("https"));
        assert!(response.history().is_empty());
    });
}
