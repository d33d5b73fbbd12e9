//! No secret of a row that cannot be fetched is shown or written, however the row is spelt.

#![allow(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

use overlapped_proto::input::{Format, Options, Reader, url};
use overlapped_proto::record::{Record, csv, ndjson};
use overlapped_proto::sanitize;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const CANARIES: [&str; 2] = ["s3cr3t", "p4ss"];

fn has_canary(text: &str) -> bool {
    CANARIES.iter().any(|canary| text.contains(canary))
}

/// What is written of a row that is bad: its record in every format, and its message. A good row has a URL that was
/// parsed.
fn written(format: Format, list: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    let mut reader = Reader::new(format, Options::default());
    let mut sink = |read: overlapped_proto::input::RowRead| {
        let Err(bad) = read.job else { return };
        texts.extend([bad.given.to_string(), bad.failure.to_string(), sanitize::shown(&bad.given)]);
        let mut record = Record::new(bad.row, bad.given);
        record.failure = Some(bad.failure);
        let mut out = Vec::new();
        ndjson::write(&record, &ndjson::Fields::default(), &mut out);
        csv::write(&record, &ndjson::Fields::default(), csv::Guard::Off, &mut out);
        texts.push(String::from_utf8(out).unwrap());
    };
    let end = reader.push(list, &mut sink).and_then(|()| reader.finish(&mut sink));
    texts.extend(end.err().map(|failure| failure.to_string()));
    texts
}

fn check(format: Format, list: &[u8]) {
    for text in written(format, list) {
        assert!(!has_canary(&text), "{format:?} {:?}: {text}", String::from_utf8_lossy(list));
    }
}

/// Userinfo where a URL does not parse, or is no URL.
fn userinfos() -> impl Iterator<Item = String> {
    const SCHEMES: [&str; 19] = [
        "",
        "http:",
        "HTTP:",
        "https:/",
        "http://",
        "Https:///",
        "//",
        "/\\",
        "ftp:",
        "ftp://",
        "ws://",
        "git+ssh://",
        "http:\\\\",
        "https//",
        "view-source:http://",
        " \t",
        "\u{feff}",
        "<http://",
        "\"http://",
    ];
    const USERINFOS: [&str; 18] = [
        "me:s3cr3t@",
        ":s3cr3t@",
        "s3cr3t@",
        "me:s3cr3t/p4ss@",
        "me:s3cr3t?p4ss@",
        "me:s3cr3t#p4ss@",
        "me:s3cr3t p4ss@",
        "me:s3cr3t@p4ss@",
        "me:s3cr3t\u{7f}@",
        "me:s3cr3t\"p4ss@",
        "me:s3cr3t'@",
        "m\u{e4}:s3cr3t\u{20ac}@",
        "me:s3cr3t%40",
        "me:s3cr3t\u{ff20}",
        "me:s3cr3t\\u0040",
        "me%3As3cr3t@",
        "me:s3cr3t\u{202e}@",
        "me:s3cr3t//p4ss@",
    ];
    const HOSTS: [&str; 6] = ["h o st/", "h:99999/", "h:port/x", "[::1/", "", "host.example/\u{1}"];
    SCHEMES.into_iter().flat_map(|scheme| {
        USERINFOS
            .into_iter()
            .flat_map(move |userinfo| HOSTS.into_iter().map(move |host| format!("{scheme}{userinfo}{host}")))
    })
}

#[test]
fn no_userinfo_is_written_however_it_is_spelt() {
    assert!(userinfos().count() > 1_000);
    for text in userinfos() {
        check(Format::Text, text.as_bytes());
        check(Format::Text, &[text.as_bytes(), b"\xff"].concat());
        check(Format::Text, &[text.as_bytes(), b"\0"].concat());
        let json = serde_json::to_string(&text).unwrap();
        check(Format::Ndjson, format!("{{\"url\":{json}}}").as_bytes());
        check(Format::Ndjson, format!("{{\"id\":\"x\",\"url\":{json}").as_bytes());
        check(Format::Ndjson, format!("{{\"id\":\"x\",\"link\":{json}").as_bytes());
        check(Format::Ndjson, format!("{{\"url\":\"{text}\",").as_bytes());
        check(Format::Ndjson, json.as_bytes());
        check(Format::Json, format!("[{json}, {{\"url\":{json},}}, {json}").as_bytes());
        let cell = text.replace('"', "\"\"");
        let table = format!("id,url\n1,\"{cell}\"\n1,\"{cell}\",3\n1,{text}\n\"{cell},\n");
        check(Format::Csv, table.as_bytes());
        check(Format::Tsv, format!("id\turl\n1\t{text}\n1\t{text}\t3\n{text}\n").as_bytes());
        if let Err(failure) = url::parse(&text) {
            assert!(!has_canary(&failure.to_string()), "{text}: {failure}");
        }
    }
}

#[test]
fn a_userinfo_that_is_cut_off_is_not_written() {
    let long = "p4ss".repeat(30_000);
    for text in [
        format!("http://me:s3cr3t{long}"),
        format!("me:s3cr3t{long}@h/"),
        format!("http://me:s3cr3t/{long}@h"),
    ] {
        check(Format::Text, text.as_bytes());
        check(Format::Ndjson, format!("{{\"url\":\"{text}\"}}").as_bytes());
        check(Format::Csv, format!("url,x\n{text},1\n").as_bytes());
    }
}

#[test]
fn no_header_of_a_broken_row_is_written() {
    const NAMES: [&str; 7] = [
        "Authorization",
        "authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-Api-Key",
        "x-auth-token",
        "Authoriz\\u0061tion",
    ];
    const VALUES: [&str; 5] =
        ["s3cr3t", "Bearer s3cr3t", "a=s3cr3t; b=p4ss", "Basic s3cr3t==", "say \\\"s3cr3t\\\", p4ss"];
    for (name, value) in NAMES.into_iter().flat_map(|name| VALUES.into_iter().map(move |value| (name, value)))
    {
        for row in [
            format!("{{\"url\":7,\"headers\":{{\"{name}\":\"{value}\"}},}}"),
            format!("{{\"headers\":{{\"{name}\" : [\"{value}\",\"p4ss\"]}}"),
            format!("{{\"headers\":{{\"{name}\":\"{value}"),
            format!("{{'headers':{{'{name}':'{value}'}}}}"),
            format!("{name}: {value}"),
            format!("[\"{name}: {value}\"]"),
        ] {
            check(Format::Ndjson, row.as_bytes());
            check(Format::Text, row.as_bytes());
            check(Format::Csv, format!("id,url\n1,\"{}\"\n", row.replace('"', "\"\"")).as_bytes());
        }
        let cell = format!("{{\"{name}\":\"{value}\"}}").replace('"', "\"\"");
        check(Format::Csv, format!("headers,url\n\"{cell}\"\n\"{cell}\",h,3\n\"{cell}\n").as_bytes());
    }
}

/// They are in the record, as in that of any other row; they are not in a message, and not on a terminal.
#[test]
fn no_query_value_that_is_a_secret_is_told() {
    const NAMES: [&str; 25] = [
        "token",
        "key",
        "api_key",
        "apikey",
        "api-key",
        "signature",
        "sig",
        "password",
        "passwd",
        "pwd",
        "secret",
        "access_token",
        "client_secret",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
        "AWSAccessKeyId",
        "userKey",
        "auth",
        "sessionid",
        "jwt",
        "TOKEN",
        "api%5Fkey",
        "id_token",
        "refreshToken",
        "tokens[]",
    ];
    for name in NAMES {
        for text in [
            format!("http://h:99999/?a=1&{name}=s3cr3t"),
            format!("http://h o st/?{name}=s3cr3t&b=2"),
            format!("h/?{name}=s3cr3t%20p4ss#x"),
            format!("http://h.example/x?{name}=s3cr3t p4ss"),
            format!("ftp://h/?x=y;{name}=s3cr3t"),
            format!("http://h.example/#{name}=s3cr3t"),
            format!("/path?{name}=s3cr3t"),
        ] {
            if let Err(failure) = url::parse(&text) {
                assert!(!has_canary(&failure.to_string()), "{text}: {failure}");
            }
            assert!(!has_canary(&sanitize::shown(&text)), "{text}: {}", sanitize::shown(&text));
            assert!(!sanitize::secrets(&text).is_empty(), "{text}");
            assert!(has_canary(&sanitize::given(text.as_bytes(), true, 1_000)), "{text}");
        }
    }
}

#[test]
fn what_is_no_secret_is_shown() {
    for text in [
        "http://h.example/@user?author=1&monkey=2&keyboard=3",
        "https://medium.example/@me/https://h.example/@you",
        "exa mple.org/@user",
        "C:\\lists\\urls.txt",
        "http://h.example:8080/x?redirect=http://a.example:80/@b",
        "{\"url\":\"http://a/\",\"status\":200}",
    ] {
        assert_eq!(sanitize::quote(text.as_bytes(), 1_000), text);
        assert!(sanitize::secrets(text).is_empty(), "{text}");
    }
    assert_eq!(sanitize::shown("http://h.example/a:b c/@x"), "http://h.example/a:b c/@x");
}

#[test]
fn no_userinfo_of_a_nested_url_is_written() {
    let deep = (0..9).fold("http://me:s3cr3t@h/".to_owned(), |inner, _| percent(&inner));
    for text in [
        "http://h o st/?redirect=http%3A%2F%2Fme%3As3cr3t%40h%2F",
        "http://h:99999/?redirect=http%3a%2f%2fme%3as3cr3t%40h%2f",
        "h/?redirect=http%253A%252F%252Fme%253As3cr3t%2540h%252F",
        "h/http:/me:s3cr3t@h/",
        "h/http:me:s3cr3t@h/",
        "h/ftp:/me:s3cr3t@h/",
        "h/me:s3cr3t@h/",
        "h o?u=me:s3cr3t@h",
        "h o/me:s3cr3t@h.example//@me",
        "h o?a=1&u=me:s3cr3t/p4ss@h",
        "h o?u=http:%5C/me%3As3cr3t@h",
        "h o?u=http&#58;//me&#x3a;s3cr3t&#64;h",
        "h o?u=me\\x3as3cr3t\\x40h",
        "http://h.example/\u{1}?u=me:s3cr3t@h",
        "http://h.example:0/?u=me:s3cr3t@h",
        "http%3A//me%3As3cr3t%40h/",
        "http://h o/?r=http%3A%2F%2Fme%3A12%252Fs3cr3t%40h",
        &*deep,
    ] {
        check(Format::Text, text.as_bytes());
        check(Format::Ndjson, format!("{{\"link\":{}}}", serde_json::to_string(text).unwrap()).as_bytes());
        check(Format::Csv, format!("id,url\n1,\"{text}\"\n1,{text},3\n").as_bytes());
        assert!(!has_canary(&sanitize::quote(text.as_bytes(), 1_000)), "{text}");
    }
    for url in [
        "http://h.example/?redirect=http%3A%2F%2Fme%3As3cr3t%40h%2F",
        "http://h.example/http:/me:s3cr3t@h/",
        "http://h.example/?redirect=http%3A%2F%2Fh%2F%3Ftoken%3Ds3cr3t",
    ] {
        assert!(!has_canary(&sanitize::shown(url)), "{}", sanitize::shown(url));
    }
}

#[test]
fn secrets_that_overlap_are_hidden_whole() {
    for text in ["a b?token=x http://me:s3cr3t@h", "a b?key=1:p4ss?s3cr3t@h", "me:token=s3cr3t?p4ss@h o"] {
        let shown = sanitize::quote(text.as_bytes(), 1_000);
        assert!(!has_canary(&shown), "{text}: {shown}");
    }
}

/// All that is not a letter or a digit percent-encoded.
fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn entities(text: &str) -> String {
    text.replace(':', "&#58;").replace('/', "&#x2f;").replace('@', "&#64;")
}

/// A text that carries a userinfo: `(what is before it, how often all is encoded)` from the inside out.
fn carriers() -> impl Strategy<Value = String> {
    let schemes =
        select(vec!["http://", "HTTPS://", "http:/", "http:", "http:\\/", "ftp://", "ftp:/", "//", ""]);
    let users = select(vec![
        "me:s3cr3t@",
        ":s3cr3t@",
        "me:p4sss3cr3t@",
        "m.e+x:s3cr3t!@",
        "a:b:s3cr3t@",
        "me:s3cr3t@x@",
    ]);
    let hosts = select(vec!["h", "h.example/", "h/a b", "", "[::1]/x", "h:80/?q=1#f"]);
    let around = select(vec![
        "",
        "h/",
        "h o st/",
        "http://h:99999/",
        "http://h.example/a b?redirect=",
        "http://h.example/@user?a=1&u=",
        "x?u=",
        "/path/",
        "see <",
        "{\"a\":\"",
        "a,b,",
        "http://h.example/#",
        "?a=1;b=",
        "//h/",
        "view-source:",
        "C:\\x\\",
        "http://[::1/",
        "100%",
        "h:80/",
    ]);
    let layers = vec((around, 0..3_u8), 0..4);
    (schemes, users, hosts, layers).prop_map(|(scheme, user, host, layers)| {
        layers.into_iter().fold(format!("{scheme}{user}{host}"), |inner, (before, encoding)| {
            let inner = match encoding {
                0 => inner,
                1 => percent(&inner),
                _ => entities(&inner),
            };
            format!("{before}{inner}")
        })
    })
}

proptest! {
    #[test]
    fn no_userinfo_is_written_wherever_it_is_nested(
        text in carriers(),
        behind in select(vec!["", " x", "\u{1}", "\"}", "/@me", "&c=d", "%"]),
    ) {
        let row = format!("{text}{behind}");
        let bad = format!("h o/{row}");
        for format in [Format::Text, Format::Ndjson, Format::Csv, Format::Tsv, Format::Json] {
            for list in [&row, &bad, &format!("url\n{row}\n{bad}\n"), &format!("[\"{bad}\", \"{row}")] {
                for told in written(format, list.as_bytes()) {
                    prop_assert!(!has_canary(&told), "{:?} {}: {}", format, list, told);
                }
            }
        }
        prop_assert!(!has_canary(&sanitize::quote(bad.as_bytes(), 10_000)), "{}", bad);
        prop_assert!(!has_canary(&sanitize::given(bad.as_bytes(), true, 10_000)), "{}", bad);
    }
}
