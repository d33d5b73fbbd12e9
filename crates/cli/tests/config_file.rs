//! `-K FILE`: flags from a file, and settings of single hosts, as servers saw them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use overlapped_testkit::{ProxyRules, ProxyServer, Server};
use program::{Directory, Ran, run};

/// A file that others cannot read.
fn file(directory: &Directory, text: &str) -> String {
    let path = directory.write("settings.toml", text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Names that lead to the server.
fn names(server: &Server) -> Vec<String> {
    let to = |host: &str| format!("--resolve={}", pin(server, host));
    ["a.test", "b.test", "api.example.org", "www.example.org"].map(to).into()
}

fn pin(server: &Server, host: &str) -> String {
    format!("{host}:{}:127.0.0.1", server.addr().port())
}

fn url(server: &Server, host: &str, target: &str) -> String {
    format!("http://{host}:{}{target}", server.addr().port())
}

fn fetch(server: &Server, words: &[&str]) -> Ran {
    let names = names(server);
    run(&names.iter().map(String::as_str).chain(words.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn the_command_line_comes_before_the_file() {
    let (server, directory) = (Server::start(), Directory::new());
    let path = file(
        &directory,
        "silent = true\nheader = ['X-One: file', 'Accept: text/html']\nuser-agent = \"file\"\nordered = true\nno-body = false\n\
         fail = '200'\n",
    );
    let url = server.url("/ok");
    let field = |name: &str| server.seen()[0].header(name).map(str::to_owned);
    let ran = run(&["-K", &path, "-o", "-", &url]);
    ran.check_code(1);
    assert_eq!(ran.records()[0]["error"], "status");
    assert_eq!(ran.stderr.lines().count(), 1, "why the one row has failed: {ran:?}");
    assert_eq!(field("x-one").as_deref(), Some("file"));
    assert_eq!(
        (field("accept"), field("user-agent")),
        (Some("text/html".to_owned()), Some("file".to_owned()))
    );
    server.forget();
    let words = ["--config", &path, "-A", "line", "-H", "X-Two: line", "--fail=500", "-o", "-", &url];
    run(&words).check_code(0);
    // A flag of the command line takes the place of all that the file has of it.
    assert_eq!((field("x-one"), field("x-two").as_deref()), (None, Some("line")));
    assert_eq!((field("user-agent").as_deref(), field("accept").as_deref()), (Some("line"), Some("*/*")));
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    let directory = Directory::new();
    for (text, line, told) in [
        ("paralel-max = 3", 1, "perhaps parallel-max is meant"),
        ("\n# x\nparallel_max = 3", 3, "perhaps parallel-max is meant"),
        ("nothing-alike = 1", 1, "no flag of fetch"),
        ("config = 'x'", 1, "config: it belongs on the command line"),
        ("K = 'x'", 1, "K: it belongs on the command line"),
        ("help = true", 1, "help: it belongs on the command line"),
        ("A = 'x'", 1, "the long name is written: user-agent"),
        ("url = 'http://a/'", 1, "URLs and lists belong on the command line"),
        ("retry = 1\nrate = '7'", 2, "the unit is required"),
        ("silent = 1", 1, "true or false"),
        ("retry = [1]", 1, "no array"),
        ("header = [[]]", 1, "of an element: its value is a text, in quotes"),
        ("header = ['Accept: a/b', 5]", 1, "of an element: its value is a text, in quotes"),
        ("proxy = nan", 1, "proxy: its value is a text, in quotes"),
        ("retry = 1\noauth2-bearer = nan", 2, "oauth2-bearer: its value is a text, in quotes"),
        ("user-agent = 5", 1, "user-agent: its value is a text, in quotes"),
        ("summary = 5", 1, "summary: its value is a text, in quotes"),
        ("max-time = inf", 1, "neither nan nor inf"),
        ("unix-socket = \"\\u0000\"", 1, "unix-socket: its value has the character NUL"),
        ("summary = \"a\\u0000\"", 1, "summary: its value has the character NUL"),
        ("header = [\"a: b\\u0000\"]", 1, "the character NUL"),
        ("retry = true", 1, "a text or a number"),
        ("retry = 1\nretry = 2", 2, "duplicate"),
        ("rate = '1/s", 1, "string"),
        ("host = 1", 1, "[host.\"example.org\"]"),
        ("[hosts.\"a\"]", 1, "[host.\"example.org\"]"),
        ("[host.\"a\"]\n\nratee = '1/s'", 3, "perhaps rate is meant"),
        ("[host.\"a\"]\nmax-time = 3", 2, "not for single hosts, unlike parallel-max, rate, header"),
        ("[host.\"a\"]\nretry = 3", 2, "[host.\"a\"]: retry: it is not"),
        ("[host.\"a\"]\nmax-time = 3", 2, "for all hosts it stands above the first section"),
        ("[host.\"a:80\"]", 1, "without scheme, port and path"),
        ("[host.\"http://a\"]", 1, "without scheme, port and path"),
        ("[host.\"a\"]\nrate = 'x'", 2, "the unit is required"),
        ("[host.\"a\"]\nparallel-max = -1", 2, "a whole number"),
        ("[host.\"a\"]\nheader = 'x'", 2, "Name: value"),
        ("[host.\"a\"]\nuser = 'x'", 2, "name:password"),
        ("[host.\"a\"]\noauth2-bearer = '$NO_SUCH_VARIABLE'", 2, "not set"),
        ("[host.\"a\"]\nuser = 'a:b'\noauth2-bearer = 'x'", 1, "give one of them"),
        ("[host.\"a\"]\n[host.\"A.\"]", 2, "twice"),
        ("[host.a.test]\nrate = '1/s'", 1, "is in quotes: [host.\"a.test\"]"),
        ("\n[host.api.example.org]", 2, "is in quotes: [host.\"api.example.org\"]"),
        ("[host]\n127.0.0.1.rate = '1/s'", 2, "is in quotes: [host.\"127.0.0.1\"]"),
        ("[host.\"*.test\"]", 1, "each host has a section of its own, also those below a name"),
        ("[host.\"*\"]", 1, "* stands for no others"),
        (
            "[host.\"a\"]\nheader = ['A: b', \"X: a\\u0007\"]",
            2,
            "[host.\"a\"]: header: the header X has a control character",
        ),
        (
            "[host.\"a\"]\nheader = 'Content-Length: 5'",
            2,
            "[host.\"a\"]: header: the header Content-Length is set by",
        ),
        (
            "[host.\"a\"]\nheader = 'Transfer-Encoding: chunked'",
            2,
            "[host.\"a\"]: header: the header Transfer-Encoding is set by",
        ),
        (
            "[host.\"a\"]\noauth2-bearer = \"a\\nb\"",
            2,
            "[host.\"a\"]: oauth2-bearer: the header authorization has a control",
        ),
        ("[host.\"a\"]\nuser = \"a:\\u0000\"", 2, "[host.\"a\"]: user: its value has the character NUL"),
        ("[host.\"a\"]\nratee = '1/s'", 2, "[host.\"a\"]: ratee is no setting of a host; perhaps rate"),
    ] {
        let path = file(&directory, text);
        let ran = run(&["-K", &path, "http://127.0.0.1:9/"]);
        ran.check_refused(2, told);
        assert!(ran.stderr.contains(&format!("settings.toml line {line}: ")), "{text}: {ran:?}");
    }
    run(&["-K", "/nowhere.toml", "http://127.0.0.1:9/"]).check_refused(2, "/nowhere.toml");
    run(&["-K", "-", "http://127.0.0.1:9/"]).check_refused(2, "not read from standard input: name a file");
    let path = file(&directory, "[host.\"a\"]\nproxy = 'ftp://x'");
    run(&["-K", &path, "http://127.0.0.1:9/"])
        .check_refused(2, "line 2: [host.\"a\"]: proxy: a proxy is http://");
}

/// Each was compared with all before it, and each line counted from the first: the most that are allowed took minutes. The one too
/// many is refused before the others are looked at, of which this one is invalid.
#[test]
fn as_many_hosts_as_are_allowed_are_read_and_one_more_is_refused() {
    let (server, directory) = (Server::start(), Directory::new());
    let text = |hosts: usize| {
        let section =
            |host: usize| format!("[host.'h{host}.test']\nheader = 'X-Host: {host}'\noauth2-bearer = 'x'\n");
        (0..hosts).map(section).collect::<String>()
    };
    let path = file(&directory, &text(overlapped_proto::limits::HOST_CONFIGS_MAX));
    let pin = format!("h9999.test:{}:127.0.0.1", server.addr().port());
    run(&["-s", "-K", &path, "--resolve", &pin, &url(&server, "h9999.test", "/ok")]).check_code(0);
    assert_eq!(server.seen()[0].header("x-host"), Some("9999"));
    let more = format!("[host.'*']\n{}", text(overlapped_proto::limits::HOST_CONFIGS_MAX));
    run(&["-K", &file(&directory, &more), "http://127.0.0.1:9/"])
        .check_refused(2, "it has 10001 sections of hosts");
}

/// A slip in a name has no other effect than that its settings do not count.
#[test]
fn a_section_that_no_row_has_used_is_told() {
    let (server, directory) = (Server::start(), Directory::new());
    let sections = |names: &[&str]| {
        file(
            &directory,
            &names.iter().map(|name| format!("[host.'{name}']\nrate = '99/s'\n")).collect::<String>(),
        )
    };
    let to_b = format!("/redirect-to?url={}", url(&server, "b.test", "/ok"));
    let list = format!("@{}", directory.write("urls.txt", url(&server, "a.test.", &to_b)));
    let told = |names: &[&str], words: &[&str]| {
        let ran = fetch(
            &server,
            &[&["-K", &sections(names), &list, "--resolve", &pin(&server, "a.test.")], words].concat(),
        );
        ran.check_code(0);
        let lines =
            ran.stderr.lines().filter(|line| line.contains("not needed") && !line.contains("--resolve"));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    let summary = directory.path("summary.json");
    let words = ["-o", "/dev/null", "--summary", &summary];
    assert_eq!(told(&["a.test", "b.test"], &words), "");
    let one = "overlapped: [host.\"typo.tset\"] was not needed: no request of this run was for this host";
    assert_eq!(told(&["a.test", "typo.tset"], &words), one);
    let summary: serde_json::Value = serde_json::from_str(&directory.read("summary.json")).unwrap();
    assert_eq!(summary["hosts_unmet"], serde_json::json!(["typo.tset"]));
    let many = told(&["e.test", "d.test", "c.test", "b.test", "f.test"], &words);
    assert!(
        many.contains("[host.\"c.test\"], [host.\"d.test\"], [host.\"e.test\"] and 1 more were not needed"),
        "{many}"
    );
    assert_eq!(told(&["typo.tset"], &["-o", "/dev/null", "-s"]), "", "as asked");
    let out = directory.path("out.ndjson");
    assert_eq!(told(&["typo.tset"], &["-o", &out]), one);
    // Rows that were fetched before may be of this host.
    let rows = [url(&server, "a.test", "/ok"), url(&server, "a.test", "/status/404")].join("\n");
    let list = format!("@{}", directory.write("rows.txt", rows));
    let words = ["-K", &sections(&["typo.tset"]), &list, "-o", &directory.path("again.ndjson")];
    for (begin, expected) in [(&[][..], true), (&["--retry-failed"], false)] {
        let ran = fetch(&server, &[&words, begin].concat());
        ran.check_code(1);
        assert_eq!(ran.stderr.contains(one), expected, "{ran:?}");
    }
}

#[test]
fn a_credential_that_others_can_read_is_warned_of() {
    let (server, directory) = (Server::start(), Directory::new());
    let url = server.url("/ok");
    let check = |text: &str, mode: u32, line: Option<u32>| {
        let path = file(&directory, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let ran = run(&["-s", "-K", &path, &url]);
        ran.check_code(0);
        let warned =
            line.map_or_else(String::new, |line| format!("settings.toml line {line} may have a credential"));
        assert!(ran.stderr.contains(&warned) && ran.stderr.is_empty() == line.is_none(), "{text}: {ran:?}");
        assert!(!ran.stderr.contains("canary"), "{ran:?}");
    };
    check("retry = 1\nuser = 'me:canary'", 0o644, Some(2));
    check("user = 'me:canary'", 0o600, None);
    check("user = '$HOME:x'\nheader = 'Accept: a/b'", 0o644, Some(1));
    check("header = ['Accept: a/b', 'X-Key: canary']", 0o640, Some(1));
    check("header = ['@/dev/null', 'X-Key:', 'Accept-Language: de']", 0o644, None);
    check("[host.\"a.test\"]\nrate = '1/s'\noauth2-bearer = 'canary'", 0o644, Some(3));
    check("[host.\"a.test\"]\nproxy = 'http://me:canary@127.0.0.1:9'", 0o644, Some(2));
}

const TWO: &str = "
silent = true
user = 'all:all'
header = ['X-All: 1', 'X-Both: all']
[host.\"a.test\"]
user = 'me:canary'
header = ['X-Both: a', 'Accept-Language: de', 'X-All:']
[host.'b.test']
oauth2-bearer = 'token'
";

#[test]
fn headers_and_credentials_go_to_their_host_alone() {
    let (server, directory) = (Server::start(), Directory::new());
    let path = file(&directory, TWO);
    let all = format!("Basic {}", "YWxsOmFsbA==");
    let me = "Basic bWU6Y2FuYXJ5";
    for ordered in [false, true] {
        let more: &[&str] = if ordered { &["--ordered"] } else { &[] };
        let check = |first: &str, last: &str, expected: [Option<&str>; 4]| {
            server.forget();
            fetch(&server, &[&["-K", &path, first], more].concat()).check_code(0);
            let seen = server.seen();
            let seen = seen.last().unwrap();
            assert_eq!(seen.header("host"), Some(&*format!("{last}:{}", server.addr().port())));
            let found = ["authorization", "x-both", "x-all", "accept-language"].map(|name| seen.header(name));
            assert_eq!(found, expected, "{first}");
        };
        let to = |from: &str, host: &str| {
            let target = format!("/redirect-to?url={}", url(&server, host, "/ok"));
            url(&server, from, &target)
        };
        check(&url(&server, "a.test", "/ok"), "a.test", [Some(me), Some("a"), None, Some("de")]);
        check(&url(&server, "b.test", "/ok"), "b.test", [Some("Bearer token"), Some("all"), Some("1"), None]);
        check(
            &url(&server, "www.example.org", "/ok"),
            "www.example.org",
            [Some(&all), Some("all"), Some("1"), None],
        );
        // A name of the row itself comes first.
        let own = url(&server, "x:y@a.test", "/ok");
        check(&own, "a.test", [Some("Basic eDp5"), Some("a"), None, Some("de")]);
        check(&to("a.test", "a.test"), "a.test", [Some(me), Some("a"), None, Some("de")]);
        // No secret goes to another host by a redirect: neither that of the host it comes from, nor that of the one it leads to.
        check(&to("a.test", "b.test"), "b.test", [None; 4]);
        check(&to("a.test", "www.example.org"), "www.example.org", [None; 4]);
        check(&to("b.test", "a.test"), "a.test", [None, None, None, Some("de")]);
        check(&to("www.example.org", "a.test"), "a.test", [None, None, None, Some("de")]);
    }
}

#[test]
fn limits_hold_for_their_host_over_redirects_too() {
    let (server, directory) = (Server::start(), Directory::new());
    let path = file(
        &directory,
        "silent = true\nparallel-max-host = 5\n[host.'a.test']\nparallel-max = 1\n[host.'www.example.org']\nrate = '5/s'\n",
    );
    let mut rows: Vec<_> =
        (0..20).map(|row| url(&server, "a.test", &format!("/row/{row}?delay_ms=10"))).collect();
    let to = |row: usize| {
        format!("/redirect-to?url={}", url(&server, "a.test", &format!("/row/{row}?delay_ms=10")))
    };
    rows.extend((20..40).map(|row| url(&server, "b.test", &to(row))));
    rows.extend((40..60).map(|row| url(&server, "b.test", &format!("/row/{row}?delay_ms=50"))));
    rows.extend((60..66).map(|row| url(&server, "www.example.org", &format!("/row/{row}"))));
    let list = format!("@{}", directory.write("urls.txt", rows.join("\n")));
    for more in [&[][..], &["--ordered"]] {
        server.forget();
        fetch(&server, &[&["-K", &path, &list], more].concat()).check_code(0);
        let host = |name: &str| server.host(&format!("{name}:{}", server.addr().port()));
        assert_eq!(host("a.test").max_in_flight, 1);
        assert!((2..=5).contains(&host("b.test").max_in_flight), "{}", host("b.test").max_in_flight);
        assert!(host("www.example.org").max_arrivals_within(Duration::from_millis(350)) <= 3);
    }
    let ran = fetch(&server, &["-K", &path, "--dry-run", &list]);
    assert!(ran.stdout.contains("at least 1.0"), "{ran:?}");
}

#[test]
fn a_host_has_its_own_proxy_or_none() {
    let (server, directory) = (Server::start(), Directory::new());
    let [all, own] = [(); 2].map(|()| ProxyServer::start(ProxyRules::default()));
    let text = format!(
        "silent = true\nproxy = '{}'\nproxy-user = 'me:canary'\n[host.'127.0.0.1']\nproxy = '{}'\n[host.'localhost']\nproxy = ''\n",
        all.url("http"),
        own.url("http")
    );
    let path = file(&directory, &text);
    let check = |host: &str, expected: [usize; 2]| {
        let before = [&all, &own].map(|proxy| proxy.errands().len());
        let resolve = format!("localhost:{}:127.0.0.1", server.addr().port());
        let ran = run(&["-K", &path, "--retry", "0", "--resolve", &resolve, &url(&server, host, "/ok")]);
        let asked = [&all, &own].map(|proxy| proxy.errands().len());
        assert_eq!([asked[0] - before[0], asked[1] - before[1]], expected, "{host}: {ran:?}");
    };
    check("127.0.0.1", [0, 1]);
    check("localhost", [0, 0]);
    check("127.0.0.2", [1, 0]);
    // The password of the other proxy is not sent to it.
    assert!(!own.errands().iter().any(|errand| errand.has("proxy-authorization")));
    assert!(all.errands().iter().any(|errand| errand.has("proxy-authorization")));
}

#[test]
fn a_run_goes_on_with_the_same_headers_only() {
    let (server, directory) = (Server::start(), Directory::new());
    let list = format!("{}\n{}\n", url(&server, "a.test", "/status/500"), url(&server, "b.test", "/ok"));
    let list = format!("@{}", directory.write("urls.txt", list));
    let out = directory.path("out.ndjson");
    let go = |section: &str, begin: &str| {
        let path = file(&directory, &format!("silent = true\nretry = 0\n[host.'a.test']\n{section}\n"));
        fetch(&server, &["-K", &path, begin, "-o", &out, &list])
    };
    go("user = 'me:canary'\nheader = 'Accept: a/b'", "--resume").check_code(1);
    let state = directory.read("out.ndjson.run/job.json");
    assert!(!state.contains("canary") && state.contains("host a.test"), "{state}");
    go("user = 'me:canary'", "--retry-failed").check_refused(2, "host a.test");
    go("header = 'Accept: a/b'", "--retry-failed").check_refused(2, "host a.test");
    go("user = 'me:other'\nheader = 'Accept: a/b'\nrate = '9/s'\nparallel-max = 2", "--retry-failed")
        .check_code(1);
}

/// The example of the guide, with a server in the place of its hosts.
#[test]
fn the_example_of_the_guide_runs() {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/configuration.md"))
        .unwrap();
    let (_, rest) = guide.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let (server, directory) = (Server::start(), Directory::new());
    let path = file(&directory, example);
    let list = [url(&server, "api.example.org", "/ok"), url(&server, "www.example.org", "/ok")].join("\n");
    let list = format!("@{}", directory.write("urls.txt", list));
    let names = names(&server);
    let words = [&["-K", &path, "-o", "-", &list][..], &names.iter().map(String::as_str).collect::<Vec<_>>()];
    let ran = program::finish(program::command(&words.concat()).env("API_TOKEN", "canary"), b"");
    ran.check_code(0);
    assert_eq!(ran.records().len(), 2);
    let seen = server.seen();
    let of = |host: &str| seen.iter().find(|seen| seen.header("host").unwrap().starts_with(host)).unwrap();
    assert_eq!(of("api.example.org").header("authorization"), Some("Bearer canary"));
    assert_eq!(of("www.example.org").header("authorization"), None);
}

#[test]
fn columns_are_kept_as_asked() {
    let (server, directory) = (Server::start(), Directory::new());
    let list = format!("@{}", directory.write("urls.csv", format!("a,url,b\n1,{},2\n", server.url("/ok"))));
    for (words, expected) in [
        (&[][..], serde_json::json!({"a": "1", "b": "2"})),
        (&["--keep", "all"], serde_json::json!({"a": "1", "b": "2"})),
        (&["--keep", "b, c"], serde_json::json!({"b": "2"})),
        (&["--keep", "none"], serde_json::Value::Null),
    ] {
        let ran = run(&[words, &["-s", "-o", "-", &list]].concat());
        assert_eq!(ran.records()[0]["meta"], expected, "{words:?}");
    }
    run(&["--keep", "a,,b", &list]).check_refused(2, "with commas");
}

#[test]
fn parts_of_a_form_may_be_plain_text() {
    let server = Server::start();
    let words = ["-s", "--form-string", "a=@x;type=y", "-F", "b=1", "--form-string", "c=<z"];
    run(&[&words[..], &[&server.url("/echo")]].concat()).check_code(0);
    let seen = server.seen();
    let body = String::from_utf8_lossy(&seen[0].body).into_owned();
    let places = ["\"a\"\r\n\r\n@x;type=y\r\n", "\"b\"\r\n\r\n1\r\n", "\"c\"\r\n\r\n<z\r\n"]
        .map(|part| body.find(part));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{body}");
    run(&["--form-string", "x", &server.url("/")]).check_refused(2, "NAME=TEXT");
    run(&["--form-string", "a=b", "-d", "x", &server.url("/")]).check_refused(2, "cannot be used with");
}
