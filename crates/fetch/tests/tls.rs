//! TLS: which certificates are trusted, and that an exception for one name is none for another.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use overlapped_fetch::{Bulk, Config, ErrorClass, Network, Timeouts};
use overlapped_testkit::{Certificate, Script, Server, row_of};
use support::{body, config, error, fetch, fetch_one, one_by_one, retrying};

/// Trusts this server's authority.
fn trusting(server: &Server) -> Network {
    Network { ca_pem: Some(server.ca_pem().unwrap().into()), ..Network::default() }
}

fn with(network: Network) -> Config {
    Config { network, ..config() }
}

#[test]
fn a_trusted_server_is_fetched_and_its_connections_are_used_again() {
    let server = Server::builder().tls().start();
    let urls = (0..5).map(|row| server.url(&format!("/row/{row}")));
    let fetched = fetch(Config { network: trusting(&server), ..one_by_one() }, urls);
    assert_eq!(fetched.errors(), [""; 5]);
    let first = &fetched.records[0].timing;
    assert!(first.connect.is_some() && first.tls.is_some());
    assert!(fetched.records[1].timing.tls.is_none());
    for (row, record) in (0..).zip(&fetched.records) {
        assert_eq!(body(record), row_of(row));
    }
    assert_eq!(server.connections(), 1);
}

/// More hosts than the library remembers by default. Each connection has one response.
#[test]
fn the_sessions_of_forty_hosts_are_resumed() {
    let closing = Script::response(200, &[("Connection", "close")], "closed");
    let server = Server::builder().hosts(40).tls().route("/closing", closing).start();
    let urls = (0..80).map(|row| server.url_on(row, &format!("/closing?{row}")));
    let fetched = fetch(Config { network: trusting(&server), ..one_by_one() }, urls);
    assert_eq!(fetched.errors(), [""; 80]);
    assert_eq!((server.connections(), server.resumed_handshakes()), (80, 40));
}

#[test]
fn names_are_verified_as_they_stand_in_the_url() {
    let server = Server::builder().tls().tls_name("a.test").start();
    let port = server.addr().port();
    let pins = ["a.test", "b.test"].map(|name| (name.to_owned(), port, vec![server.addr().ip()]));
    let network = Network { resolve: pins.to_vec(), ..trusting(&server) };
    let urls = ["localhost", "a.test", "A.TEST", "a.test.", "b.test"]
        .map(|name| format!("https://{name}:{port}/ok"));
    let fetched = fetch(with(network.clone()), urls[..3].to_vec());
    assert_eq!(fetched.errors(), [""; 3]);
    let fetched = fetch(with(network), urls[4..].to_vec());
    assert_eq!(fetched.errors(), ["tls.certificate"]);
}

#[test]
fn a_certificate_that_is_wrong_ends_the_row_for_good() {
    for certificate in [
        Certificate::Expired,
        Certificate::NotYetValid,
        Certificate::WrongName,
        Certificate::UnknownIssuer,
        Certificate::SelfSigned,
    ] {
        let server = Server::builder().tls_with(certificate).start();
        let record = fetch_one(Config { network: trusting(&server), ..retrying(2) }, server.url("/ok"));
        assert_eq!((error(&record), record.attempts), ("tls.certificate", 1), "{certificate:?}");
        assert_eq!(record.status, None);
        assert_eq!(server.requests(), 0, "{certificate:?}: nothing may be sent");
    }
}

#[test]
fn the_systems_certificates_do_not_know_ours() {
    let server = Server::builder().tls().start();
    let record = fetch_one(config(), server.url("/ok"));
    assert!(["tls.certificate", "tls.handshake"].contains(&error(&record)), "{:?}", record.failure);
    assert_eq!(server.requests(), 0);
}

#[test]
fn an_exception_holds_for_its_name_alone() {
    for certificate in [Certificate::Expired, Certificate::WrongName, Certificate::SelfSigned] {
        let server = Server::builder().hosts(2).tls_with(certificate).start();
        let network = Network { insecure_hosts: vec!["127.0.0.2".into()], ..trusting(&server) };
        let urls = [1, 0, 1, 0].map(|host| server.url_on(host, "/ok"));
        let fetched = fetch(with(network), urls);
        assert_eq!(fetched.errors(), ["", "tls.certificate", "", "tls.certificate"], "{certificate:?}");
        assert_eq!(server.requests(), 2);
        assert!(server.seen().iter().all(|seen| seen.local.ip() == server.addresses()[1].ip()));
    }
}

/// Both names lead to the same address and port: what was not verified for one is no connection for the other.
#[test]
fn unverified_connections_are_shared_with_nobody() {
    let server = Server::builder().tls_with(Certificate::SelfSigned).start();
    let port = server.addr().port();
    let pins = ["a.test", "b.test"].map(|name| (name.to_owned(), port, vec![server.addr().ip()]));
    let network =
        Network { resolve: pins.to_vec(), insecure_hosts: vec!["A.test".into()], ..trusting(&server) };
    let urls = ["a.test", "b.test", "a.test", "b.test"].map(|name| format!("https://{name}:{port}/ok"));
    let fetched = fetch(Config { network, ..one_by_one() }, urls);
    assert_eq!(fetched.errors(), ["", "tls.certificate", "", "tls.certificate"]);
    assert_eq!(fetched.records[2].connection.reused, Some(true));
    assert_eq!(server.requests(), 2);
}

#[test]
fn an_exception_is_not_taken_along_by_a_redirect() {
    let strange = Server::builder().address([127, 0, 0, 2]).tls_with(Certificate::SelfSigned).start();
    let to = strange.url("/ok");
    let home = Server::builder()
        .tls_with(Certificate::SelfSigned)
        .route("/away", Script::response(302, &[("Location", &to)], ""))
        .start();
    let network = Network { insecure_hosts: vec!["127.0.0.1".into()], ..trusting(&home) };
    let record = fetch_one(with(network), home.url("/away"));
    assert_eq!((error(&record), record.chain.len()), ("tls.certificate", 1));
    assert_eq!(strange.requests(), 0);
}

#[test]
fn plain_http_on_a_tls_port_and_the_other_way_round() {
    let safe = Server::builder().tls().start();
    let open = Server::builder().raw([Script::new().send("HTTP/1.1 400 Bad Request\r\n\r\n")]).start();
    let record = fetch_one(config(), open.url("/ok").replace("http:", "https:"));
    assert_eq!((error(&record), record.status), ("tls.handshake", None));
    let record = fetch_one(config(), safe.url("/ok").replace("https:", "http:"));
    assert!(error(&record).starts_with("http."), "{:?}", record.failure);
    assert_eq!(safe.requests(), 0);
}

#[test]
fn a_handshake_that_breaks_off_is_named() {
    let alert = |number: u8| Script::new().send([b"\x15\x03\x01\0\x02\x02", &[number][..]].concat());
    const HANDSHAKE_FAILURE: u8 = 40;
    const INTERNAL_ERROR: u8 = 80;
    for (script, kinds, attempts) in [
        (Script::new().close(), &["tls.reset"][..], 2),
        // The reset may come before the connection is known to be established.
        (Script::new().reset(), &["tls.reset", "connect.reset"], 2),
        (alert(INTERNAL_ERROR), &["tls.reset"], 2),
        (alert(HANDSHAKE_FAILURE), &["tls.handshake"], 1),
    ] {
        let server = Server::builder().raw([script]).start();
        let record = fetch_one(retrying(1), server.url("/").replace("http:", "https:"));
        assert!(kinds.contains(&error(&record)), "{:?}", record.failure);
        assert_eq!((record.attempts, server.connections()), (attempts, u64::from(attempts)), "{kinds:?}");
    }
}

/// Passes one connection on to a server, until both sides have closed it.
fn relay(mut client: TcpStream, to: SocketAddr) {
    let mut server = TcpStream::connect(to).unwrap();
    let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let forth = std::thread::spawn(move || {
        let _ = std::io::copy(&mut up, &mut down);
        let _ = down.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    drop(forth.join());
}

/// A server that is restarted may have accepted a connection that it never serves.
#[test]
fn a_row_whose_handshake_was_closed_is_tried_again() {
    let server = Server::builder().tls().start();
    let (before, served) = (TcpListener::bind("127.0.0.1:0").unwrap(), server.addr());
    let url = server
        .url("/ok")
        .replace(&served.port().to_string(), &before.local_addr().unwrap().port().to_string());
    let relay = std::thread::spawn(move || {
        let (mut first, _) = before.accept().unwrap();
        first.read_exact(&mut [0; 5]).unwrap();
        drop(first);
        relay(before.accept().unwrap().0, served);
    });
    let record = fetch_one(Config { network: trusting(&server), ..retrying(1) }, url);
    assert_eq!((error(&record), record.attempts, record.ok), ("", 2, true), "{:?}", record.failure);
    drop(server);
    relay.join().unwrap();
}

/// The server is the same to the client, which has a session of the first one.
#[test]
fn a_certificate_may_change_from_one_connection_to_the_next() {
    let closing = || Script::response(200, &[("Connection", "close")], "closed");
    let servers: Vec<_> =
        (0..3).map(|_| Server::builder().tls().route("/closing", closing()).start()).collect();
    let trusted = &servers[..2];
    let pem: String = trusted.iter().map(|server| server.ca_pem().unwrap()).collect();
    let before = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/closing", before.local_addr().unwrap());
    let served: Vec<_> = servers.iter().map(Server::addr).collect();
    let relay = std::thread::spawn(move || {
        [0, 1, 0, 2].into_iter().for_each(|server| relay(before.accept().unwrap().0, served[server]));
    });
    let network = Network { ca_pem: Some(pem.into()), ..Network::default() };
    let fetched = fetch(Config { network, ..one_by_one() }, (0..4).map(|row| format!("{url}?{row}")));
    assert_eq!(fetched.errors(), ["", "", "", "tls.certificate"]);
    relay.join().unwrap();
    assert_eq!(servers.iter().map(Server::requests).collect::<Vec<_>>(), [2, 1, 0]);
}

#[test]
fn a_chain_of_certificates_may_have_64_kib() {
    for (certificate, expected) in
        [(Certificate::LongChain, ""), (Certificate::OverlongChain, "tls.handshake")]
    {
        let server = Server::builder().tls_with(certificate).start();
        let record = fetch_one(with(trusting(&server)), server.url("/ok"));
        assert_eq!(error(&record), expected, "{:?}", record.failure);
        let told = record.failure.is_none_or(|failure| failure.message.contains("larger than 64 KiB"));
        assert!(told, "{certificate:?}");
    }
}

/// However often it says that it closes the connection, and whether it then does.
#[test]
fn a_server_that_says_goodbye_in_the_handshake_is_told() {
    let goodbye = b"\x15\x03\x03\0\x02\x01\0";
    for (script, expected) in [
        (Script::new().send(goodbye.as_slice()).close(), "tls.reset"),
        (Script::new().send(goodbye.as_slice()).silence(), "tls.timeout"),
        // The library takes a few of them.
        (Script::new().repeat(goodbye.as_slice(), 1_000_000), "tls.handshake"),
    ] {
        let server = Server::builder().raw([script]).start();
        let timeouts = Timeouts { tls: Some(Duration::from_secs(1)), ..Timeouts::default() };
        let config = Config { timeouts, ..config() };
        let record = fetch_one(config, server.url("/").replace("http:", "https:"));
        // On a busy machine the time may pass first.
        assert!([expected, "tls.timeout"].contains(&error(&record)), "{expected}: {:?}", record.failure);
    }
}

/// An attacker who cuts the connection cuts the body: without a length or `close_notify` its end is not proven.
#[test]
fn a_body_that_is_cut_without_close_notify_is_truncated() {
    let open_ended = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome";
    let server = Server::builder()
        .tls()
        .route("/cut", Script::new().send(open_ended).cut())
        .route("/closed", Script::new().send(open_ended).close())
        .route("/whole", Script::response(200, &[], "whole").cut())
        .start();
    let urls = ["/cut", "/closed", "/whole", "/cut?length=10&sent=5"].map(|path| server.url(path));
    let fetched = fetch(with(trusting(&server)), urls);
    assert_eq!(fetched.errors(), ["body.truncated", "", "", "body.truncated"]);
    let truncated: Vec<_> = fetched.records.iter().map(|record| record.truncated).collect();
    assert_eq!(truncated, [Some(true), Some(false), Some(false), Some(true)]);
}

#[test]
fn an_authority_that_is_no_certificate_is_told_before_the_run() {
    let good = Server::builder().tls().start().ca_pem().unwrap().to_owned();
    let bad = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n";
    for (pem, words) in [
        (String::new(), "no certificate in the file"),
        ("garbage\0\n".to_owned(), "no certificate in the file"),
        (
            "-----BEGIN PRIVATE KEY-----\nbm90\n-----END PRIVATE KEY-----\n".to_owned(),
            "no certificate in the file",
        ),
        (bad.to_owned(), "certificate 1 of the file cannot be read"),
        (good.replace("-----END", "!\n-----END"), "certificate 1 of the file cannot be read"),
        (format!("{good}{bad}"), "certificate 2 of the file cannot be read"),
    ] {
        let network = Network { ca_pem: Some(pem.clone().into()), ..Network::default() };
        let Err(refused) = Bulk::new(with(network)) else { panic!("{pem:?} is taken") };
        assert_eq!(refused.class(), ErrorClass::Config);
        assert!(refused.to_string().contains(words), "{pem:?}: {refused}");
    }
    let network = Network { ca_pem: Some(good.clone().into()), ..Network::default() };
    assert!(Bulk::new(with(network)).is_ok());
}

/// And which flag helps.
#[test]
fn what_is_wrong_with_a_certificate_is_told_in_words() {
    for (certificate, words) in [
        (Certificate::Expired, "127.0.0.1 expired on 2001-01-01 (today is "),
        (Certificate::NotYetValid, "127.0.0.1 is not valid before 2100-01-01 (today is "),
        (Certificate::WrongName, ", not for 127.0.0.1; --insecure-host 127.0.0.1"),
        (Certificate::UnknownIssuer, "comes from an authority that is not trusted here: --cacert FILE"),
        (Certificate::SelfSigned, "is signed by itself: --cacert FILE"),
    ] {
        let server = Server::builder().tls_with(certificate).start();
        let record = fetch_one(with(trusting(&server)), server.url("/ok"));
        let message = record.failure.unwrap().message;
        assert!(message.contains(words), "{certificate:?}: {message}");
        // The clock may be what is wrong.
        let tells_day = message.contains(" by this machine's clock)");
        assert_eq!(message.contains(['(', '{']), tells_day, "{message}");
    }
}

#[test]
fn an_exception_that_no_row_needed_is_told() {
    let server = Server::builder().tls_with(Certificate::SelfSigned).start();
    let (port, open) = (server.addr().port(), Server::start());
    let pins = ["a.test", "a.test.", "xn--bcher-kva.test"]
        .map(|name| (name.to_owned(), port, vec![server.addr().ip()]));
    let given = ["A.test.", "b\u{fc}cher.test", "127.0.0.1", "b.test", "a.test:443"].map(str::to_owned);
    let network = Network { resolve: pins.to_vec(), insecure_hosts: given.to_vec(), ..trusting(&server) };
    let urls = [
        format!("https://a.test:{port}/ok"),
        format!("https://a.test.:{port}/ok"),
        format!("https://b\u{fc}cher.test:{port}/ok"),
        open.url("/ok"),
    ];
    let fetched = fetch(with(network), urls);
    assert!(fetched.records.iter().all(|record| record.ok), "{:?}", fetched.errors());
    assert_eq!(fetched.summary.insecure_unmet, ["127.0.0.1", "b.test", "a.test:443"]);
}
