//! Redirects: where they lead, what goes along, and what never does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use overlapped_fetch::{Config, Network, Request, Timeouts};
use overlapped_proto::input::Format;
use overlapped_proto::job::HostKey;
use overlapped_testkit::{Script, Server};
use support::{config, error, fetch, fetch_list, fetch_one, one_by_one, text};

fn to(server: &Server, target: &str, status: u16) -> String {
    let encoded: String = target.bytes().map(|byte| format!("%{byte:02x}")).collect();
    server.url(&format!("/redirect-to?url={encoded}&status={status}"))
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_chain_is_followed_and_kept() {
    let server = Server::start();
    let record = fetch_one(one_by_one(), server.url("/redirect/10"));
    assert_eq!((error(&record), record.status, text(&record)), ("", Some(200), "redirected\n"));
    assert_eq!((record.chain.len(), record.attempts), (10, 11));
    assert_eq!(&*record.url, server.url("/redirect/10"));
    assert_eq!(record.final_url.as_deref(), Some(server.url("/redirect/0").as_str()));
    for (hop, left) in record.chain.iter().zip((1..=10).rev()) {
        assert_eq!((&*hop.url, hop.status), (server.url(&format!("/redirect/{left}")).as_str(), 302));
        assert_eq!(hop.remote, Some(server.addr().ip()));
    }
    assert_eq!((server.requests(), server.connections()), (11, 1));
}

#[test]
fn one_hop_more_than_allowed_is_too_many() {
    let server = Server::start();
    let fetched = fetch(config(), [server.url("/redirect/11"), server.url("/loop")]);
    assert_eq!(fetched.errors(), ["redirect.too_many"; 2]);
    assert!(fetched.records.iter().all(|record| record.chain.len() == 10 && record.status == Some(302)));
    assert_eq!(server.requests(), 22);
}

#[test]
fn a_redirect_can_be_the_result() {
    let server = Server::start();
    let record = fetch_one(Config { max_redirects: 0, ..config() }, server.url("/redirect/3"));
    assert_eq!((error(&record), record.status, record.chain.len()), ("", Some(302), 0));
    assert_eq!(text(&record), "elsewhere\n");
    assert_eq!(server.requests(), 1);
}

#[test]
fn redirects_cross_shards() {
    let shard_of = |host: u8| HostKey::new(&format!("127.0.0.{host}")).thread(2);
    let other = (2..=9).find(|host| shard_of(*host) != shard_of(1)).unwrap();
    let server = Server::builder().hosts(9).start();
    let away = |index: u64| server.url_on(usize::from(other) - 1, &format!("/row/{index}"));
    let urls: Vec<_> = (0..200).map(|row| to(&server, &away(row), 302)).collect();
    let fetched = fetch(config(), urls);
    assert_eq!(fetched.errors(), [""; 200]);
    assert_eq!(server.row_hits(), [1; 200]);
    let host = format!("127.0.0.{other}");
    assert!(fetched.records.iter().all(|record| record.host.as_deref() == Some(&host)));
}

#[test]
fn credentials_stay_with_their_origin_and_never_come_back() {
    let (home, away) = (Server::start(), Server::builder().address([127, 0, 0, 2]).start());
    let back = home.url("/echo?back");
    let userinfo = |url: String| url.replacen("http://", "http://user:canary-userinfo@", 1);
    let start = userinfo(to(&home, &to(&away, &back, 302), 302));
    let request = Request {
        headers: vec![
            header("X-Api-Key", "canary-key"),
            header("Cookie", "canary-cookie"),
            header("Authorization", "canary-authorization"),
            header("Accept-Language", "de"),
        ],
        bearer: Some("canary-bearer".into()),
        ..Request::default()
    };
    let list = format!(r#"{{"url":"{start}","headers":{{"Private-Token":"canary-token"}}}}"#);
    let fetched = fetch_list(Config { request, ..config() }, Format::Ndjson, list, 1);
    assert_eq!(fetched.errors(), [""]);

    assert!(home.received("canary-key") && home.received("canary-cookie") && home.received("canary-token"));
    assert_eq!(away.requests(), 1);
    assert!(!away.received("canary"), "{:?}", away.seen()[0].headers);
    assert_eq!(away.seen()[0].header("accept-language"), Some("de"));
    let returned = &home.seen()[1];
    assert_eq!(returned.target, "/echo?back");
    assert!(!String::from_utf8_lossy(&returned.head).contains("canary"), "{:?}", returned.headers);
    assert_eq!(returned.header("authorization"), None);
    let record = &fetched.records[0];
    assert!(!record.final_url.as_deref().unwrap().contains("canary"));
}

#[test]
fn another_port_is_another_origin() {
    let (home, away) = (Server::start(), Server::start());
    let request = Request { headers: vec![header("X-Api-Key", "canary")], ..Request::default() };
    fetch_one(Config { request, ..config() }, to(&home, &away.url("/ok"), 307));
    assert!(home.received("canary") && !away.received("canary"));
}

#[test]
fn credentials_go_along_on_the_same_origin() {
    let server = Server::start();
    let request = Request { headers: vec![header("X-Api-Key", "k")], ..Request::default() };
    let start = server.url("/redirect/2").replacen("http://", "http://u:p@", 1);
    fetch_one(Config { request, ..config() }, start);
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.header("x-api-key") == Some("k")));
    assert!(seen.iter().all(|seen| seen.header("authorization") == Some("Basic dTpw")));
}

#[test]
fn userinfo_of_a_location_is_ignored() {
    let (home, away) = (Server::start(), Server::start());
    let trap = away.url("/ok").replacen("http://", "http://evil:trap@", 1);
    let record = fetch_one(config(), to(&home, &trap, 302));
    assert_eq!(error(&record), "");
    assert_eq!(away.seen()[0].header("authorization"), None);
    assert_eq!(record.final_url.as_deref(), Some(away.url("/ok").as_str()));
}

#[test]
fn the_method_and_the_body_follow_the_status() {
    let server = Server::start();
    let row = |method: &str, status: u16| {
        let url = server.url(&format!("/redirect/1?status={status}&m={method}"));
        format!(
            r#"{{"url":"{url}","method":"{method}","body":"payload","headers":{{"Content-Type":"x/y"}}}}"#
        )
    };
    let cases = [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("PUT", 301, "PUT"),
        ("PUT", 303, "GET"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("HEAD", 303, "HEAD"),
    ];
    let list: Vec<_> = cases.iter().map(|(method, status, _)| row(method, *status)).collect();
    let fetched = fetch_list(config(), Format::Ndjson, list.join("\n"), cases.len());
    assert_eq!(fetched.errors(), [""; 8]);
    let seen = server.seen();
    for (method, status, then) in cases {
        let target = format!("/redirect/0?status={status}&m={method}");
        let end = seen.iter().find(|seen| seen.target == target).unwrap();
        let (body, about) = if then == "GET" { (&b""[..], None) } else { (&b"payload"[..], Some("x/y")) };
        assert_eq!((end.method.as_str(), &end.body[..]), (then, body), "{method} {status}");
        assert_eq!(end.header("content-type"), about, "{method} {status}");
    }
}

#[test]
fn a_location_that_is_none_is_the_result_and_a_bad_one_a_failure() {
    let redirect = |location: &str| Script::response(302, &[("Location", location)], "");
    let server = Server::builder()
        .route("/none", Script::response(302, &[], "here"))
        .route("/empty", redirect(""))
        .route("/bad", redirect("http://[::1/"))
        .route("/ftp", redirect("ftp://127.0.0.1/"))
        .route("/data", redirect("data:text/plain,x"))
        .route("/file", redirect("file:///etc/passwd"))
        .route("/zero", redirect("http://127.0.0.1:0/"))
        .route("/relative", redirect("ok"))
        .route("/spaces", redirect("  /ok?a b  "))
        .start();
    let paths = ["/none", "/empty", "/bad", "/ftp", "/data", "/file", "/zero", "/relative", "/spaces"];
    let fetched = fetch(config(), paths.map(|path| server.url(path)));
    let scheme = "policy.scheme";
    let expected = ["", "", "redirect.invalid", scheme, scheme, scheme, "policy.port", "", ""];
    assert_eq!(fetched.errors(), expected);
    assert_eq!(fetched.statuses(), [302, 302, 302, 302, 302, 302, 302, 200, 200]);
    assert_eq!(text(&fetched.records[0]), "here");
    assert_eq!((server.count("/ok"), server.count("/ok?a%20b")), (2, 1));
}

#[test]
fn a_redirect_from_https_to_http_carries_nothing_or_is_refused() {
    let (safe, open) = (Server::builder().tls().start(), Server::start());
    let network = Network { ca_pem: Some(safe.ca_pem().unwrap().into()), ..Network::default() };
    let config = Config { network, ..config() };
    let bare = fetch_one(config.clone(), to(&safe, &open.url("/ok"), 302));
    assert_eq!((error(&bare), bare.status), ("", Some(200)));
    let request = Request { headers: vec![header("X-Api-Key", "canary")], ..Request::default() };
    let refused = fetch_one(Config { request, ..config }, to(&safe, &open.url("/ok"), 302));
    assert_eq!((error(&refused), refused.chain.len()), ("redirect.downgrade", 0));
    assert_eq!(open.requests(), 1);
}

#[test]
fn the_body_of_a_redirect_is_read_only_while_it_is_small() {
    let head = "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Encoding: gzip\r\nContent-Length: ";
    let sent = |promised: u64, times| {
        Script::new().send(format!("{head}{promised}\r\n\r\n")).repeat(vec![0; 1000], times)
    };
    let server = Server::builder()
        .route("/small", sent(60_000, 60))
        .route("/large", sent(1 << 30, (1 << 30) / 1000))
        .start();
    let small = fetch_one(one_by_one(), server.url("/small"));
    assert_eq!((error(&small), small.bytes, server.connections()), ("", 3, 1));
    let large = fetch_one(one_by_one(), server.url("/large"));
    assert_eq!((error(&large), large.bytes, server.connections()), ("", 3, 3));
}

#[test]
fn a_redirect_whose_body_never_ends_is_followed_all_the_same() {
    let stalled =
        Script::new().send("HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 9\r\n\r\nx").silence();
    let server = Server::builder().route("/stalled", stalled).start();
    let second = Some(std::time::Duration::from_millis(200));
    let timeouts = Timeouts { first_byte: second, total: None, ..Timeouts::default() };
    let record = fetch_one(Config { timeouts, ..config() }, server.url("/stalled"));
    assert_eq!((error(&record), record.status), ("", Some(200)));
}
