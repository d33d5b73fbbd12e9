//! Cookies: kept over a row's own redirects, shared by a jar on request, and never sent to another site.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use overlapped_fetch::{Client, Config, CookieJar, CookieStore, Network, Pace, Request};
use overlapped_proto::limits;
use overlapped_testkit::{Script, Server};
use support::{config, error, fetch, fetch_one, one_by_one};

/// Sets cookies and redirects.
fn sets(cookies: &[&str], location: &str) -> Script {
    let fields: Vec<_> =
        cookies.iter().map(|cookie| ("Set-Cookie", *cookie)).chain([("Location", location)]).collect();
    Script::response(302, &fields, "")
}

/// `/login` redirects to itself until its cookie comes back, as many sites do.
fn login() -> Server {
    let answer = |request: &overlapped_testkit::Request| match request.header("cookie") {
        Some(cookies) if cookies.contains("seen=1") => Script::response(200, &[], "welcome"),
        _ => sets(&["seen=1; Path=/"], "/login"),
    };
    Server::builder().handler("/login", answer).start()
}

/// The cookies of each request, in the order of arrival.
fn cookies(server: &Server) -> Vec<Option<String>> {
    server.seen().iter().map(|seen| seen.header("cookie").map(str::to_owned)).collect()
}

fn sent(cookies: &str) -> Option<String> {
    Some(cookies.to_owned())
}

fn with_cookie(text: &str, config: Config) -> Config {
    let headers = vec![("Cookie".to_owned(), text.to_owned())];
    Config { request: Request { headers, ..Request::default() }, ..config }
}

#[test]
fn a_site_that_redirects_to_itself_with_a_cookie_is_no_loop() {
    let server = login();
    let fetched = fetch(one_by_one(), [server.url("/login"), server.url("/login")]);
    assert_eq!(fetched.errors(), ["", ""]);
    // A row has the cookies of its own redirects only.
    assert_eq!(cookies(&server), [None, sent("seen=1"), None, sent("seen=1")]);
}

#[test]
fn cookies_stay_with_their_site() {
    let away = Server::builder().address([127, 0, 0, 2]);
    let home = Server::builder().handler("/home", |request| match request.header("cookie") {
        None => sets(&["a=canary", "b=canary; Domain=127.0.0.2", "c=canary; Domain=0.0.1"], "/next"),
        Some(_) => Script::response(200, &[], "back"),
    });
    // The addresses are needed before the servers are started.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away =
        away.route("/away", sets(&["a=other; Path=/"], &format!("http://127.0.0.1:{port}/home"))).start();
    let home = home.port(port).route("/next", sets(&[], &away.url("/away"))).start();
    let record = fetch_one(one_by_one(), home.url("/home"));
    assert_eq!((error(&record), record.status, record.chain.len()), ("", Some(200), 3));
    assert_eq!(cookies(&away), [None]);
    assert_eq!(cookies(&home), [None, sent("a=canary"), sent("a=canary")]);
}

#[test]
fn what_a_site_sets_replaces_what_the_caller_has_set() {
    let server = login();
    let record = fetch_one(with_cookie("seen=0; own=1", config()), server.url("/login"));
    assert_eq!(record.status, Some(200));
    assert_eq!(cookies(&server), [sent("seen=0; own=1"), sent("seen=1; own=1")]);
}

#[test]
fn a_jar_is_shared_by_the_rows() {
    let server = login();
    let jar = CookieJar::new();
    let config = Config { cookies: Some(jar.clone()), ..one_by_one() };
    let urls = [server.url("/set-cookie?a=1&b=2"), server.url("/login"), server.url("/echo")];
    assert_eq!(fetch(config.clone(), urls).errors(), [""; 3]);
    let all = "a=1; b=2; seen=1";
    assert_eq!(cookies(&server), [None, sent("a=1; b=2"), sent(all), sent(all)]);
    assert_eq!(jar.len(), 3);
    // Another run goes on with it.
    fetch(with_cookie("own=1; a=0", config), [server.url("/echo")]);
    assert_eq!(cookies(&server).pop().unwrap(), sent("a=1; b=2; seen=1; own=1"));
}

#[test]
fn robots_txt_is_asked_for_without_cookies() {
    let server = Server::builder().robots("User-agent: *\nAllow: /\n").start();
    let jar = CookieJar::new();
    let config = Config { cookies: Some(jar), ..one_by_one() };
    fetch(config.clone(), [server.url("/set-cookie?a=1")]);
    server.forget();
    fetch(Config { pace: Pace { robots: true, ..config.pace.clone() }, ..config }, [server.url("/echo")]);
    assert_eq!(cookies(&server), [None, sent("a=1")]);
}

#[test]
fn no_cookie_goes_from_https_to_http() {
    let open = Server::start();
    let safe =
        Server::builder().tls().route("/down", sets(&["a=canary; Path=/"], &open.url("/echo"))).start();
    let network = Network { ca_pem: Some(safe.ca_pem().unwrap().into()), ..Network::default() };
    let record = fetch_one(Config { network: network.clone(), ..config() }, safe.url("/down"));
    assert_eq!((error(&record), record.status), ("", Some(200)));
    assert_eq!(cookies(&open), [None]);
    // Those of a jar are the caller's, so that the redirect would have to lose them.
    let jar = CookieJar::new();
    let config = Config { network, cookies: Some(jar), ..one_by_one() };
    let fetched = fetch(config, [safe.url("/set-cookie?b=canary"), safe.url("/down")]);
    assert_eq!(fetched.errors(), ["", "redirect.downgrade"]);
    assert_eq!(open.requests(), 1);
}

#[test]
fn a_flood_of_cookies_is_bounded() {
    let many: Vec<String> = (0..900).map(|number| format!("n{number}=1; Path=/")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let server = Server::builder().route("/many", sets(&many, "/echo")).start();
    let record = fetch_one(config(), server.url("/many"));
    assert_eq!(record.status, Some(200));
    let sent = cookies(&server).pop().unwrap().unwrap();
    assert_eq!(sent.split("; ").count(), limits::COOKIES_RESPONSE_MAX);
    let large = format!("a={}; Path=/", "x".repeat(limits::COOKIE_BYTES_MAX));
    let server = Server::builder().route("/large", sets(&[&large, "b=1; Path=/"], "/echo")).start();
    assert_eq!(fetch_one(config(), server.url("/large")).status, Some(200));
    assert_eq!(cookies(&server).pop().unwrap(), self::sent("b=1"));
}

#[test]
fn octets_beyond_ascii_come_back_as_they_were() {
    let set = b"HTTP/1.1 302 Found\r\nSet-Cookie: a=\xff\xe4; Path=/\r\nLocation: /done\r\nContent-Length: 0\r\n\r\n";
    let (heard, hears) = std::sync::mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept().unwrap();
        for answer in [&set[..], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            heard.send(head).unwrap();
            socket.write_all(answer).unwrap();
        }
    });
    assert_eq!(fetch_one(config(), url).status, Some(200));
    let second = hears.iter().nth(1).unwrap();
    assert!(second.windows(14).any(|part| part == b"cookie: a=\xff\xe4\r\n"), "{}", second.escape_ascii());
}

struct Fixed;

impl CookieStore for Fixed {
    fn cookies(&self, _url: &str) -> Option<String> {
        Some("store=1".to_owned())
    }

    fn store(&self, _url: &str, _set_cookie: &mut dyn Iterator<Item = &[u8]>) {}
}

#[test]
fn a_client_has_a_jar_a_store_or_the_cookies_of_a_request() {
    let server = login();
    let url = server.url("/login");
    let client = Client::new(Config::default()).unwrap();
    let status = |client: &Client| overlapped::block_on(client.get(&url).send()).unwrap().status();
    assert_eq!((status(&client), status(&client)), (200, 200));
    assert_eq!(cookies(&server), [None, sent("seen=1"), None, sent("seen=1")]);
    server.forget();

    let jar = CookieJar::new();
    let client = Client::new(Config { cookies: Some(jar.clone()), ..Config::default() }).unwrap();
    assert_eq!((status(&client), status(&client), jar.len()), (200, 200, 1));
    assert_eq!(cookies(&server), [None, sent("seen=1"), sent("seen=1")]);
    server.forget();

    let config = Config { cookies: Some(jar.clone()), max_redirects: 1, ..Config::default() };
    let client = Client::with_cookies(config, Arc::new(Fixed)).unwrap();
    assert!(overlapped::block_on(client.get(&url).send()).is_err(), "the store gives the same for ever");
    assert_eq!(cookies(&server), [sent("store=1"), sent("store=1")]);
    assert_eq!(jar.len(), 1);
}
