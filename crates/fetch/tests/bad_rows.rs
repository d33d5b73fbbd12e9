//! Lists from untrusted sources: a bad row is one record with its error, and the rest is fetched.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use overlapped_fetch::sink::collect;
use overlapped_fetch::{Bulk, ErrorClass, Input};
use overlapped_proto::input::Format;
use overlapped_testkit::Server;
use support::{config, error, fetch, fetch_list, run, text};

#[test]
fn each_bad_line_is_one_record() {
    let server = Server::start();
    let good = server.url("/ok");
    let mut list = Vec::new();
    let mut expected = Vec::new();
    let mut line = |bytes: &[u8], error: &'static str| {
        list.extend_from_slice(bytes);
        list.push(b'\n');
        expected.push(error);
    };
    line(good.as_bytes(), "");
    line(b"example.org/no-scheme", "input.url");
    line(b"http://127.0.0.1:99999/", "input.url");
    line(b"http://127.0.0.1:0/", "policy.port");
    line(b"ftp://127.0.0.1/x", "policy.scheme");
    line(b"file:///etc/passwd", "policy.scheme");
    line(b"javascript:alert(1)", "policy.scheme");
    line(b"http://127.0.0.1/\0", "input.encoding");
    line(b"http://127.0.0.1/\xff\xfe", "input.encoding");
    line(b"http://", "input.url");
    line(b"http://a b/", "input.url");
    line(b"http://127.0.0.1/a\tb", "input.url");
    line(&[b"http://127.0.0.1/".as_slice(), &vec![b'x'; 1 << 20]].concat(), "input.too_long");
    line(good.as_bytes(), "");
    let rows = expected.len();
    let fetched = fetch_list(config(), Format::Text, list, rows);
    assert_eq!(fetched.errors(), expected);
    assert_eq!(server.requests(), 2);
    for record in fetched.records.iter().filter(|record| !record.ok) {
        assert_eq!((record.attempts, record.status, record.started_unix_us), (0, None, None));
        assert!(record.url.len() <= 1_100, "{} bytes of a bad row are shown", record.url.len());
    }
}

/// The format was told by the first byte alone, so that an array behind a byte order mark or a blank was read as lines.
#[test]
fn a_list_behind_a_byte_order_mark_or_blanks_is_read_in_its_format() {
    let path = std::env::temp_dir().join(format!("overlapped-begins-{}.json", std::process::id()));
    let blanks = "\n".repeat(20_000);
    for before in ["", "\u{feff}", "\n", " ", "\r\n\r\n", "\u{feff} \n", &blanks] {
        let urls = ["http://127.0.0.1:0/a", "http://127.0.0.1:0/b"];
        let [a, b] = urls;
        let object = format!("{{\"url\":\"{a}\"}}\n{{\"url\":\"{b}\"}}\n");
        for list in [format!("{before}[\"{a}\",\n\"{b}\"]"), format!("{before}{object}")] {
            std::fs::write(&path, &list).unwrap();
            let stream = Input::Read(Box::new(std::io::Cursor::new(list.clone())), "of the test".into());
            for input in [stream, Input::File(path.clone())] {
                let fetched = run(Bulk::new(config()).unwrap().input(input));
                assert!(fetched.records.iter().map(|record| &*record.url).eq(urls), "{list:.20?}");
            }
        }
    }
    std::fs::remove_file(path).unwrap();
}

/// Its rows were fetched up to the cut, and the rest was lost without a word.
#[test]
fn a_list_that_is_cut_short_while_it_is_read_ends_the_run() {
    let path = std::env::temp_dir().join(format!("overlapped-cut-short-{}", std::process::id()));
    let list = "http://127.0.0.1:0/never-asked-for\n".repeat(10_000);
    std::fs::write(&path, &list).unwrap();
    let bulk = Bulk::new(config()).unwrap().input(Input::File(path.clone())).check_list().unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(list.len() as u64 / 2 + 10).unwrap();
    let (sink, records) = collect();
    let error = bulk.sink(sink).start().unwrap().wait().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Input);
    assert!(
        error.to_string().contains("it had 350000 bytes when it was opened, and has 175010 now"),
        "{error}"
    );
    assert!(records.take().iter().all(|record| record.url.ends_with("/never-asked-for")));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_list_of_nothing_but_bad_rows_ends() {
    let list = "x\n".repeat(5_000);
    let fetched = fetch_list(config(), Format::Text, list, 5_000);
    assert_eq!(fetched.summary.by_error.get("input.url"), Some(&5_000));
}

#[test]
fn blank_lines_and_comments_are_no_rows() {
    let server = Server::start();
    let list = format!("\u{feff}# a comment\r\n\r\n  {0}  \r\n\n{0}", server.url("/ok"));
    let fetched = fetch_list(config(), Format::Text, list, 2);
    assert_eq!(fetched.errors(), ["", ""]);
}

#[test]
fn a_url_that_is_empty_or_a_comment_is_a_row_all_the_same() {
    let server = Server::start();
    let fetched =
        fetch(config(), [String::new(), "# not a comment".into(), "a\nb".into(), server.url("/ok")]);
    assert_eq!(fetched.errors()[3], "");
    assert!(fetched.errors()[..3].iter().all(|error| error.starts_with("input.")), "{:?}", fetched.errors());
}

#[test]
fn rows_of_ndjson_carry_their_own_request() {
    let server = Server::start();
    let url = server.url("/echo");
    let list = [
        format!(r#"{{"url":"{url}","id":"one","method":"PUT","headers":{{"X-A":"1"}},"body":"hello"}}"#),
        format!(r#"{{"url":"{url}","json":{{"a":[1,2]}},"note":"kept","n":7}}"#),
        format!(r#"{{"url":"{url}","body_base64":"AAEC","id":3}}"#),
        format!(r#"{{"url":"{url}","headers":{{"Content-Length":"5"}}}}"#),
        format!(r#"{{"url":"{url}","headers":{{"X":"a\r\nHost: evil"}}}}"#),
        format!(r#"{{"url":"{url}","method":"GET / HTTP/1.1"}}"#),
        format!(r#"{{"url":"{url}","timeout_s":"soon"}}"#),
        format!(r#"{{"url":"{url}","body_file":"/etc/passwd"}}"#),
        r#"{"no":"url"}"#.to_owned(),
        r#"{"url":"#.to_owned(),
        format!(r#""{url}""#),
    ];
    let fetched = fetch_list(config(), Format::Ndjson, list.join("\n"), list.len());
    let mut errors = fetched.errors();
    assert_eq!(errors.drain(..3).collect::<Vec<_>>(), ["", "", ""]);
    assert_eq!(&errors[..2], ["input.header", "input.header"]);
    assert!(errors[2..7].iter().all(|error| error.starts_with("input.")), "{errors:?}");
    assert_eq!(errors[7], "");

    let [one, two, three] = &fetched.records[..3] else { unreachable!() };
    assert_eq!((one.id.as_deref(), one.method.as_str()), (Some("one"), "PUT"));
    assert_eq!((two.method.as_str(), two.meta.as_deref()), ("POST", Some(r#"{"note":"kept","n":7}"#)));
    assert_eq!((three.id.as_deref(), three.method.as_str()), (Some("3"), "POST"));

    assert_eq!(server.requests(), 4);
    let seen = server.seen();
    let by_method_and_length = |method: &str, bytes: u64| {
        seen.iter().find(|seen| seen.method == method && seen.body_bytes == bytes).unwrap()
    };
    let put = by_method_and_length("PUT", 5);
    assert_eq!((put.header("x-a"), &put.body[..]), (Some("1"), &b"hello"[..]));
    let json = by_method_and_length("POST", 11);
    assert_eq!(
        (json.header("content-type"), &json.body[..]),
        (Some("application/json"), &br#"{"a":[1,2]}"#[..])
    );
    assert_eq!(&by_method_and_length("POST", 3).body[..], b"\0\x01\x02");
}

#[test]
fn rows_of_a_table_carry_their_own_request() {
    let server = Server::start();
    let list = format!(
        "id,url,method,etag,colour\n\
         a,{0},,,\"red, and\nblue\"\n\
         b,{1},HEAD,,green\n\
         c,,,,\n\
         d,{2},,\"\"\"v1\"\"\",\n\
         e,ftp://x/,,,grey\n",
        server.url("/ok"),
        server.url("/text/10"),
        server.url("/etag/v1"),
    );
    let fetched = fetch_list(config(), Format::Csv, list, 5);
    assert_eq!(fetched.errors(), ["", "", "input.empty", "", "policy.scheme"]);
    assert_eq!(fetched.statuses(), [200, 200, 0, 304, 0]);
    let ids: Vec<_> = fetched.records.iter().map(|record| record.id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
    assert_eq!(fetched.records[0].meta.as_deref(), Some("{\"colour\":\"red, and\\nblue\"}"));
    assert_eq!(fetched.records[4].meta.as_deref(), Some("{\"colour\":\"grey\"}"));
}

#[test]
fn a_body_with_another_hash_is_a_failure_without_a_body() {
    let server = Server::start();
    let wrong = "0".repeat(64);
    // printf 'ok\n' | sha256sum
    let right = "dc51b8c96c2d745df3bd5590d990230a482fd247123599548e0632fdbf97fc22";
    let list =
        [wrong.as_str(), right].map(|hash| format!(r#"{{"url":"{}","sha256":"{hash}"}}"#, server.url("/ok")));
    let fetched = fetch_list(config(), Format::Ndjson, list.join("\n"), 2);
    assert_eq!(fetched.errors(), ["body.hash_mismatch", ""]);
    assert_eq!(fetched.records[0].body.inline(), None);
    assert_eq!(text(&fetched.records[1]), "ok\n");
}

#[test]
fn a_rows_own_time_is_its_own() {
    let server = Server::start();
    let list = format!(
        "{{\"url\":\"{0}\",\"timeout_s\":0.1}}\n{{\"url\":\"{1}\"}}\n{{\"url\":\"{1}\",\"timeout_s\":0}}",
        server.url("/silent"),
        server.url("/delay/300"),
    );
    let fetched = fetch_list(config(), Format::Ndjson, list, 3);
    assert_eq!(fetched.errors(), ["timeout.total", "", ""]);
}

#[test]
fn the_records_of_one_run_are_the_list_of_the_next() {
    let server = Server::start();
    let list = format!("{{\"url\":\"{0}\",\"id\":\"x\",\"note\":1}}\n", server.url("/etag/v1"));
    let first = fetch_list(config(), Format::Ndjson, list, 1);
    let mut line = Vec::new();
    let fields = overlapped_proto::record::column::Fields::default();
    overlapped_proto::record::ndjson::write(&first.records[0], &fields, &mut line);
    let again = fetch_list(config(), Format::Ndjson, line, 1);
    let record = &again.records[0];
    assert_eq!((record.status, error(record)), (Some(304), ""));
    assert_eq!((record.id.as_deref(), record.meta.as_deref()), (Some("x"), Some(r#"{"note":1}"#)));
}
