//! Proxies: what they are asked for, what they are told, and what never reaches them or the server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use overlapped_fetch::{Client, Config, Http, Network, Proxies, Request, Timeouts, blocking};
use overlapped_testkit::{
    Http2, Http2Rules, Http2Server, ProxyRules, ProxyServer, RawServer, Reply, Script, Server, refused,
};
use support::{body, config, error, fetch, fetch_one, one_by_one, retrying};

fn through(proxy: &str, config: Config) -> Config {
    Config { network: Network { proxies: Proxies::all(proxy), ..config.network }, ..config }
}

fn trusting(pem: &str, config: Config) -> Config {
    Config { network: Network { ca_pem: Some(pem.into()), ..config.network }, ..config }
}

/// What a proxy was asked for, and the way of asking.
fn asked(proxy: &ProxyServer) -> Vec<(&'static str, String)> {
    proxy.errands().into_iter().map(|errand| (errand.way, errand.target)).collect()
}

fn with_user() -> ProxyRules {
    ProxyRules { user: Some(("me".into(), "canary".into())), ..ProxyRules::default() }
}

#[test]
fn http_is_forwarded_and_https_goes_through_a_tunnel() {
    let (plain, safe) = (Server::start(), Server::builder().tls().start());
    let proxy = ProxyServer::start(ProxyRules::default());
    let config = trusting(safe.ca_pem().unwrap(), through(&proxy.url("http"), one_by_one()));
    let fetched = fetch(config, [plain.url("/row/1?a"), safe.url("/row/2"), safe.url("/row/3")]);
    assert_eq!(fetched.errors(), ["", "", ""]);
    assert_eq!(
        fetched.records.iter().map(body).collect::<Vec<_>>(),
        [1, 2, 3].map(overlapped_testkit::row_of)
    );
    let (at_plain, at_safe) = (plain.addr().to_string(), safe.addr().to_string());
    assert_eq!(asked(&proxy), [("http", at_plain), ("connect", at_safe)], "a tunnel is used again");
    let seen = &plain.seen()[0];
    assert_eq!(
        (seen.target.as_str(), seen.header("host")),
        ("/row/1?a", Some(plain.addr().to_string().as_str()))
    );
    assert_eq!(fetched.records[0].connection.remote, Some(proxy.addr()));
}

#[test]
fn names_are_left_to_the_proxy_or_resolved_here() {
    let server = Server::start();
    let rules = || ProxyRules { to: Some(server.addr()), ..ProxyRules::default() };
    let check = |scheme: &str, expected: &str| {
        let proxy = ProxyServer::start(rules());
        let mut config = through(&proxy.url(scheme), config());
        config.network.resolve = vec![("a.invalid".into(), 81, vec![[127, 0, 0, 9].into()])];
        let record = fetch_one(config, "http://a.invalid:81/ok");
        assert_eq!((error(&record), record.status), ("", Some(200)), "{scheme}: {record:?}");
        assert_eq!(proxy.errands()[0].target, expected, "{scheme}");
    };
    check("http", "a.invalid:81");
    check("socks5h", "a.invalid:81");
    check("socks5", "127.0.0.9:81");
}

/// As with curl: the proxy connects to the host and port that stand in the place of those of the URL, also for http.
#[test]
fn a_proxy_connects_to_what_stands_in_the_place_of_a_host() {
    let server = Server::start();
    let check = |scheme: &str, url: &str, way: &str| {
        let proxy = ProxyServer::start(ProxyRules { to: Some(server.addr()), ..ProxyRules::default() });
        let mut config = through(&proxy.url(scheme), config());
        let (from, to) = (("a.invalid".to_owned(), Some(81)), ("127.0.0.9".to_owned(), Some(82)));
        config.network.connect_to = vec![(from, to)];
        let record = fetch_one(config, url);
        assert_eq!((error(&record), record.status), ("", Some(200)), "{scheme}: {record:?}");
        assert!(asked(&proxy).iter().all(|(seen, _)| *seen == way), "{:?}", asked(&proxy));
        (proxy.errands()[0].target.clone(), server.seen().last().unwrap().header("host").unwrap().to_owned())
    };
    for (scheme, way) in [("http", "connect"), ("socks5h", "socks"), ("socks5", "socks")] {
        let (dialled, named) = check(scheme, "http://a.invalid:81/ok", way);
        assert_eq!((&*dialled, &*named), ("127.0.0.9:82", "a.invalid:81"), "{scheme}");
    }
    assert_eq!(check("http", "http://b.invalid:81/ok", "http").0, "b.invalid:81", "it is for another host");

    // The policy judges what is connected to.
    let proxy = ProxyServer::start(ProxyRules::default());
    let mut config = through(&proxy.url("socks5h"), config());
    (config.network.public_only, config.network.allow_addresses) = (true, vec!["127.0.0.1".into()]);
    config.network.connect_to = vec![(("a.invalid".into(), None), ("10.0.0.1".into(), Some(80)))];
    assert_eq!(error(&fetch_one(config, "http://a.invalid/")), "policy.address");
    assert!(proxy.errands().is_empty());
}

#[test]
fn socks_carries_http_and_https() {
    let (plain, safe) = (Server::start(), Server::builder().tls().start());
    for scheme in ["socks5", "socks5h"] {
        let proxy = ProxyServer::start(with_user());
        let url = proxy.url(scheme).replace("://", "://me:canary@");
        let config = trusting(safe.ca_pem().unwrap(), through(&url, one_by_one()));
        let fetched = fetch(config, [plain.url("/ok"), plain.url("/ok"), safe.url("/ok")]);
        assert_eq!(fetched.errors(), ["", "", ""], "{:?}", fetched.records);
        let targets = [plain.addr().to_string(), safe.addr().to_string()];
        assert_eq!(asked(&proxy), targets.map(|target| ("socks", target)), "a connection is used again");
    }
    assert!(plain.seen().iter().all(|seen| seen.header("proxy-authorization").is_none()));
}

#[test]
fn a_proxy_over_tls_forwards_and_tunnels() {
    let (plain, safe) = (Server::start(), Server::builder().tls().start());
    let proxy = ProxyServer::start(ProxyRules { tls: true, ..with_user() });
    let url = proxy.url("https").replace("://", "://me:canary@");
    let both = format!("{}{}", safe.ca_pem().unwrap(), proxy.ca_pem().unwrap());
    let config = trusting(&both, through(&url, one_by_one()));
    let urls = [plain.url("/row/1"), plain.url("/row/2"), safe.url("/row/3"), safe.url("/row/4")];
    let fetched = fetch(config.clone(), urls);
    assert_eq!(fetched.errors(), [""; 4], "{:?}", fetched.records);
    assert_eq!(
        asked(&proxy)[2..],
        [("connect", safe.addr().to_string())],
        "a stream in a stream is used again"
    );
    // The proxy's own certificate is verified.
    let record = fetch_one(trusting(safe.ca_pem().unwrap(), config), plain.url("/ok"));
    assert_eq!(error(&record), "proxy.unreachable");
}

#[test]
fn http2_is_spoken_through_a_tunnel() {
    let server = Http2Server::start_tls(&["h2"], |_| Http2::Rules(Http2Rules::new(|_| Reply::ok("two"))));
    let proxy = ProxyServer::start(ProxyRules::default());
    let config = trusting(server.ca_pem().unwrap(), through(&proxy.url("http"), one_by_one()));
    let fetched = fetch(config, [server.url("/a"), server.url("/b")]);
    assert_eq!(fetched.errors(), ["", ""], "{:?}", fetched.records);
    let version = fetched.records[0].connection.http_version.map(|version| format!("{version:?}"));
    assert!(version.is_some_and(|version| version.contains('2')));
    assert_eq!(proxy.errands().len(), 1);
}

#[test]
fn credentials_go_to_the_proxy_only_and_those_of_the_server_to_the_server() {
    let (plain, safe) = (Server::start(), Server::builder().tls().start());
    let proxy = ProxyServer::start(with_user());
    let url = proxy.url("http").replace("://", "://me:canary@");
    let request = Request { bearer: Some("of-the-server".into()), ..Request::default() };
    let config = trusting(safe.ca_pem().unwrap(), through(&url, Config { request, ..one_by_one() }));
    let down = format!("/redirect-to?url={}", plain.url("/echo").replace(':', "%3A"));
    let fetched = fetch(config, [plain.url("/echo"), safe.url("/echo"), plain.url(&down)]);
    assert_eq!(fetched.errors(), ["", "", ""], "{:?}", fetched.records);
    for seen in plain.seen().iter().chain(&safe.seen()) {
        assert_eq!(seen.header("proxy-authorization"), None);
        assert_eq!(seen.header("authorization"), Some("Bearer of-the-server"));
    }
    let errands = proxy.errands();
    assert!(errands.iter().all(|errand| errand.has("proxy-authorization: Basic bWU6Y2FuYXJ5\r\n")));
    let tunnel = errands.iter().find(|errand| errand.way == "connect").unwrap();
    assert!(!tunnel.has("of-the-server") && !tunnel.has("/echo"));
    for record in &fetched.records {
        assert!(!format!("{record:?}").contains("canary"));
    }
}

#[test]
fn a_proxy_that_wants_credentials_is_told_as_such() {
    let (plain, safe) = (Server::start(), Server::builder().tls().start());
    let proxy = ProxyServer::start(with_user());
    let urls = || [plain.url("/ok"), safe.url("/ok")];
    for scheme in ["http", "socks5h"] {
        for user in ["", "me:wrong@"] {
            let url = proxy.url(scheme).replace("://", &format!("://{user}"));
            let fetched = fetch(trusting(safe.ca_pem().unwrap(), through(&url, config())), urls());
            assert_eq!(fetched.errors(), ["proxy.auth", "proxy.auth"], "{scheme} {user}");
            assert!(fetched.records.iter().all(|record| !format!("{record:?}").contains("wrong")));
        }
    }
    assert_eq!((plain.requests(), safe.requests()), (0, 0));
    // A 407 of a server is a status like others.
    assert_eq!(error(&fetch_one(config(), plain.url("/status/407"))), "status");
    let user = Some(("me".to_owned(), "canary".to_owned()));
    let proxies = Proxies { user, ..Proxies::all(proxy.url("http")) };
    let network = Network { proxies, ..Network::default() };
    assert_eq!(error(&fetch_one(Config { network, ..config() }, plain.url("/ok"))), "");
}

#[test]
fn what_a_proxy_may_answer() {
    let safe = Server::builder().tls().start();
    let check = |scheme: &str, answer: &[u8], expected: &str| {
        let proxy = ProxyServer::start(ProxyRules { answer: Some(answer.to_vec()), ..ProxyRules::default() });
        let config = trusting(safe.ca_pem().unwrap(), through(&proxy.url(scheme), config()));
        let record = fetch_one(config, safe.url("/ok"));
        assert_eq!(error(&record), expected, "{}: {:?}", answer.escape_ascii(), record.failure);
    };
    check("http", b"HTTP/1.1 403 No\r\n\r\n", "proxy.denied");
    check("http", b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\n", "proxy.denied");
    check("http", b"HTTP/1.1 302 There\r\nLocation: http://x/\r\n\r\n", "proxy.denied");
    check("http", b"HTTP/1.1 407 Who\r\nContent-Length: 9\r\n\r\nendless", "proxy.auth");
    check("http", b"HTTP/1.1 502 Bad\r\n\r\n", "proxy.failed");
    check("http", b"", "proxy.failed");
    check("http", b"HTTP/1.1 2", "proxy.failed");
    check("http", b"SSH-2.0\r\n", "proxy.failed");
    let large = [&b"HTTP/1.1 200 OK\r\nx: "[..], &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat();
    check("http", &large, "proxy.failed");
    let many = [&b"HTTP/1.1 200 OK\r\n"[..], &b"x: y\r\n".repeat(1 << 16)].concat();
    check("http", &many, "proxy.failed");
    check("socks5h", &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0], "proxy.denied");
    check("socks5h", &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0], "proxy.failed");
    check("socks5h", b"HTTP/1.1 400 Bad\r\n\r\n", "proxy.failed");
    check("socks5h", &[5, 0], "proxy.failed");
    assert_eq!(safe.requests(), 0);
}

#[test]
fn a_proxy_that_is_away_is_not_the_server() {
    let (server, away) = (Server::start(), refused());
    let record = fetch_one(through(&format!("http://{}", away.addr()), config()), server.url("/ok"));
    assert_eq!(error(&record), "proxy.unreachable");
    let message = &record.failure.unwrap().message;
    assert!(message.contains(&away.addr().to_string()), "{message}");
}

#[test]
fn which_requests_go_through_which_proxy() {
    let server = Server::builder().hosts(3).start();
    let (one, two) = (ProxyServer::start(ProxyRules::default()), ProxyServer::start(ProxyRules::default()));
    let proxies = Proxies {
        no_proxy: "127.0.0.2, example.org".into(),
        hosts: vec![("127.0.0.3".into(), Some(two.url("socks5h")))],
        ..Proxies::all(one.url("http"))
    };
    let network = Network { proxies, ..Network::default() };
    let urls: Vec<_> = (0..3).map(|host| server.url_on(host, "/ok")).collect();
    assert_eq!(fetch(Config { network, ..config() }, urls).errors(), ["", "", ""]);
    assert_eq!(asked(&one), [("http", server.addresses()[0].to_string())]);
    assert_eq!(asked(&two), [("socks", server.addresses()[2].to_string())]);
}

#[test]
fn the_address_policy_judges_what_is_dialled_and_what_is_asked_for() {
    let server = Server::start();
    let proxy = ProxyServer::start(ProxyRules::default());
    let policy = |allow: &[&str]| {
        let network = through(&proxy.url("http"), config()).network;
        let allow_addresses = allow.iter().map(|range| (*range).to_owned()).collect();
        Config { network: Network { public_only: true, allow_addresses, ..network }, ..config() }
    };
    // The proxy is on this machine too.
    assert_eq!(error(&fetch_one(policy(&[]), "http://a.invalid/")), "policy.address");
    assert_eq!(error(&fetch_one(policy(&["127.0.0.1"]), "http://10.0.0.1/")), "policy.address");
    assert_eq!(error(&fetch_one(policy(&["127.0.0.1"]), server.url("/ok"))), "");
    assert_eq!(
        error(&fetch_one(through(&proxy.url("http"), config()), "http://169.254.169.254/")),
        "policy.address"
    );
    assert_eq!(asked(&proxy).len(), 1);
    // A name behind a proxy may be anywhere, so it may not redirect to this machine.
    let away =
        Server::builder().route("/", Script::response(302, &[("Location", &server.url("/ok"))], "")).start();
    let proxy = ProxyServer::start(ProxyRules { to: Some(away.addr()), ..ProxyRules::default() });
    let record = fetch_one(through(&proxy.url("http"), config()), "http://public.invalid/");
    assert_eq!((error(&record), record.chain.len()), ("policy.address", 1));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_request_of_a_client_has_a_proxy_of_its_own() {
    let server = Server::start();
    let (one, two) = (ProxyServer::start(ProxyRules::default()), ProxyServer::start(with_user()));
    let client = blocking::Client::new(through(&one.url("http"), Config::default())).unwrap();
    let get = || client.get(server.url("/ok"));
    let own = two.url("socks5h").replace("://", "://me:canary@");
    for request in [get(), get().proxy(&own), get().no_proxy(), get().proxy(&own)] {
        assert_eq!(request.send().unwrap().text().unwrap(), "ok\n");
    }
    assert_eq!(
        (asked(&one).len(), asked(&two).len(), server.requests()),
        (1, 1, 4),
        "connections are kept apart"
    );
    let refused = get().proxy(&two.url("socks5h")).send().unwrap_err();
    assert_eq!(refused.kind().name(), "proxy.auth", "a password keeps them apart too");
    let wrong = get().proxy("ftp://me:canary@x").send().unwrap_err();
    assert!(!format!("{wrong} {wrong:?}").contains("canary"));
    let client = Client::new(Config::default()).unwrap();
    let sent = overlapped::block_on(client.get(server.url("/ok")).proxy(&one.url("http")).send());
    assert_eq!(sent.unwrap().status(), 200);
    assert_eq!(asked(&one).len(), 2);
}

#[test]
fn prior_knowledge_of_http2_goes_through_a_tunnel_without_tls() {
    let server = Http2Server::start(|_| Http2::Rules(Http2Rules::new(|_| Reply::ok("two"))));
    let proxy = ProxyServer::start(ProxyRules::default());
    let mut config = through(&proxy.url("http"), config());
    config.network.http = Http::Http2;
    let record = fetch_one(config, server.url("/a"));
    assert_eq!(error(&record), "", "{record:?}");
    assert_eq!(proxy.errands()[0].way, "connect");
}

/// A tunnel is refused with a challenge as a server would send it: it is the proxy's, and gets nothing of the server's.
#[test]
fn a_proxy_that_asks_for_the_credentials_of_the_server_gets_none() {
    let challenge = "HTTP/1.1 401 x\r\nWWW-Authenticate: Basic realm=\"a\"\r\nContent-Length: 0\r\n\r\n";
    let proxy = Server::builder()
        .raw([Script::new().expect_head().send(challenge).expect_head().send(challenge)])
        .start();
    let request = Request {
        user: Some(("me".into(), "canary".into())),
        headers: vec![("X-Canary".into(), "canary".into()), ("Cookie".into(), "canary=1".into())],
        ..Request::default()
    };
    let config = Config { request, ..through(&proxy.url(""), retrying(2)) };
    let record = fetch_one(config, "https://me:canary@a.invalid/?canary");
    assert!(error(&record).starts_with("proxy."), "{record:?}");
    let seen = proxy.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.method == "CONNECT"), "{seen:?}");
    // Neither as they are nor as basic authentication.
    assert!(!proxy.received("canary") && !proxy.received("bWU6Y2FuYXJ5"));
}

/// They were taken for what the host sends.
#[test]
fn bytes_that_a_proxy_adds_to_its_answer_are_its_own() {
    let check = |scheme: &str, answer: &[u8], url: &str| {
        let proxy = ProxyServer::start(ProxyRules { answer: Some(answer.into()), ..ProxyRules::default() });
        let record = fetch_one(through(&proxy.url(scheme), config()), url);
        let message = &record.failure.as_ref().unwrap().message;
        assert_eq!(error(&record), "proxy.failed", "{scheme} {url}: {record:?}");
        assert!(
            message.contains("sends bytes before the request") && !message.contains("use http://"),
            "{message}"
        );
    };
    check("http", b"HTTP/1.1 200 OK\r\n\r\nEXTRABYTES", "https://a.invalid/");
    for url in ["https://a.invalid/", "http://a.invalid/"] {
        check("socks5h", b"\x05\0\0\x01\x7f\0\0\x01\0\0EXTRABYTES", url);
    }
}

#[test]
fn a_forwarding_proxy_that_fails_is_named_without_its_credentials() {
    let timeouts = Timeouts { first_byte: Some(Duration::from_millis(300)), ..Timeouts::default() };
    for (script, expected) in [
        (Script::new().expect_request().close(), "http.no_response"),
        (Script::new().expect_request().send("SSH-2.0-x\r\n").close(), "http.parse"),
        (Script::new().expect_request().silence(), "timeout.first_byte"),
        (
            Script::new().expect_request().send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").close(),
            "body.truncated",
        ),
    ] {
        let proxy = RawServer::start(script);
        let address = proxy.addr();
        let config = through(
            &format!("http://me:canary@{address}"),
            Config { timeouts: timeouts.clone(), ..config() },
        );
        let record = fetch_one(config, "http://a.invalid/");
        let message = record.failure.as_ref().map_or("", |failure| &failure.message);
        assert_eq!(error(&record), expected, "{message}");
        assert!(message.starts_with(&format!("through the proxy http://{address}")), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
}
