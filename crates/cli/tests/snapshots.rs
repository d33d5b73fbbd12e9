//! What the program says, word for word: help, messages about wrong command lines, pictures and reports of fixed input.
//!
//! The texts are in `snapshots/`. After a change that is wanted, `OVERLAPPED_SNAPSHOTS=renew cargo test --test snapshots` writes
//! them anew, and the difference is read in the commit.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use overlapped_testkit::Server;
use program::{Directory, Ran, command, finish};

/// Compares a text with the one that is kept.
#[track_caller]
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var("OVERLAPPED_SNAPSHOTS").is_ok_and(|how| how == "renew") {
        fs::write(&path, text).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = kept.lines().zip(text.lines()).enumerate();
    let differs = lines.find(|(_, (kept, now))| kept != now);
    if let Some((at, (kept, now))) = differs {
        panic!(
            "{name}, line {}:\n  kept {kept}\n  now  {now}\n(OVERLAPPED_SNAPSHOTS=renew writes it anew)",
            at + 1
        );
    }
    assert_eq!(kept.lines().count(), text.lines().count(), "{name}: lines\n{text}");
    assert_eq!(kept, text, "{name}");
}

/// The program in a directory, where lines have 80 characters.
fn ran(directory: &Directory, words: &[&str], input: &[u8]) -> Ran {
    finish(command(words).env("COLUMNS", "80").current_dir(directory.path("")), input)
}

/// What was typed, and all that came of it.
fn told(words: &[&str], ran: &Ran) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    let quoted = |word: &&str| match !word.is_empty() && word.chars().all(is_plain) {
        true => (*word).to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    let words: Vec<_> = words.iter().map(quoted).collect();
    let code = ran.code.unwrap();
    format!("$ overlapped {}\n{}{}exit code {code}\n\n", words.join(" "), ran.stdout, ran.stderr)
}

const COMMANDS: [&str; 9] =
    ["fetch", "compare", "waterfall", "report", "shard", "verify", "journal", "completions", "man"];

#[test]
fn help() {
    let directory = Directory::new();
    let text = |words: &[&str]| {
        let ran = ran(&directory, words, b"");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{words:?}: 80 columns");
        ran.stdout
    };
    check("help.txt", &text(&["--help"]));
    check("help-short.txt", &text(&["fetch", "-h"]));
    for name in COMMANDS {
        check(&format!("help-{name}.txt"), &text(&[name, "--help"]));
    }
}

#[test]
fn errors() {
    const URL: &str = "http://127.0.0.1:9/";
    let directory = Directory::new();
    directory.write("urls.txt", "http://127.0.0.1:9/1\nhttp://127.0.0.1:9/2\n");
    directory.write("urls.csv", "name,link\na,http://127.0.0.1:9/\n");
    directory.write("out.ndjson", "of another program\n");
    directory.write("settings.toml", "paralel-max = 5\n");
    let wrong: &[&[&str]] = &[
        &[],
        &["urls.txt"],
        &["@none.txt"],
        &["localhost:8080/a"],
        &["example.org/[1-"],
        &["ftp://example.org/"],
        &["http://a b/"],
        &["-", "@-"],
        &["fecth", URL],
        &["comapre"],
        &["help", "nothing"],
        &["--fial", URL],
        &["--concurrency", "5", URL],
        &["-k", URL],
        &["-q", URL],
        &["-o"],
        &["-j", "many", URL],
        &["-j", "0", URL],
        &["-m", "soon", URL],
        &["--retry", "-1", URL],
        &["--rate", "5", URL],
        &["--max-filesize", "big", URL],
        &["--fail=teapot", URL],
        &["--max-errors", "150%", URL],
        &["--durability", "all", URL],
        &["--polite=1", URL],
        &["-4", "-6", URL],
        &["--resume", "--overwrite", "@urls.txt"],
        &["-X", "GET /", URL],
        &["-H", "no-colon", URL],
        &["-u", "me", URL],
        &["-d", "@none.json", URL],
        &["--json", "{bad", URL],
        &["--resolve", "a:b", URL],
        &["--cacert", "none.pem", URL],
        &["-K", "settings.toml", URL],
        &["-w", "%{nonsense}", URL],
        &["-J", URL],
        &["-O", URL],
        &["-o", "page.html", URL, URL],
        &["-o", "x.json", URL, URL],
        &["-o", "none/out.ndjson", URL],
        &["-o", "out.har.gz", URL],
        &["-o", "out.ndjson", "@urls.txt"],
        &["--resume", "@urls.txt"],
        &["--csv-safe", "-o", "out2.ndjson", URL],
        &["--name", "{nonsense}", "-o", "pages/", "@urls.txt"],
        &["--waterfall", "run.png", URL],
        &["-o", "crawl.warc.gz", "-o", "rows.ndjson", "@urls.txt"],
        &["--shard", "5/4", "@urls.txt"],
        &["@urls.csv"],
        &["--url-col", "Link", "@urls.csv"],
        &["@crawl.warc.gz"],
        &["waterfall"],
        &["waterfall", "none.ndjson"],
        &["waterfall", "out.ndjson"],
        &["report", "results.ndjson"],
        &["shard", "urls.txt"],
        &["verify", "results/"],
        &["journal", "verify", "none.run"],
        &["completions", "ksh"],
    ];
    let mut text = String::new();
    for words in wrong {
        let ran = ran(&directory, words, b"");
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(2), 1), "{words:?}: {ran:?}");
        text += &told(words, &ran);
    }
    check("errors.txt", &text);
    assert_eq!(directory.names(), ["out.ndjson", "settings.toml", "urls.csv", "urls.txt"]);
}

/// Results as `fetch` writes them: hosts, redirects, failures, and rows that wait.
fn results() -> String {
    let mut text = String::new();
    for row in 0..14_u32 {
        let start_ms = row * 35;
        let host = ["www.example.org", "api.example.org", "slow.example.com"][row as usize % 3];
        let (wait, receive) = (40 + row * 7 % 90, 5 + row * 13 % 40);
        let (status, error, attempts) = match row {
            4 => ("404", "\"status\"", 1),
            9 => ("null", "\"timeout.total\"", 3),
            12 => ("null", "\"connect.refused\"", 1),
            _ => ("200", "null", 1),
        };
        let (ok, first) = (error == "null", row < 3);
        let (dns, connect, tls) = if first { ("3.0", "12.5", "21.25") } else { ("null", "null", "null") };
        let total = f64::from(wait + receive) + if first { 36.75 } else { 0.0 };
        let _ = writeln!(
            text,
            "{{\"row\":{row},\"url\":\"https://{host}/{row}\",\"host\":\"{host}\",\"status\":{status},\"ok\":{ok},\"error\":{error},\
             \"attempts\":{attempts},\"redirects\":0,\"bytes\":{},\"wire_bytes\":{},\"started\":\"2026-01-31T23:59:59.{start_ms:03}000Z\",\
             \"blocked_ms\":{}.5,\"dns_ms\":{dns},\"connect_ms\":{connect},\"tls_ms\":{tls},\"send_ms\":0.25,\"wait_ms\":{wait}.0,\
             \"receive_ms\":{receive}.0,\"total_ms\":{total},\"elapsed_ms\":{}}}",
            row * 100,
            row * 60,
            row % 4,
            total + 1.0,
        );
    }
    text
}

#[test]
fn waterfalls() {
    let directory = Directory::new();
    directory.write("results.ndjson", results());
    for width in ["40", "80", "120"] {
        let ran = ran(&directory, &["waterfall", "results.ndjson", "--width", width], b"");
        ran.check_code(0);
        check(&format!("waterfall-{width}.txt"), &ran.stdout);
    }
    ran(&directory, &["waterfall", "results.ndjson", "-o", "run.svg"], b"").check_code(0);
    check("waterfall.svg", &directory.read("run.svg"));
}

/// The parts of a page in their order, without its style and its script: a line for each element, with its attributes and text.
fn outline(page: &str) -> String {
    let mut text = String::new();
    let mut hidden = "";
    for part in page.split('<').skip(1) {
        let is_end = part.strip_prefix('/').is_some_and(|part| part.starts_with(hidden));
        if !hidden.is_empty() && !is_end {
            continue;
        }
        let (tag, content) = part.split_once('>').unwrap();
        if !tag.starts_with('/') {
            let _ = write!(text, "<{tag}>");
        }
        hidden =
            ["style", "script"].into_iter().find(|name| tag.split(' ').next() == Some(name)).unwrap_or("");
        let content = if hidden.is_empty() { content.trim() } else { "…" };
        if !content.is_empty() || !tag.starts_with('/') {
            text.extend([content, "\n"]);
        }
    }
    text
}

/// The elements of a page about a run, and the figures in it, a member a line.
#[test]
fn a_report() {
    let directory = Directory::new();
    directory.write("results.ndjson", results());
    ran(&directory, &["report", "results.ndjson", "-o", "run.html"], b"").check_code(0);
    let page = directory.read("run.html");
    let (_, figures) = page.split_once(" id=\"figures\">").unwrap();
    let figures: serde_json::Value =
        serde_json::from_str(figures.split_once("</script>").unwrap().0).unwrap();
    let mut text = outline(&page);
    // A row, a host or a phase a line, and plain lists of numbers as they are.
    let lines_if = |value: &serde_json::Value, are_long: fn(&serde_json::Value) -> bool| {
        value.as_array().filter(|list| list.iter().any(are_long)).map(|list| lines(list))
    };
    for (name, value) in figures.as_object().unwrap() {
        let value = if let Some(members) = value.as_object() {
            let member = |(name, value): (&String, &serde_json::Value)| {
                let lines = lines_if(value, |item| item.as_array().is_some_and(|item| item.len() > 2));
                format!("\n  {name}:{}", lines.unwrap_or_else(|| format!(" {value}")))
            };
            members.iter().map(member).collect()
        } else {
            lines_if(value, serde_json::Value::is_array).unwrap_or_else(|| format!(" {value}"))
        };
        let _ = writeln!(text, "{name}:{value}");
    }
    check("report.txt", &text);
}

fn lines(list: &[serde_json::Value]) -> String {
    list.iter().map(|item| format!("\n    {item}")).collect()
}

/// Without what differs from run to run: times, rates and the port of the server.
fn masked(text: &str, server: &Server) -> String {
    const UNITS: [&str; 5] = ["ms", "s", "B/s", "kB/s", "MB/s"];
    let is_number = |word: &str| {
        let digits = word.trim_start_matches('(');
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',')
    };
    let line = |line: &str| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for at in 0..words.len() {
            let unit = words[at].trim_end_matches([')', ',', ';']).to_owned();
            if at > 0 && UNITS.contains(&&*unit) && is_number(&words[at - 1]) {
                let bracket = if words[at - 1].starts_with('(') { "(" } else { "" };
                words[at - 1] = format!("{bracket}N");
                words[at] = words[at].replacen(&unit, if unit.contains('/') { "B/s" } else { "s" }, 1);
            } else if unit.starts_with('(') && unit.strip_suffix("/s").is_some_and(is_number) {
                words[at] = words[at].replacen(&unit, "(N/s", 1);
            }
        }
        words.join(" ")
    };
    let text = text.replace(&format!(":{}", server.addr().port()), ":PORT");
    text.lines().map(|of| line(of) + "\n").collect()
}

#[test]
fn a_summary_and_a_dry_run() {
    let server = Server::start();
    let directory = Directory::new();
    let mut list: String = (0..20).map(|row| server.url(&format!("/row/{row}")) + "\n").collect();
    list += &format!("{}\n{}\nno url\n", server.url("/status/404"), server.url("/redirect/2"));
    directory.write("urls.txt", list);
    let words = ["--dry-run", "--rate-host", "2/s", "@urls.txt"];
    check("dry-run.txt", &masked(&told(&words, &ran(&directory, &words, b"")), &server));
    let words = ["-j", "1", "--retry", "0", "--progress", "none", "-o", "results.ndjson", "@urls.txt"];
    check("summary.txt", &masked(&told(&words, &ran(&directory, &words, b"")), &server));
}
