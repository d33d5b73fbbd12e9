//! Who a request says it is, and where it connects: netrc, client certificates, certificates that are trusted by themselves,
//! other hosts, Unix sockets, local addresses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;

use overlapped_fetch::{
    Bulk, Client, Config, HostConfig, Identity, Netrc, Network, Request, Tls, TlsConfig, blocking,
};
use overlapped_testkit::{Certificate, Script, Server};
use support::{config, error, fetch, fetch_one, one_by_one, text};

fn with(network: Network) -> Config {
    Config { network, ..config() }
}

fn to(url: &str) -> Script {
    Script::response(302, &[("Location", url)], "")
}

/// The authorization of each request, in the order of arrival.
fn authorizations(server: &Server) -> Vec<Option<String>> {
    server.seen().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect()
}

fn basic(plain: &str) -> Option<String> {
    Some(format!("Basic {}", overlapped_proto::base64::encode(plain.as_bytes())))
}

#[test]
fn netrc_gives_each_origin_its_own() {
    let away = Server::builder().address([127, 0, 0, 2]).start();
    let home = Server::builder().route("/away", to(&away.url("/echo"))).route("/here", to("/echo")).start();
    let netrc = Netrc::parse(
        "machine 127.0.0.1 login me password canary\nmachine 127.0.0.1 login she password other\n\
         machine 127.0.0.2 login away password canary\ndefault login x password canary",
    );
    let netrc = Some(Arc::new(netrc.unwrap()));
    let with =
        |request: Request| Config { request: Request { netrc: netrc.clone(), ..request }, ..one_by_one() };
    let user = |user: &str| home.url("/echo").replace("://", &format!("://{user}@"));
    let urls = [home.url("/here"), user("she"), user("it"), user("me:own"), home.url("/away")];
    let fetched = fetch(with(Request::default()), urls);
    assert_eq!(fetched.errors(), [""; 5]);
    let me = basic("me:canary");
    let expected = [me.clone(), me.clone(), basic("she:other"), basic("it:"), basic("me:own"), me];
    assert_eq!(authorizations(&home), expected);
    assert_eq!(authorizations(&away), [None], "never on a redirect to another origin");
    fetch_one(with(Request::default()), away.url("/echo"));
    assert_eq!(authorizations(&away).pop().unwrap(), basic("away:canary"));
    // What is said for all requests takes precedence.
    fetch_one(with(Request { bearer: Some("own".into()), ..Request::default() }), home.url("/echo"));
    assert_eq!(authorizations(&home).pop().unwrap().as_deref(), Some("Bearer own"));
}

#[test]
fn a_redirect_to_http_is_refused_that_would_lose_what_netrc_has_given() {
    let open = Server::start();
    let safe = Server::builder().tls().route("/down", to(&open.url("/ok"))).start();
    let network = Network { ca_pem: Some(safe.ca_pem().unwrap().into()), ..Network::default() };
    let check = |netrc: &str, expected| {
        let request = Request { netrc: Some(Arc::new(Netrc::parse(netrc).unwrap())), ..Request::default() };
        let config = Config { request, network: network.clone(), ..config() };
        assert_eq!(error(&fetch_one(config, safe.url("/down"))), expected);
    };
    check("machine 127.0.0.1 login me password x", "redirect.downgrade");
    check("machine other.test login me password x", "");
}

#[test]
fn a_client_certificate_is_for_the_origin_of_the_row_alone() {
    let server = Server::builder().tls().wants_client_certificate();
    let server = server.route("/away", Script::response(302, &[("Location", "/moved")], "")).start();
    let (chain_pem, key_pem) = server.client_pem().unwrap();
    let identity = Some(Identity { chain_pem: chain_pem.into(), key_pem: key_pem.into() });
    let network = Network { ca_pem: Some(server.ca_pem().unwrap().into()), ..Network::default() };
    let none = fetch_one(with(network.clone()), server.url("/ok"));
    assert_eq!(error(&none), "tls.handshake", "{none:?}");
    assert!(none.failure.unwrap().message.contains("asks for a client certificate, and there is none"));
    let known = Network { identity: identity.clone(), ..network.clone() };
    assert_eq!(fetch(with(known.clone()), [server.url("/ok"), server.url("/away")]).statuses(), [200, 404]);
    assert_eq!(server.requests(), 3);
    // Another origin leads here by a redirect.
    let other = Server::builder().route("/", to(&server.url("/ok"))).start();
    let led = fetch_one(with(known), other.url("/"));
    assert_eq!(error(&led), "tls.handshake", "{led:?}");
    assert_eq!(server.requests(), 3);
    // The same for the settings of a single request.
    let ca_pem = server.ca_pem().map(Into::into);
    let tls = Tls::new(&TlsConfig { ca_pem, identity, ..TlsConfig::default() }).unwrap();
    let client = Client::new(with(network)).unwrap();
    let get = |url: String| overlapped::block_on(client.get(url).tls(&tls).retries(0).send());
    assert_eq!(get(server.url("/ok")).unwrap().status(), 200);
    assert!(get(other.url("/")).is_err());
    assert_eq!(server.requests(), 4);
}

/// The connection of one certificate is open when a request with another comes, or with one that the server does not know.
#[test]
fn requests_with_different_client_certificates_never_share_a_connection() {
    let server = Server::builder().tls().wants_client_certificate().start();
    let stranger = Server::builder().tls().wants_client_certificate().start();
    let tls = |of: Option<&Server>| {
        let identity = of.map(|of| {
            let (chain_pem, key_pem) = of.client_pem().unwrap();
            Identity { chain_pem: chain_pem.into(), key_pem: key_pem.into() }
        });
        let ca_pem = server.ca_pem().map(Into::into);
        Tls::new(&TlsConfig { ca_pem, identity, ..TlsConfig::default() }).unwrap()
    };
    let (own, other, wrong, none) = (tls(Some(&server)), tls(Some(&server)), tls(Some(&stranger)), tls(None));
    for retries in [0, 1] {
        let client = blocking::Client::new(config()).unwrap();
        let get = |tls: &Tls| {
            let sent = client.get(server.url("/ok")).tls(tls).retries(retries).send();
            sent.and_then(blocking::Response::bytes).map_err(|error| error.kind().name())
        };
        server.forget();
        for _ in 0..2 {
            assert!(get(&own).is_ok() && get(&other).is_ok());
            // The two authorities have one name, so the server finds a wrong signature.
            assert_eq!(get(&wrong), Err("tls.handshake"));
            assert_eq!(get(&none), Err("tls.handshake"));
        }
        let connections: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
        assert!(connections[0] != connections[1] && connections[..2] == connections[2..], "{connections:?}");
    }
}

#[test]
fn a_certificate_that_is_trusted_by_itself_is_trusted_for_its_names() {
    for kind in [Certificate::SelfSigned, Certificate::SelfSignedAuthority] {
        let server = Server::builder().tls_with(kind).tls_name("a.test").start();
        let port = server.addr().port();
        let network = Network {
            ca_pem: Some(server.certificate_pem().unwrap().into()),
            resolve: ["a.test", "b.test"].map(|name| (name.into(), port, vec![server.addr().ip()])).into(),
            ..Network::default()
        };
        let urls = ["127.0.0.1", "a.test", "b.test"].map(|host| format!("https://{host}:{port}/ok"));
        let fetched = fetch(with(network), urls);
        assert_eq!(fetched.errors(), ["", "", "tls.certificate"], "{kind:?}: {:?}", fetched.records);
        let other = Server::builder().tls_with(kind).start();
        let network = Network { ca_pem: Some(other.certificate_pem().unwrap().into()), ..Network::default() };
        assert_eq!(error(&fetch_one(with(network), server.url("/ok"))), "tls.certificate");
    }
    let server = Server::builder().tls_with(Certificate::SelfSignedExpired).start();
    let network = Network { ca_pem: Some(server.certificate_pem().unwrap().into()), ..Network::default() };
    let record = fetch_one(with(network), server.url("/ok"));
    assert_eq!(error(&record), "tls.certificate");
    assert!(record.failure.unwrap().message.contains("expired"));
}

#[test]
fn other_hosts_are_dialled_and_the_name_stays() {
    let server = Server::builder().tls().tls_name("a.test").start();
    let port = server.addr().port();
    let here = |host: &str, of: Option<u16>| ((host.to_owned(), of), ("127.0.0.1".to_owned(), Some(port)));
    let network = |connect_to| Network {
        ca_pem: Some(server.ca_pem().unwrap().into()),
        connect_to,
        ..Network::default()
    };
    let urls = ["https://a.test/ok", "https://A.test.:444/ok"];
    let fetched = fetch(with(network(vec![here("a.test", None)])), urls);
    assert_eq!(fetched.errors(), ["", ""], "{:?}", fetched.records);
    let seen: Vec<_> = server.seen().iter().map(|seen| seen.header("host").unwrap().to_owned()).collect();
    assert!(seen.contains(&"a.test".to_owned()), "{seen:?}");
    let only =
        fetch(with(network(vec![here("", Some(443))])), ["https://a.test/ok", "https://a.invalid:444/ok"]);
    assert_eq!(only.errors()[0], "");
    assert!(only.errors()[1].starts_with("dns."), "{:?}", only.errors());
    let wrong = network(vec![((String::new(), None), (String::new(), Some(1)))]);
    assert!(Bulk::new(with(wrong)).err().unwrap().to_string().contains("connect_to"));
}

#[test]
fn all_requests_go_to_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("overlapped-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        for _ in 0..2 {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let host = String::from_utf8_lossy(&head).lines().nth(1).unwrap().to_owned();
            write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}", host.len()).unwrap();
        }
    });
    let network = Network { unix_socket: Some(path.clone()), ..Network::default() };
    let config = Config { network: network.clone(), ..one_by_one() };
    let fetched = fetch(config, ["http://a.invalid/", "http://a.invalid/again"]);
    assert_eq!(fetched.errors(), ["", ""], "{:?}", fetched.records);
    assert_eq!(text(&fetched.records[1]), "host: a.invalid");
    assert_eq!(fetched.records[1].connection.remote, None);
    assert_eq!(fetched.records[1].connection.reused, Some(true));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(error(&fetch_one(with(network), "http://a.invalid/")), "connect.refused");
}

#[test]
fn connections_are_made_from_a_local_address() {
    let server = Server::start();
    let from = |interface: &str| with(Network { interface: Some(interface.into()), ..Network::default() });
    assert_eq!(error(&fetch_one(from("127.0.0.9"), server.url("/ok"))), "");
    assert_eq!(server.seen()[0].peer.ip().to_string(), "127.0.0.9");
    assert_eq!(error(&fetch_one(from("::1"), server.url("/ok"))), "dns.not_found");
    assert!(Bulk::new(from("no such interface")).err().unwrap().to_string().contains("no interface"));
}

#[test]
fn a_host_has_one_section_and_a_client_has_none() {
    let with = |names: &[&str]| Config {
        hosts: names
            .iter()
            .map(|name| HostConfig { name: (*name).to_owned(), ..HostConfig::default() })
            .collect(),
        ..config()
    };
    assert!(Bulk::new(with(&["a.test", "127.0.0.1", "[::1]", "xn--bcher-kva.example"])).is_ok());
    for wrong in [&["A.test"][..], &["a.test:80"], &["a b"], &[""], &["::1"], &["a.test", "b.test", "a.test"]]
    {
        let error = Bulk::new(with(wrong)).err().unwrap();
        assert!(error.to_string().contains("hosts: "), "{wrong:?}: {error}");
    }
    assert!(Client::new(with(&["a.test"])).err().unwrap().to_string().contains("is for lists"));
}
