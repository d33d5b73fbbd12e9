//! What a record says of a plain exchange, and what the server saw of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::{Arc, Mutex};

use overlapped_fetch::{Bulk, Config, Input, Request, Response, sink};
use overlapped_proto::input::Format;
use overlapped_proto::job::{Method, Row};
use overlapped_proto::notes::Note;
use overlapped_proto::record::column::Fields;
use overlapped_proto::record::{Body, HttpVersion};
use overlapped_proto::time::Nanos;
use overlapped_testkit::{Script, Server, text_of};
use support::{body, config, error, fetch, fetch_list, fetch_one, header, one_by_one};

#[test]
fn a_plain_answer_fills_every_field() {
    let server = Server::start();
    let url = server.url("/text/1000?x=1");
    let record = fetch_one(config(), &url);

    assert_eq!((record.row, record.id.as_deref(), &*record.url), (Row(0), None, &*url));
    assert_eq!((record.final_url.as_deref(), record.host.as_deref()), (None, Some("127.0.0.1")));
    assert_eq!((record.method, record.status, record.ok), (Method::Get, Some(200), true));
    assert_eq!((record.failure, record.attempts, record.chain.len()), (None, 1, 0));
    let connection = record.connection;
    assert_eq!(connection.http_version, Some(HttpVersion::Http11));
    assert_eq!((connection.remote, connection.reused), (Some(server.addr()), Some(false)));
    assert_eq!((record.bytes, record.wire_bytes, record.truncated), (1000, 1000, Some(false)));
    assert_eq!(record.body.inline(), Some(&text_of("/text/1000?x=1", 1000)[..]));
    assert_eq!((record.sha256, record.out, record.meta), (None, None, None));
    assert!(record.started_unix_us.unwrap() > 1_700_000_000_000_000);
}

#[test]
fn phases_are_those_that_happened_and_add_up() {
    let server = Server::start();
    let fetched = fetch(one_by_one(), [server.url("/ok"), server.url("/ok")]);
    for (record, fresh) in fetched.records.iter().zip([true, false]) {
        let t = record.timing;
        assert!(t.blocked.is_some() && t.send.is_some() && t.wait.is_some() && t.receive.is_some());
        assert_eq!((t.dns, t.tls, t.connect.is_some()), (None, None, fresh));
        let after_start = [t.connect, t.send, t.wait, t.receive].into_iter().flatten();
        let sum = after_start.fold(Nanos::ZERO, |sum, phase| sum + phase);
        assert_eq!(t.total(), sum);
        assert!(t.total() + t.blocked.unwrap() <= record.elapsed, "{t:?} {:?}", record.elapsed);
    }
}

#[test]
fn the_request_says_what_it_should_and_nothing_else() {
    let server = Server::start();
    fetch_one(config(), server.url("/a%20b/c?d=%7E&e#fragment"));
    let seen = server.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("GET", "/a%20b/c?d=%7E&e"));
    let names: Vec<_> = seen[0].headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["host", "user-agent", "accept", "accept-encoding"]);
    assert_eq!(seen[0].header("host"), Some(server.addr().to_string().as_str()));
    assert!(seen[0].header("user-agent").unwrap().starts_with("overlapped/"));
    assert_eq!(seen[0].header("accept-encoding"), Some("gzip, deflate, br, zstd"));
}

#[test]
fn connections_are_used_again_and_counted() {
    let server = Server::start();
    let urls: Vec<_> = (0..10).map(|row| server.url(&format!("/row/{row}"))).collect();
    let fetched = fetch(one_by_one(), urls);
    let reused: Vec<_> = fetched.records.iter().map(|record| record.connection.reused.unwrap()).collect();
    assert!(!reused[0] && reused[1..].iter().all(|reused| *reused));
    assert_eq!(server.connections(), 1);
    assert_eq!((fetched.summary.connections_new, fetched.summary.connections_reused), (1, 9));
}

#[test]
fn answers_without_a_body_leave_the_connection_usable_unless_they_announce_one() {
    let server = Server::start();
    let list = [
        format!(r#"{{"url":"{}","method":"HEAD"}}"#, server.url("/text/1000")),
        format!(r#"{{"url":"{}"}}"#, server.url("/status/204")),
        format!(r#"{{"url":"{}","etag":"\"v1\""}}"#, server.url("/etag/v1")),
        format!(r#"{{"url":"{}"}}"#, server.url("/bytes/0")),
        format!(r#"{{"url":"{}"}}"#, server.url("/ok")),
    ];
    let fetched = fetch_list(one_by_one(), Format::Ndjson, list.join("\n"), 5);
    assert_eq!(fetched.statuses(), [200, 204, 304, 200, 200]);
    assert_eq!(fetched.errors(), [""; 5]);
    for record in &fetched.records[..4] {
        assert_eq!((record.bytes, record.body.inline()), (0, Some(&b""[..])), "{}", record.url);
    }
    assert_eq!(fetched.records[0].method, Method::Head);
    assert_eq!(header(&fetched.records[0], "content-length"), Some("1000"));
    assert_eq!(server.seen()[0].method, "HEAD");
    assert_eq!(server.seen()[2].header("if-none-match"), Some("\"v1\""));
    let connections: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 1, 1, 1], "the answer to HEAD has a length");
}

#[test]
fn headers_are_kept_in_order_with_every_value() {
    let answer = Script::response(200, &[("X-B", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], "");
    let server = Server::builder().route("/h", answer).start();
    let record = fetch_one(config(), server.url("/h"));
    let headers: Vec<_> = record.headers.iter().collect();
    let expected: [(&str, &[u8]); 4] =
        [("x-b", b"1"), ("set-cookie", b"a=1"), ("set-cookie", b"b=2"), ("content-length", b"0")];
    assert_eq!(headers, expected);
}

#[test]
fn a_status_is_a_failure_only_where_the_caller_says_so() {
    let server = Server::start();
    let urls = ["/status/404", "/status/500", "/status/299", "/status/600", "/status/999"]
        .map(|path| server.url(path));
    let fetched = fetch(config(), urls.clone());
    assert_eq!(fetched.errors(), ["status", "status", "", "status", "status"]);
    assert_eq!(body(&fetched.records[0]), b"status 404\n");
    let response = Response { fail: vec![200..=300, 500..=500], ..Response::default() };
    let fetched = fetch(Config { response, ..config() }, urls);
    assert_eq!(fetched.errors(), ["", "status", "status", "", ""]);
}

#[test]
fn bodies_are_counted_and_hashed_though_not_kept() {
    let server = Server::start();
    let response = Response { body: false, sha256: true, ..Response::default() };
    let record = fetch_one(Config { response, ..config() }, server.url("/gzip/5000"));
    assert_eq!((error(&record), record.body), ("", Body::None));
    assert_eq!(record.bytes, 5000);
    assert!(record.wire_bytes < 5000 && record.wire_bytes > 0);
    assert_eq!(record.sha256.unwrap(), sha256(&text_of("/gzip/5000", 5000)));
}

#[test]
fn what_the_run_says_goes_with_every_request() {
    let server = Server::start();
    let request = Request {
        method: Method::Put,
        headers: vec![
            ("X-A".into(), "1".into()),
            ("User-Agent".into(), "mine".into()),
            ("Accept".into(), String::new()),
        ],
        body: Some("payload".into()),
        user: Some(("u".into(), "p".into())),
        compressed: false,
        ..Request::default()
    };
    let fetched = fetch(Config { request, ..config() }, [server.url("/echo"), server.url("/echo")]);
    assert_eq!(fetched.errors(), ["", ""]);
    for seen in server.seen() {
        assert_eq!((seen.method.as_str(), &seen.body[..]), ("PUT", &b"payload"[..]));
        assert_eq!((seen.header("x-a"), seen.header("user-agent")), (Some("1"), Some("mine")));
        assert_eq!((seen.header("accept"), seen.header("accept-encoding")), (None, None));
        assert_eq!(seen.header("authorization"), Some("Basic dTpw"));
        assert_eq!(seen.header("content-length"), Some("7"));
    }
}

#[test]
fn a_host_that_the_caller_names_is_sent_once_and_to_its_origin_alone() {
    let (home, away) = (Server::start(), Server::start());
    let ask = |headers: &str, path: &str| format!(r#"{{"url":"{}","headers":{headers}}}"#, home.url(path));
    let away_from = format!("/redirect-to?url={}", away.url("/ok").replace(':', "%3a"));
    let list = [
        ask("{}", "/ok?0"),
        ask(r#"{"Host":"row.test"}"#, "/ok?1"),
        ask(r#"{"Host":""}"#, "/ok?2"),
        ask(r#"{"Host":"a.test","host":"b.test"}"#, "/ok?3"),
        ask(r#"{"Host":"row.test"}"#, "/redirect/1"),
        ask(r#"{"Host":"row.test"}"#, &away_from),
    ];
    let check = |run: &[(&str, &str)], expected: &str| {
        home.forget();
        away.forget();
        let headers = run.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = Request { headers, ..Request::default() };
        let fetched =
            fetch_list(Config { request, ..one_by_one() }, Format::Ndjson, list.join("\n"), list.len());
        assert_eq!(fetched.errors(), [""; 6]);
        let seen = home.seen();
        let hosts: Vec<_> =
            seen.iter().map(|seen| seen.all_headers("host").collect::<Vec<_>>().join("+")).collect();
        let row = "row.test";
        assert_eq!(hosts, [expected, row, expected, "b.test", row, row, row]);
        assert_eq!(away.seen()[0].header("host"), Some(away.addr().to_string().as_str()));
    };
    let own = home.addr().to_string();
    check(&[], &own);
    check(&[("Host", "run.test")], "run.test");
    check(&[("Host", "")], &own);
}

/// What the URL parser leaves as it is must go out as it is.
#[test]
fn every_character_of_a_url_reaches_the_server() {
    let server = Server::start();
    let printable: Vec<char> = (0x21..0x7f_u8).map(char::from).chain(['é', '日', '\u{1f600}']).collect();
    let at = |place: &str| -> Vec<String> {
        printable.iter().map(|c| server.url(&place.replace('*', &c.to_string()))).collect()
    };
    let urls = [at("/a*b"), at("/?a*b"), at("/a*b?c*d#e*f")].concat();
    let expected: Vec<_> = urls
        .iter()
        .map(|url| {
            url::Url::parse(url).unwrap()[url::Position::BeforePath..url::Position::AfterQuery].to_owned()
        })
        .collect();
    let fetched = fetch(one_by_one(), urls);
    for record in &fetched.records {
        assert!(["", "status"].contains(&error(record)), "{}: {:?}", record.url, record.failure);
    }
    let seen: Vec<_> = server.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(seen, expected);
}

#[test]
fn addresses_of_the_newer_kind_are_hosts_like_others() {
    // A machine may have no IPv6 at all.
    let Ok(server) = Server::builder().address(std::net::Ipv6Addr::LOCALHOST).try_start() else { return };
    let record = fetch_one(config(), server.url("/row/6"));
    assert_eq!((error(&record), record.host.as_deref()), ("", Some("[::1]")));
    assert_eq!(record.connection.remote, Some(server.addr()));
    assert_eq!(server.seen()[0].header("host"), Some(server.addr().to_string().as_str()));
}

#[test]
fn every_line_of_ndjson_is_one_record() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let server = Server::start();
    let urls: Vec<_> = (0..300).map(|row| server.url(&format!("/row/{row}"))).collect();
    let out = Shared::default();
    let bulk = Bulk::new(config()).unwrap().input(Input::Urls(Box::new(urls.into_iter())));
    let bulk = bulk.sink(Box::new(sink::Lines::ndjson(out.clone(), Fields::default())));
    support::run(bulk).assert_complete(300);
    let written = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    for (row, line) in written.lines().enumerate() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((json["row"].as_u64(), json["status"].as_u64()), (Some(row as u64), Some(200)));
        assert_eq!(json["body"].as_str().unwrap().as_bytes(), overlapped_testkit::row_of(row as u64));
    }
    assert_eq!(written.lines().count(), 300);
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

#[test]
fn elapsed_counts_from_the_moment_the_row_was_first_ready() {
    let server = Server::start();
    let fetched = fetch(one_by_one(), [server.url("/delay/60"), server.url("/ok")]);
    for record in &fetched.records {
        let waited = record.timing.blocked.unwrap();
        assert!(
            record.elapsed >= waited + record.timing.total(),
            "{:?} and {:?}",
            record.elapsed,
            record.timing
        );
    }
}

/// As DuckDB writes an object into a table.
#[test]
fn a_meta_that_cannot_be_read_is_dropped_with_a_note() {
    let server = Server::start();
    let url = server.url("/ok");
    let list = format!(
        "url,exitcode,wire_bytes,meta\n{url},0,2,{{'a': b}}\n{url},0,2,\"{{\"\"a\"\":1}}\"\n{url},0,2,\n"
    );
    let fetched = fetch_list(one_by_one(), Format::Csv, list, 3);
    let seen = fetched.records.iter().map(|record| {
        assert!(record.ok);
        (record.meta.as_deref(), record.notes.iter().map(Note::name).collect::<Vec<_>>())
    });
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [(None, vec!["meta-dropped"]), (Some("{\"a\":1}"), vec![]), (None, vec![])]
    );
}
