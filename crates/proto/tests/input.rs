//! Lists of URLs, valid, invalid, and turning invalid halfway; and that the cut of the blocks never shows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may, as tests do")]

use overlapped_proto::error::ErrorKind;
use overlapped_proto::input::{Format, Keep, Options, Reader, RowRead};
use overlapped_proto::job::{Ask, Job, Method};
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use proptest::prelude::*;

fn read_blocks<'a>(
    format: Format,
    options: &Options,
    blocks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<RowRead>, Result<(), Failure>) {
    let mut rows = Vec::new();
    let mut reader = Reader::new(format, options.clone());
    let mut sink = |row| rows.push(row);
    let end = blocks
        .into_iter()
        .try_for_each(|block| reader.push(block, &mut sink))
        .and_then(|()| reader.finish(&mut sink));
    (rows, end)
}

fn read(format: Format, list: &str) -> Vec<RowRead> {
    let (rows, end) = read_blocks(format, &Options::default(), [list.as_bytes()]);
    end.unwrap();
    rows
}

/// Rows as text: the URL, or the name of the failure and what is shown of the row.
fn check(format: Format, list: &str, expected: &[&str]) {
    let seen: Vec<_> = read(format, list)
        .into_iter()
        .map(|row| match row.job {
            Ok(job) => job.url.to_string(),
            Err(bad) => format!("{} {}", bad.failure.kind, bad.given),
        })
        .collect();
    assert_eq!(seen, expected, "{list}");
}

fn ask(format: Format, list: &str) -> Ask {
    let job = only(format, list);
    *job.ask.expect("the row asks for something")
}

fn only(format: Format, list: &str) -> Job {
    let mut rows = read(format, list);
    assert_eq!(rows.len(), 1, "{list}");
    rows.remove(0).job.unwrap_or_else(|bad| panic!("{list}: {}", bad.failure))
}

fn fails(format: Format, list: &str, kind: ErrorKind, message: &str) {
    let rows = read(format, list);
    let bad = rows.last().unwrap().job.clone().unwrap_err();
    assert_eq!((bad.failure.kind, &*bad.failure.message), (kind, message), "{list}");
}

#[test]
fn text_rows() {
    check(Format::Text, "", &[]);
    check(Format::Text, "\n\r\n  \n# comment\n  # comment\n", &[]);
    check(Format::Text, "http://a/\nhttp://b/", &["http://a/", "http://b/"]);
    check(
        Format::Text,
        "\u{feff}http://a/\r\n  http://b/\t\rhttp://c/",
        &["http://a/", "http://b/", "http://c/"],
    );
    check(
        Format::Text,
        "a.example\nhttp://b/\nftp://c/\nhttp://d:99999/\n\nhttp://e\0/\nhttp://f/",
        &[
            "input.url a.example",
            "http://b/",
            "policy.scheme ftp://c/",
            "input.url http://d:99999/",
            "input.encoding http://e\\u{0}/",
            "http://f/",
        ],
    );
}

#[test]
fn a_bad_row_shows_no_password_and_no_control() {
    check(Format::Text, "me:secret@a.example/\u{1b}[31m", &["input.url a.example/\\u{1b}[31m"]);
    let (rows, _) = read_blocks(Format::Text, &Options::default(), [&b"http://me:secret@a/\xff\n"[..]]);
    let bad = rows[0].job.clone().unwrap_err();
    assert_eq!((bad.failure.kind, &*bad.given), (ErrorKind::InputEncoding, "http://a/\\xff"));
}

#[test]
fn places_lead_back_to_the_rows() {
    for (format, list) in [
        (Format::Text, "\u{feff}http://a/\r\n# comment\r\n\r\nhttp://b/ \nword\nhttp://c/"),
        (Format::Ndjson, "{\"url\":\"http://a/\"}\n\n{}\n\"http://b/\"\n"),
        (Format::Csv, "\u{feff}url,x\r\nhttp://a/,\"1\r\n2\"\r\n\r\nhttp://b/,\nhttp://c/,\"\""),
        (Format::Tsv, "url\nhttp://a/\n\n\nhttp://b/"),
        (Format::Json, "\u{feff}[\n \"http://a/\" ,{\"url\":\n\"http://b/\"},\n{}]\n"),
    ] {
        let mut reader = Reader::new(format, Options::default());
        reader.push(list.as_bytes(), &mut |_| {}).unwrap();
        let mut reread = reader.reread().unwrap();
        for row in read(format, list) {
            let at = usize::try_from(row.offset).unwrap();
            let bytes = &list.as_bytes()[at..at + usize::try_from(row.bytes).unwrap()];
            let text = std::str::from_utf8(bytes).unwrap();
            assert_eq!(
                list[..at].matches('\n').count() + 1,
                usize::try_from(row.line).unwrap(),
                "{list:?} {text:?}"
            );
            assert!(!text.ends_with(['\n', '\r']), "{text:?}");
            let number = row.job.as_ref().map_or_else(|bad| bad.row, |job| job.row);
            assert_eq!(format!("{:?}", reread.row(number, bytes)), format!("{:?}", row.job));
            if let Ok(job) = row.job {
                assert!(text.contains(job.given()), "{text:?}");
            }
        }
    }
}

#[test]
fn an_endless_row_is_skipped() {
    let long = "x".repeat(limits::INPUT_ROW_BYTES_MAX);
    for (format, list) in [
        (Format::Text, format!("http://a/{long}\nhttp://b/\n")),
        (Format::Ndjson, format!("{{\"url\":\"http://a/{long}\"}}\n\"http://b/\"\n")),
        (Format::Csv, format!("url\nhttp://a/{long}{long}{long}\nhttp://b/\n")),
        (Format::Csv, format!("url\nhttp://a/{}\nhttp://b/\n", ",".repeat(limits::INPUT_COLUMNS_MAX))),
    ] {
        let rows = read(format, &list);
        let bad = rows[0].job.clone().unwrap_err();
        assert_eq!(bad.failure.kind, ErrorKind::InputTooLong, "{format:?}");
        assert!(bad.given.contains("http://a/") && bad.given.len() < 2_000, "{}", bad.given);
        assert_eq!(rows[1].job.as_ref().unwrap().url.as_str(), "http://b/", "{format:?}");
        assert_eq!((rows.len(), rows[1].job.as_ref().unwrap().row.0), (2, 1));
    }
}

#[test]
fn a_list_in_utf16_is_refused() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    for list in [utf16("\u{feff}http://a/"), utf16("http://a/"), utf16("\u{feff}"), b"\0h\0t".to_vec()] {
        for size in [1, 2, 100] {
            let (rows, end) = read_blocks(Format::Text, &Options::default(), list.chunks(size));
            assert!(rows.is_empty());
            assert_eq!(end.unwrap_err().kind, ErrorKind::InputEncoding);
        }
    }
}

#[test]
fn a_nul_in_the_first_row_is_only_a_bad_row() {
    check(Format::Text, "a\0b\nhttp://c/", &["input.encoding a\\u{0}b", "http://c/"]);
    check(Format::Text, "\0\0", &["input.encoding \\u{0}\\u{0}"]);
}

#[test]
fn formats_are_found() {
    for (bytes, name, expected) in [
        (&b"{\"url\""[..], None, Format::Ndjson),
        (b"\n \xef\xbb\xbf", None, Format::Text),
        (b"\xef\xbb\xbf {", None, Format::Ndjson),
        (b"http://", Some("urls"), Format::Text),
        (b"{", Some("x.csv.gz"), Format::Csv),
        (b"", Some("X.TSV"), Format::Tsv),
        (b"", Some("a.b/urls.jsonl.zst"), Format::Ndjson),
        (b" \n[{", Some("urls.json"), Format::Json),
        (b"{}", Some("urls.json.gz"), Format::Ndjson),
        (b"[", Some("urls.ndjson"), Format::Ndjson),
        (b"\xef\xbb\xbf[", None, Format::Json),
        (b"[", Some("urls.txt"), Format::Text),
    ] {
        assert_eq!(Format::sniff(bytes, name), expected, "{name:?}");
    }
}

#[test]
fn options_of_a_row() {
    let row =
        r#"{"url":"http://a/","id":7,"method":"PUT","headers":{"Accept":"x","X-N":[1,"2"]},"body":"é\n",
        "out":"sub/f","etag":"\"e\"","last_modified":"Tue","timeout_s":1.5,"other":[1.0,{"n":null}],"n":1e400,
        "sha256":"00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"}"#
            .replace('\n', "");
    let ask = ask(Format::Ndjson, &row);
    let header = |name: &str, value: &str| (Box::from(name), Box::from(value));
    assert_eq!(ask.id.as_deref(), Some("7"));
    assert_eq!(ask.method, Some(Method::Put));
    assert_eq!(ask.headers, [header("Accept", "x"), header("X-N", "1"), header("X-N", "2")]);
    assert_eq!(ask.body.as_deref(), Some("é\n".as_bytes()));
    assert_eq!(ask.out.as_deref(), Some("sub/f"));
    assert_eq!(ask.etag.as_deref(), Some("\"e\""));
    assert_eq!(ask.last_modified.as_deref(), Some("Tue"));
    assert_eq!(ask.timeout, Some(Nanos::from_millis(1_500)));
    assert_eq!(ask.sha256.unwrap()[..3], [0, 0x11, 0x22]);
    assert_eq!(ask.meta.as_deref(), Some(r#"{"other":[1.0,{"n":null}],"n":1e400}"#));
}

#[test]
fn a_bare_row_asks_for_nothing() {
    assert!(only(Format::Ndjson, r#"{"url":"http://a/"}"#).ask.is_none());
    assert!(only(Format::Ndjson, r#""http://a/""#).ask.is_none());
    assert!(
        only(Format::Ndjson, r#"{"url":"http://a/","id":null,"body":null,"headers":null}"#).ask.is_none()
    );
    assert!(only(Format::Csv, "url,id,body,headers\nhttp://a/,,,\n").ask.is_none());
}

#[test]
fn a_body_makes_a_post() {
    let row = |rest: &str| ask(Format::Ndjson, &format!("{{\"url\":\"http://a/\",{rest}}}"));
    assert_eq!(row(r#""body":"x""#).method, Some(Method::Post));
    assert_eq!(row(r#""body":"""#).body.as_deref(), Some(&b""[..]));
    assert_eq!(row(r#""body_base64":"/w==""#).body.as_deref(), Some(&b"\xff"[..]));
    assert_eq!(row(r#""body_base64":"/w""#).body.as_deref(), Some(&b"\xff"[..]));
    let json = row(r#""json":{"a": 1.0},"headers":{"Accept":"text/html"}"#);
    assert_eq!(json.body.as_deref(), Some(&br#"{"a": 1.0}"#[..]));
    let names: Vec<_> = json.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(names, ["Accept: text/html", "content-type: application/json"]);
    assert_eq!(row(r#""json":0,"method":"PATCH""#).method, Some(Method::Patch));
    let file = row(r#""body_file":"a/b""#);
    assert_eq!((file.body_file.as_deref(), file.method), (Some("a/b"), Some(Method::Post)));
}

#[test]
fn bad_options_make_a_bad_row() {
    let check = |rest: &str, kind, message: &str| {
        fails(Format::Ndjson, &format!("{{\"url\":\"http://a/\",{rest}}}"), kind, message);
    };
    use ErrorKind::{InputFormat, InputHeader};
    check(r#""method":"GET / HTTP/1.1\r\nX:""#, InputFormat, "method is not the name of a method");
    check(r#""method":1"#, InputFormat, "method is not a string");
    check(r#""method":"CONNECT""#, InputFormat, "method is not the name of a method");
    check(r#""id":{}"#, InputFormat, "id is not a string");
    check(r#""body_base64":"?""#, InputFormat, "body_base64 is not Base64");
    check(r#""body":"a","json":1"#, InputFormat, "json is a second body");
    check(r#""url":"http://b/""#, InputFormat, "url is given twice");
    check(r#""body":"a","body_file":"x""#, InputFormat, "body_file is a second body");
    check(r#""body_file":"x","json":1"#, InputFormat, "json is a second body");
    check(r#""body_file":"x","body_file":"y""#, InputFormat, "body_file is given twice");
    check(r#""body_file":1"#, InputFormat, "body_file is not a string");
    check(r#""sha256":"12""#, InputFormat, "sha256 is not 64 hexadecimal digits");
    check(r#""timeout_s":-1"#, InputFormat, "timeout_s is not a number of seconds");
    check(r#""timeout_s":"soon""#, InputFormat, "timeout_s is not a number of seconds");
    let headers = "headers is not an object whose values are strings or lists of strings";
    check(r#""headers":["a"]"#, InputFormat, headers);
    check(r#""headers":{"a":{}}"#, InputFormat, headers);
    check(r#""headers":{"a":null}"#, InputFormat, headers);
    check(r#""headers":{"a":"b\r\nc: d"}"#, InputHeader, "the header a has a control character in its value");
    check(
        r#""headers":{"content-length":"1"}"#,
        InputHeader,
        "the header content-length is set by the program itself",
    );
    check(r#""etag":"a\nb""#, InputHeader, "the header if-none-match has a control character in its value");
    check(r#""x":"\ud800""#, InputFormat, "x is not JSON that can be passed on");
    check(r#""\u001b[1m":"\ud800""#, InputFormat, "\\u{1b}[1m is not JSON that can be passed on");
    let deep = format!("\"x\":{}1{}", "[".repeat(200), "]".repeat(200));
    check(&deep, InputFormat, "x is not JSON that can be passed on");
}

#[test]
fn a_bad_row_keeps_its_own_name() {
    let rows = read(Format::Ndjson, r#"{"url":"nowhere","id":"seven","color":"red"}"#);
    let bad = rows[0].job.clone().unwrap_err();
    assert_eq!(bad.id.as_deref(), Some("seven"));
    assert_eq!(bad.meta.as_deref(), Some(r#"{"color":"red"}"#));
    assert_eq!(&*bad.given, "nowhere");
}

#[test]
fn rows_that_are_not_json() {
    check(Format::Ndjson, "{\"url\":null}\n{}\n", &["input.empty {\"url\":null}", "input.empty {}"]);
    check(Format::Ndjson, "{\"url\":\"\"}\n", &["input.empty "]);
    check(
        Format::Ndjson,
        "http://a/\n{\"url\":\"http://b/\"\n{\"url\":\"http://c/\"} x\n[]\n7\n{\"url\":\"http://d/\"}",
        &[
            "input.format http://a/",
            "input.format http://b/",
            "input.format http://c/",
            "input.format []",
            "input.format 7",
            "http://d/",
        ],
    );
}

#[test]
fn tables() {
    check(Format::Csv, "url\nhttp://a/\nhttp://b/", &["http://a/", "http://b/"]);
    check(
        Format::Csv,
        "\u{feff}x, url \r\n1,http://a/\r\n\r\n2, http://b/ \r\n",
        &["http://a/", "http://b/"],
    );
    check(Format::Csv, "x,url\n\"1,\n\"\"2\",\"http://a/?q=\"\"\"\n", &["http://a/?q=%22"]);
    check(Format::Tsv, "url\tx\nhttp://a/\t1,2\n", &["http://a/"]);
    check(
        Format::Csv,
        "url,x\n,1\nnowhere,1\nhttp://c/,1\n",
        &["input.empty ", "input.url nowhere", "http://c/"],
    );
    check(Format::Csv, "", &[]);
    check(Format::Csv, "url", &[]);
    fails(
        Format::Csv,
        "url,x\nhttp://a/\n",
        ErrorKind::InputFormat,
        "the row has 1 cell; there are 2 columns",
    );
    fails(
        Format::Csv,
        "url\nhttp://a/,2\n",
        ErrorKind::InputFormat,
        "the row has 2 cells; there is 1 column",
    );
    fails(
        Format::Csv,
        "url,x\nhttp://a/,\0\n",
        ErrorKind::InputEncoding,
        "the row holds a NUL, at its byte 9",
    );
    let ask =
        ask(Format::Csv, "url,id,headers,n,json\nhttp://a/,x,\"{\"\"a\"\":\"\"b\"\"}\",1,\"[1,\n2]\"\n");
    assert_eq!(ask.headers.first(), Some(&("a".into(), "b".into())));
    assert_eq!(ask.meta.as_deref(), Some(r#"{"n":"1"}"#));
    assert_eq!(ask.body.as_deref(), Some(&b"[1,\n2]"[..]));
}

/// One record came of all of them, and the exit code said that all was well.
#[test]
fn a_quote_that_is_never_closed_loses_no_row_in_silence() {
    let open = "input.format http://a/";
    check(
        Format::Csv,
        "url,x\nhttp://a/1,\"open\nhttp://a/2,ok\nhttp://a/3,ok\n",
        &[&format!("{open}1"), &format!("{open}2"), &format!("{open}3")],
    );
    check(Format::Csv, "url,x\nhttp://a/1,ok\n\"http://a/2,ok", &["http://a/1", "input.format http://a/2"]);
    check(
        Format::Csv,
        "url,x\r\nhttp://a/1,\"open\r\nhttp://a/2,\r\n",
        &[&format!("{open}1"), &format!("{open}2")],
    );
    // It is closed within the line, and never where a cell ends: a character, as other readers have it.
    check(
        Format::Csv,
        "url,x\nhttp://a/1,5\" wide\nhttp://a/2,\"5\" wide\nhttp://a/3,\n",
        &["http://a/1", "http://a/2", "http://a/3"],
    );
    let rows = read(Format::Csv, "url,x\nhttp://a/1,\"open\nhttp://a/2,ok\n");
    let messages: Vec<_> =
        rows.iter().map(|row| row.job.as_ref().unwrap_err().failure.message.as_ref()).collect();
    assert_eq!(
        messages,
        [
            "the row has a quote that is never closed",
            "the line is part of a quoted cell of the row that begins in line 2; that row has a quote that is never closed",
        ]
    );
    assert_eq!(
        rows.iter().map(|row| (row.line, row.offset, row.bytes)).collect::<Vec<_>>(),
        [(2, 6, 16), (3, 23, 13)]
    );
}

#[test]
fn a_stray_quote_costs_the_lines_that_it_swallows_and_no_more() {
    let bad = |n| format!("input.format http://a/{n}");
    // The next stray quote closes the cell in the middle of a line.
    check(
        Format::Csv,
        "x,url\n\"open,http://a/1\nb,http://a/2\n\"c\",http://a/3\nd,http://a/4\n",
        &[&bad(1), &bad(2), &bad(3), "http://a/4"],
    );
    // It closes the cell where a cell may end, but then there are too many cells, or the URL has a line end.
    check(
        Format::Csv,
        "url,x,y\nhttp://a/1,\"o,\nhttp://a/2,o\",3,4\nhttp://a/3,,\n",
        &[&bad(1), "input.format http://a/2,o\",3,4", "http://a/3"],
    );
    check(
        Format::Csv,
        "url,x\n\"http://a/1,\nhttp://a/2\",b\nhttp://a/3,\n",
        &["input.format \"http://a/1", "input.format http://a/2", "http://a/3"]
            .map(|given| given.replace("format \"", "format "))
            .each_ref()
            .map(String::as_str),
    );
    // A cell of several lines that is one.
    check(Format::Csv, "x,url\n\"1\n2\r\n3\r4\",http://a/1\n,http://a/2", &["http://a/1", "http://a/2"]);
}

#[test]
fn a_quote_that_swallows_more_than_a_row_gives_the_rows_behind_it_back() {
    let rows = 10_000;
    let mut list = String::from("url,x\nhttp://a/,\"open\n");
    (0..rows).for_each(|row| list.push_str(&format!("http://a/{row},ok\n")));
    let read = read(Format::Csv, &list);
    assert_eq!(read.len(), rows + 1, "every line has a record");
    let lost = read.iter().take_while(|row| row.job.is_err()).count();
    assert!(lost * 15 < limits::INPUT_ROW_BYTES_MAX + 100, "{lost}");
    assert!(read.iter().skip(lost).all(|row| row.job.is_ok()));
    for (row, line) in read.iter().zip(2..) {
        let at = usize::try_from(row.offset).unwrap();
        let text = &list[at..at + usize::try_from(row.bytes).unwrap()];
        assert_eq!((row.line, text.lines().count(), row.row().0), (line, 1, line - 2));
    }
}

/// Text that only looks like rows must not be fetched.
#[test]
fn a_cell_that_is_too_long_is_passed_over_line_by_line() {
    let text = "some text\nhttp://secret.example/,x\n".repeat(5_000);
    let list = format!("url,x\nhttp://a/1,\"{text}\"\nhttp://a/2,ok\n");
    let read = read(Format::Csv, &list);
    assert_eq!(read.len(), 10_002);
    let fetched: Vec<_> =
        read.iter().filter_map(|row| row.job.as_ref().ok()).map(|job| job.url.as_str()).collect();
    assert_eq!(fetched, ["http://a/2"]);
}

#[test]
fn a_tsv_has_no_quotes() {
    check(
        Format::Tsv,
        "caption\turl\n\"a man said\thttp://a/1\nplain\thttp://a/2\n\"quoted\" start\thttp://a/3\n\"\thttp://a/4\n",
        &["http://a/1", "http://a/2", "http://a/3", "http://a/4"],
    );
    let ask = ask(Format::Tsv, "url\tx\nhttp://a/\t\"1\"\n");
    assert_eq!(ask.meta.as_deref(), Some(r#"{"x":"\"1\""}"#));
}

/// It was the text of all cells, one after the other.
#[test]
fn a_bad_row_shows_its_url_cell() {
    check(Format::Csv, "id,url,x,y\nA0181,,none,1\n", &["input.empty "]);
    check(Format::Csv, "id,url,x,y\nA0181,http://a/,none\n", &["input.format http://a/"]);
    check(Format::Csv, "id,url,x\nA0181\n", &["input.format A0181"]);
    check(Format::Csv, "id,url,x\nA0181,http://a/,\0\n", &["input.encoding http://a/"]);
}

#[test]
fn an_array_is_a_list() {
    check(Format::Json, "", &[]);
    check(Format::Json, "[]", &[]);
    check(
        Format::Json,
        "[{\"url\":\"http://a/1\"},\"http://a/2\",\n\n  {\n  \"url\": \"http://a/3\", \"x\": {\"]\": [\"}\", \"\\\"\"]}\n}, 7, {\"url\":}, \"http://a/4\"]\n",
        &[
            "http://a/1",
            "http://a/2",
            "http://a/3",
            "input.format 7",
            "input.format {\"url\":}",
            "http://a/4",
        ],
    );
    let rows = read(Format::Json, "[\"http://a/1\",\n\"http://a/2\"]");
    let places: Vec<_> = rows.iter().map(|row| (row.row().0, row.line, row.offset, row.bytes)).collect();
    assert_eq!(places, [(0, 1, 1, 12), (1, 2, 15, 12)]);
}

#[test]
fn an_array_that_is_damaged_is_never_short_in_silence() {
    let check = |list: &str, urls: usize, message: &str| {
        let rows = read(Format::Json, list);
        let bad = rows.last().unwrap().job.clone().unwrap_err();
        assert_eq!((bad.failure.kind, bad.row.0), (ErrorKind::InputFormat, u64::try_from(urls).unwrap()));
        assert!(bad.failure.message.contains(message), "{list}: {}", bad.failure.message);
        assert_eq!(rows.iter().filter(|row| row.job.is_ok()).count(), urls, "{list}");
        assert_eq!(rows.len(), urls + 1);
    };
    check("[\"http://a/\",\n", 1, "the array is never closed, in line 2 at byte 14");
    check("[\"http://a/\"\n\"http://b/\"]", 1, "no comma behind an element, in line 2 at byte 13");
    check("[\"http://a/\"] [\"http://b/\"]", 1, "follows the end of the array");
    check("[\"http://a/\",]", 1, "an element is missing");
    check("[\"http://a/\",{\"url\":\"http://b/", 1, "ends within an element");
}

/// The CSV parser underneath skips a mark too, but only if the block has all of it.
#[test]
fn a_second_byte_order_mark_is_text() {
    for size in [1, 2, 3, 100] {
        let list = "\u{feff}\n\u{feff}url\nhttp://a/\n".as_bytes();
        let (rows, end) = read_blocks(Format::Csv, &Options::default(), list.chunks(size));
        assert!(rows.is_empty());
        assert!(end.unwrap_err().message.contains("the first line has: \\u{feff}url; "));
    }
}

#[test]
fn a_table_without_the_column_is_refused() {
    let (rows, end) = read_blocks(Format::Csv, &Options::default(), [&b"link,name\nhttp://a/,b\n"[..]]);
    assert!(rows.is_empty());
    let message = "input.format: there is no column url; the first line has: link, name; --url-col NAME names the one with the URLs";
    assert_eq!(end.unwrap_err().to_string(), message);
    let check = |format, list: &str, expected: &str| {
        let (rows, end) = read_blocks(format, &Options::default(), [list.as_bytes()]);
        assert!(rows.is_empty());
        let message = end.unwrap_err().message;
        assert!(message.ends_with(expected), "{message}");
    };
    check(Format::Csv, "id,URL\n1,http://a/\n", "; perhaps --url-col URL is meant");
    check(Format::Csv, "id;url\n1;http://a/\n", "for example by mlr --csv --ifs ';' --ofs , cat");
    check(Format::Csv, "id\turl\n1\thttp://a/\n", "separated by tabs: --input-format tsv");
    check(Format::Tsv, "id,url\n1,http://a/\n", "separated by `,`: --input-format csv");
    check(
        Format::Csv,
        "http://me:s3cret@a/,1\n",
        "has the URL http://a/: put a line with the names before it",
    );

    let options = Options { url_column: "link".into(), ..Options::default() };
    let (rows, end) = read_blocks(Format::Csv, &options, [&b"link,name\nhttp://a/,b\n"[..]]);
    assert_eq!((rows.len(), end), (1, Ok(())));
}

/// DuckDB and pyarrow refuse a `meta` with two members of one name.
#[test]
fn two_columns_of_one_name_made_two_members_of_one_name() {
    let meta = |format, list: &str| ask(format, list).meta.map(String::from).unwrap();
    assert_eq!(
        meta(Format::Csv, "a,url,a,,a,\n1,http://a/,2,3,4,5\n"),
        r#"{"a":"1","a.1":"2","Unnamed: 3":"3","a.2":"4","Unnamed: 5":"5"}"#
    );
    assert_eq!(meta(Format::Tsv, "a\ta.1\ta\turl\n1\t2\t3\thttp://a/\n"), r#"{"a":"1","a.1":"2","a.2":"3"}"#);
    assert_eq!(
        meta(Format::Csv, "url,,Unnamed: 1,Unnamed: 1\nhttp://a/,1,2,3\n"),
        r#"{"Unnamed: 1":"1","Unnamed: 1.1":"2","Unnamed: 1.2":"3"}"#
    );
    // The last one counts, as in Python, JavaScript and jq.
    assert_eq!(
        meta(Format::Ndjson, r#"{"a":1,"b":2,"url":"http://a/","a":[3],"\u0061":4}"#),
        r#"{"b":2,"a":4}"#
    );
}

#[test]
fn two_columns_of_one_option_are_refused() {
    let check = |list: &str, column: &str| {
        let (rows, end) = read_blocks(Format::Csv, &Options::default(), [list.as_bytes()]);
        assert!(rows.is_empty());
        let message = end.unwrap_err().message;
        assert!(message.starts_with(&format!("two columns have the name {column}, ")), "{message}");
    };
    check("url,url\nhttp://a/,http://b/\n", "url");
    check("url,id, id\nhttp://a/,1,2\n", "id");
    // The columns of a record that are not used may be there twice.
    let list = "url,exitcode,wire_bytes,body,body\nhttp://a/,0,0,1,2\n";
    let (rows, end) = read_blocks(Format::Csv, &Options::default(), [list.as_bytes()]);
    assert_eq!((rows.len(), end), (1, Ok(())));
}

#[test]
fn a_row_that_cannot_be_read_tells_what_to_do() {
    let message = |format, list: &[u8]| {
        let (mut rows, _) = read_blocks(format, &Options::default(), [list]);
        rows.remove(0).job.unwrap_err().failure.message
    };
    let check = |format, list: &[u8], expected: &str| {
        let message = message(format, list);
        assert!(message.ends_with(expected), "{message}");
    };
    check(
        Format::Ndjson,
        br#"{"urls":["http://a/"]}"#,
        "`jq -c '.urls[]' FILE` makes a list of its elements",
    );
    check(Format::Ndjson, b"{\n  \"urls\": [\n", "`jq -c '.NAME[]' FILE` the elements of its member NAME");
    check(
        Format::Ndjson,
        br#"{"link":"http://a/","id":1}"#,
        "it has link, id; --url-col NAME names the one with the URL",
    );
    check(Format::Ndjson, b"http://a/", "in a list of plain URLs (--input-format text) it is a row");
    check(Format::Text, b"http://a/\xe9", "iconv -f ISO-8859-1 -t UTF-8 converts it");
    let long = "a".repeat(70_000);
    check(
        Format::Ndjson,
        format!("{{\"url\":\"http://a/\",\"a\":\"{long}\"}}").as_bytes(),
        "jq -c '{url, id}'",
    );
    check(
        Format::Csv,
        format!("url,a\nhttp://a/,{long}\n").as_bytes(),
        "leave out columns that the request does not need",
    );
    assert!(message(Format::Text, format!("http://a/{long}\n").as_bytes()).ends_with("the most is 65536"));
}

#[test]
fn which_columns_go_along() {
    let meta = |keep| {
        let options = Options { keep, ..Options::default() };
        let list = &br#"{"a":1,"url":"http://a/","b":"x","c":null}"#[..];
        let (mut rows, _) = read_blocks(Format::Ndjson, &options, [list]);
        rows.remove(0).job.unwrap().ask.and_then(|ask| ask.meta).map(String::from)
    };
    assert_eq!(meta(Keep::All).as_deref(), Some(r#"{"a":1,"b":"x","c":null}"#));
    assert_eq!(meta(Keep::Columns(vec!["b".into(), "none".into()])).as_deref(), Some(r#"{"b":"x"}"#));
    assert_eq!(meta(Keep::None), None);
}

/// What was the response must not become the request.
#[test]
fn a_record_is_a_row_again() {
    use overlapped_proto::job::Row;
    use overlapped_proto::record::{Body, Record, csv, ndjson};

    let mut record = Record::new(Row(9), "http://a/");
    record.id = Some("seven".into());
    record.headers.push("etag", b"\"e\"");
    record.headers.push("set-cookie", b"secret=1");
    record.body = Body::Inline(b"the response".as_slice().into());
    record.sha256 = Some([7; 32]);
    record.meta = Some(r#"{"color":"red"}"#.into());
    let expected = Ask {
        id: record.id.clone(),
        method: Some(Method::Get),
        etag: Some("\"e\"".into()),
        meta: record.meta.clone(),
        ..Ask::default()
    };

    let fields = ndjson::Fields::default();
    let mut list = Vec::new();
    ndjson::write(&record, &fields, &mut list);
    assert_eq!(ask(Format::Ndjson, std::str::from_utf8(&list).unwrap()), expected);

    list.clear();
    csv::header(&fields, &mut list);
    csv::write(&record, &fields, csv::Guard::Off, &mut list);
    assert_eq!(ask(Format::Csv, std::str::from_utf8(&list).unwrap()), expected);
}

/// A record of most web pages is longer than a row may be.
#[test]
fn a_record_may_be_as_long_as_its_body() {
    use overlapped_proto::job::Row;
    use overlapped_proto::record::{Body, Record, csv, ndjson};

    for body in
        ["y".repeat(100_000), "a \"quoted\"\r\nline, and \\more\n".repeat(10_000), "\0".repeat(70_000)]
    {
        let mut list = Vec::new();
        let mut table = Vec::new();
        let fields = ndjson::Fields::default();
        csv::header(&fields, &mut table);
        for row in 0..3 {
            let mut record = Record::new(Row(row), format!("http://a/{row}"));
            record.id = Some("seven".into());
            record.headers.push("etag", b"\"e\"");
            record.body = Body::Inline(body.clone().into());
            record.meta = Some(r#"{"color":"red, \"blue\""}"#.into());
            ndjson::write(&record, &fields, &mut list);
            csv::write(&record, &fields, csv::Guard::Off, &mut table);
        }
        let array = [b"[", list.trim_ascii_end(), b"]"].concat();
        let array = String::from_utf8(array).unwrap().replace("}\n{", "},\n{");
        for (format, list) in
            [(Format::Ndjson, &list[..]), (Format::Csv, &table), (Format::Json, array.as_bytes())]
        {
            let (rows, end) = read_blocks(format, &Options::default(), list.chunks(30_000));
            assert_eq!((rows.len(), end), (3, Ok(())), "{format:?}");
            for (row, number) in rows.into_iter().zip(0..) {
                let job = row.job.unwrap();
                assert_eq!((job.row, job.url.path()), (Row(number), &*format!("/{number}")));
                let ask = job.ask.unwrap();
                assert_eq!(ask.etag.as_deref(), Some("\"e\""));
                assert_eq!(ask.meta.as_deref(), Some(r#"{"color":"red, \"blue\""}"#));
                assert_eq!(ask.body, None);
            }
        }
    }
    // A long row that is no record is still refused.
    let long = format!("{{\"url\":\"http://a/\",\"body\":\"{}\"}}", "y".repeat(100_000));
    let rows = read(Format::Ndjson, &long);
    assert_eq!(rows[0].job.clone().unwrap_err().failure.kind, ErrorKind::InputTooLong);
}

/// DuckDB and pandas write an object into a table in ways of their own.
#[test]
fn a_meta_that_is_no_json_any_more_is_dropped_and_the_row_is_fetched() {
    let table = |meta: &str| {
        ask(
            Format::Csv,
            &format!("url,method,status,exitcode,wire_bytes,etag,meta\nhttp://a/,GET,200.0,0,5.0,,{meta}\n"),
        )
    };
    for meta in ["{'color': red}", "\"{'color': 'red', 'n': nan}\"", "7", "\"[1]\"", "x"] {
        let ask = table(meta);
        assert_eq!((ask.meta, ask.meta_dropped), (None, true), "{meta}");
    }
    for nothing in ["", "NaN", "nan", "None", "NULL", "<NA>"] {
        let ask = table(nothing);
        assert_eq!((ask.meta, ask.meta_dropped), (None, false), "{nothing}");
    }
    let kept = |ask: Ask| (ask.meta.as_deref().map(str::to_owned), ask.meta_dropped);
    let red = || (Some(r#"{"color":"red"}"#.to_owned()), false);
    assert_eq!(kept(table("\"{\"\"color\"\":\"\"red\"\"}\"")), red());
    let line = |meta: &str| {
        ask(
            Format::Ndjson,
            &format!(
                "{{\"url\":\"http://a/\",\"method\":\"GET\",\"exitcode\":0,\"wire_bytes\":5.0,\"status\":NaN,\"meta\":{meta}}}"
            ),
        )
    };
    assert_eq!(kept(line(r#"{"color":"red"}"#)), red());
    assert_eq!(kept(line(r#""{\"color\":\"red\"}""#)), red());
    assert_eq!(kept(line("NaN")), (None, false));
    assert_eq!(kept(line(r#""{'color': 'red'}""#)), (None, true));
}

fn any_list() -> impl Strategy<Value = Vec<u8>> {
    const LONG: &[u8] = &[b'x'; 40_000];
    const PIECES: &[&[u8]] = &[
        b"\n",
        b"\r\n",
        b"\r",
        b"url",
        b",\t",
        b"\"",
        b"http://a.example/",
        b"{\"url\":\"http://b.example/\",\"x\":[1]}",
        b"[",
        b"]",
        b"\",",
        b"\xef\xbb\xbf",
        b"\xff\0",
        b"# x",
        b"\xc3\xbc",
        LONG,
    ];
    let piece = prop_oneof![
        8 => proptest::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

#[test]
fn a_cut_of_the_blocks_beside_the_limit_for_a_row_never_shows() {
    let filling = "x".repeat(limits::INPUT_ROW_BYTES_MAX - 10);
    for lines in ["", "\n", "y\nz\n"] {
        let list = format!("url,x\n\"{lines}{filling}\n0123456789abcdefghij,\"k\nhttp://a.example/,1\n");
        for format in [Format::Csv, Format::Tsv] {
            let whole = format!("{:?}", read_blocks(format, &Options::default(), [list.as_bytes()]));
            for cut in limits::INPUT_ROW_BYTES_MAX - 10..limits::INPUT_ROW_BYTES_MAX + 40 {
                let (before, after) = list.as_bytes().split_at(cut);
                let blocks = [before, after];
                assert_eq!(whole, format!("{:?}", read_blocks(format, &Options::default(), blocks)), "{cut}");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_cut_of_the_blocks_never_shows(
        list in any_list(),
        headed: bool,
        cuts in proptest::collection::vec(0_usize..100_000, 0..8),
        small in 1_usize..5,
    ) {
        let list = if headed { [b"url,x\n".as_slice(), &list].concat() } else { list };
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % (list.len() + 1)).collect();
        cuts.extend([0, list.len()]);
        cuts.sort_unstable();
        let blocks = cuts.windows(2).map(|cut| &list[cut[0]..cut[1]]);
        let options = Options::default();
        for format in [Format::Text, Format::Ndjson, Format::Json, Format::Csv, Format::Tsv] {
            let whole = format!("{:?}", read_blocks(format, &options, [&list[..]]));
            prop_assert_eq!(&whole, &format!("{:?}", read_blocks(format, &options, blocks.clone())));
            if list.len() < 1_000 {
                prop_assert_eq!(&whole, &format!("{:?}", read_blocks(format, &options, list.chunks(small))));
            }
        }
    }

    #[test]
    fn every_byte_is_counted(list in any_list()) {
        let mut reader = Reader::new(Format::Text, Options::default());
        let mut rows = 0;
        for block in list.chunks(1_000) {
            reader.push(block, &mut |_| rows += 1).unwrap_or_default();
        }
        prop_assert_eq!(reader.bytes_consumed(), u64::try_from(list.len()).unwrap());
        prop_assert_eq!(reader.rows(), rows);
    }
}

#[test]
fn reading_goes_on_at_any_row() {
    let list = "\u{feff}# a comment\nhttp://a.example/1\r\nno url\n\nhttp://b.example/\rhttp://c.example/x";
    let all = read(Format::Text, list);
    for row in &all {
        let mut reader = Reader::resume(Format::Text, Options::default(), row.row(), row.offset).unwrap();
        let mut rest = Vec::new();
        let mut sink = |row: RowRead| rest.push((row.row(), row.offset, format!("{:?}", row.job)));
        let bytes = list.as_bytes().split_at(usize::try_from(row.offset).unwrap()).1;
        reader.push(bytes, &mut sink).and_then(|()| reader.finish(&mut sink)).unwrap();
        let expected = all.iter().filter(|other| other.row() >= row.row());
        assert!(rest.into_iter().eq(expected.map(|row| (row.row(), row.offset, format!("{:?}", row.job)))));
        assert_eq!(reader.bytes_consumed(), list.len() as u64);
    }
    assert!(Reader::resume(Format::Csv, Options::default(), all[0].row(), 9).is_none(), "a table has names");

    let list = "[ \"http://a/1\",\n{\"url\":\"http://a/2\"} , \"http://a/3\"]";
    let all = read(Format::Json, list);
    for row in &all {
        let mut reader = Reader::resume(Format::Json, Options::default(), row.row(), row.offset).unwrap();
        let mut rest = Vec::new();
        let bytes = list.as_bytes().split_at(usize::try_from(row.offset).unwrap()).1;
        let mut sink = |row: RowRead| rest.push((row.row(), row.offset, row.job.is_ok()));
        reader.push(bytes, &mut sink).and_then(|()| reader.finish(&mut sink)).unwrap();
        let expected = all.iter().filter(|other| other.row() >= row.row());
        assert!(rest.into_iter().eq(expected.map(|row| (row.row(), row.offset, true))));
    }
}
