//! Who a request says it is, and where it connects: netrc, client certificates, certificates that are trusted by themselves,
//! other hosts, Unix sockets, local addresses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use overlapped_fetch::{
    Bulk, Client, Config, HostConfig, Identity, Input, Netrc, Network, Request, Timeouts, Tls, TlsConfig,
    blocking,
};
use overlapped_testkit::{Certificate, Script, Server};
use support::{Scratch, config, error, fetch, fetch_one, one_by_one, run, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    let wrong = network(vec![((String::new(), None), ("a b".to_owned(), Some(1)))]);
    assert!(Bulk::new(with(wrong)).err().unwrap().to_string().contains("connect_to"));
    // The addresses that are set are those of the host and port that are dialled.
    let resolve = vec![("b.invalid".into(), port, vec![[127, 0, 0, 1].into()])];
    let connect_to = vec![((String::new(), None), ("b.invalid".into(), Some(port)))];
    let fetched = fetch(with(Network { resolve, ..network(connect_to) }), ["https://a.test/ok"]);
    assert_eq!(fetched.errors(), [""], "{:?}", fetched.records);
    assert_eq!(fetched.summary.resolve_unmet, []);
}

#[test]
fn addresses_that_are_set_are_dialled_for_each_spelling_of_their_host_and_for_an_address() {
    let server = Server::builder().address([127, 0, 0, 2]).start();
    let port = server.addr().port();
    let pin = |host: &str, last: u8| (host.to_owned(), port, vec![[127, 0, 0, last].into()]);
    let check = |resolve: Vec<_>, host: &str| {
        let fetched =
            fetch(with(Network { resolve, ..Network::default() }), [format!("http://{host}:{port}/ok")]);
        assert_eq!(fetched.errors(), [""], "{host}: {:?}", fetched.records);
        assert_eq!(fetched.summary.resolve_unmet, [], "{host}");
        assert_eq!(fetched.records[0].connection.remote, Some(server.addr()));
    };
    check(vec![pin("A.invalid.", 2)], "a.invalid");
    check(vec![pin("a.invalid", 2)], "A.invalid.");
    check(vec![pin("b\u{fc}cher.invalid", 2)], "xn--bcher-kva.invalid");
    check(vec![pin("127.0.0.1", 2)], "127.0.0.1");
    check(vec![pin("[::1]", 2)], "[::1]");
    // Of several the last one counts, as with curl.
    check(vec![pin("a.invalid", 3), pin("A.invalid", 2)], "a.invalid");
    let wrong = with(Network { resolve: vec![pin("a b", 2)], ..Network::default() });
    assert!(Bulk::new(wrong).err().unwrap().to_string().contains("--resolve: \"a b\" is no host"));
    // Still judged by the address policy.
    let resolve = vec![pin("8.8.8.8", 2)];
    let record = fetch_one(
        with(Network { resolve, public_only: true, ..Network::default() }),
        format!("http://8.8.8.8:{port}/ok"),
    );
    assert_eq!(error(&record), "policy.address");
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

/// A Unix socket with a backlog of one, of a server that answers one request after the other, `most` of them.
fn slow_socket(name: &str, most: usize) -> PathBuf {
    let path = std::env::temp_dir().join(format!("overlapped-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let (at, (ready, is_ready)) = (path.clone(), mpsc::channel());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = tokio::net::UnixSocket::new_stream().unwrap();
            socket.bind(&at).unwrap();
            let listener = socket.listen(1).unwrap();
            ready.send(()).unwrap();
            for _ in 0..most {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
                let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
    });
    is_ready.recv().unwrap();
    path
}

/// A full backlog failed the attempt, so that rows of a healthy server failed.
#[test]
fn a_full_backlog_of_a_unix_socket_is_waited_for() {
    let path = slow_socket("full", 200);
    let network = Network { unix_socket: Some(path.clone()), ..Network::default() };
    let fetched = fetch(with(network), (0..200).map(|row| format!("http://{}.invalid/{row}", row % 50)));
    assert_eq!(fetched.errors(), [""; 200]);
    assert!(fetched.records.iter().all(|record| record.attempts == 1));
    assert_eq!(fetched.summary.shortages, 0, "no file and no port was missing");
    std::fs::remove_file(&path).unwrap();
}

/// Two connections fill it, and nobody takes them.
#[test]
fn a_backlog_that_stays_full_is_told_at_the_end_of_the_time_for_a_connection() {
    let path = slow_socket("stuck", 0);
    let _held = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
    let timeouts = Timeouts { connect: Some(Duration::from_millis(200)), ..Timeouts::default() };
    let network = Network { unix_socket: Some(path.clone()), ..Network::default() };
    let record = fetch_one(Config { timeouts, ..with(network) }, "http://a.invalid/");
    let message = &record.failure.as_ref().unwrap().message;
    assert_eq!(error(&record), "connect.timeout");
    assert!(message.contains("backlog") && message.contains("--connect-timeout"), "{message}");
    std::fs::remove_file(&path).unwrap();
}

/// It was told as a server that refuses.
#[test]
fn what_is_no_socket_is_told() {
    let directory = Scratch::new();
    let socket = directory.path().join("s.sock");
    let of = |unix_socket: PathBuf| Network { unix_socket: Some(unix_socket), ..Network::default() };
    let refused = |network: Network| Bulk::new(with(network)).err().unwrap().to_string();
    assert!(refused(of(directory.path().into())).contains("it is a directory, and no socket"));
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(
        refused(of(file.clone())).contains("--unix-socket") && refused(of(file)).contains("it is a file")
    );
    let long = refused(of(directory.path().join("s".repeat(200))));
    assert!(long.contains("bytes at most"), "{long}");
    let most: usize =
        long.split(" bytes at most").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(Bulk::new(with(of("s".repeat(most).into()))).is_ok());
    assert!(refused(of("s".repeat(most + 1).into())).contains(&format!("this one has {}", most + 1)));
    let connect_to = vec![((String::new(), None), ("a".into(), Some(1)))];
    assert!(refused(Network { connect_to, ..of(socket.clone()) }).contains("--connect-to has no effect"));
    let interface = Some("127.0.0.1".into());
    assert!(refused(Network { interface, ..of(socket.clone()) }).contains("--interface has no effect"));
    // It comes later, as something else.
    let urls = std::iter::once("http://a.invalid/".to_owned()).inspect({
        let socket = socket.clone();
        move |_| std::fs::write(&socket, "").unwrap()
    });
    let fetched = run(Bulk::new(with(of(socket))).unwrap().input(Input::Urls(Box::new(urls))));
    assert_eq!(fetched.errors(), ["connect.refused"]);
    assert!(fetched.records[0].failure.as_ref().unwrap().message.contains("it is a file, and no socket"));
}

#[test]
fn connections_are_made_from_a_local_address() {
    let server = Server::start();
    let from = |interface: &str| with(Network { interface: Some(interface.into()), ..Network::default() });
    assert_eq!(error(&fetch_one(from("127.0.0.9"), server.url("/ok"))), "");
    assert_eq!(server.seen()[0].peer.ip().to_string(), "127.0.0.9");
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let record = fetch_one(from("[::1]"), server.url("/ok"));
        assert_eq!(error(&record), "dns.not_found");
        let message = &record.failure.as_ref().unwrap().message;
        assert!(message.contains("--interface ::1 is of IPv6"), "{message}");
    }
    for wrong in ["no such interface", "", "192.0.2.1", "fe80::1"] {
        let error = Bulk::new(from(wrong)).err().unwrap().to_string();
        assert!(error.contains(&format!("--interface {wrong:?}: ")), "{error}");
    }
    // As a server, it needs an interface, which the system says in no clear words.
    let record = fetch_one(config(), "http://[fe80::1]:9/");
    let message = &record.failure.as_ref().unwrap().message;
    assert!(message.contains("--interface NAME") || error(&record) != "connect.unreachable", "{record:?}");
    assert!(!message.contains("Invalid argument"), "{message}");
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
    for wrong in [
        &["A.test"][..],
        &["*.test"],
        &["*"],
        &["a.test:80"],
        &["a b"],
        &[""],
        &["::1"],
        &["a.test", "b.test", "a.test"],
    ] {
        let error = Bulk::new(with(wrong)).err().unwrap();
        assert!(error.to_string().contains("hosts: "), "{wrong:?}: {error}");
    }
    assert!(Client::new(with(&["a.test"])).err().unwrap().to_string().contains("is for lists"));
}
