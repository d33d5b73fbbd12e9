//! Wrong command lines: a message of one line, exit code 2, nothing is fetched or written.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::process::Command;

use overlapped_testkit::Server;
use program::{Directory, command, run};

#[test]
fn flags_that_are_wrong_are_refused() {
    let url = "http://127.0.0.1:9/";
    for (words, text) in [
        (&[][..], "nothing to do"),
        (&["--frobnicate", url], "--frobnicate"),
        (&["--fial", url], "--fail"),
        (&["-k", url], "--insecure-host NAME"),
        (&["-j", "many", url], "--parallel-max"),
        (&["-m", "soon", url], "500ms"),
        (&["--retry", "-1", url], "--retry: `-1`: a whole number is wanted, from 0 to 65535"),
        (&["--retry", "70000", url], "a whole number is wanted, from 0 to 65535"),
        (
            &["-F", "a=b", "--data-urlencode", "c", url],
            "--form cannot be used with --data-urlencode: give one of them",
        ),
        (&["--rate", "5", url], "the unit is required"),
        (&["--max-filesize", "big", url], "64k"),
        (&["--fail=teapot", url], "500-599"),
        (&["-4", "-6", url], "cannot be used with"),
        (&["--progress", "loud", url], "auto, bar, plain, none"),
        (&["-X", "GET /", url], "is no method"),
        (&["-H", "no-colon", url], "Name: value"),
        (&["-b", "/nowhere/at/all", url], "/nowhere/at/all"),
        (&["-b", "Cargo.toml", url], "format of Netscape"),
        (&["-c", "/nowhere/at/all", url], "there is no directory /nowhere/at"),
        (&["-u", "me", url], "name:password"),
        (&["--resolve", "a:b", url], "example.org:443:192.0.2.1"),
        (&["-d", "@/nowhere/at/all", url], "/nowhere/at/all"),
        (&["--cacert", "/nowhere/at/all", url], "/nowhere/at/all"),
        (&["--speed-time", "1ms", url], "--speed-time"),
        (&["--window", "0", url], "--window"),
        (&["-o", "out.har.gz", url], "no output is of this kind"),
        (&["-o", "page.html", url, url], "DIR/"),
        (&["-o", "page.html", "-o", "out.ndjson", url], "-o NAME"),
        (&["-O", "-o", "page.html", "http://127.0.0.1:9/a"], "twice"),
        (&["-O", "@list"], "-O"),
        (&["-T", "f", "-d", "a", url], "cannot be used with"),
        (&["-o", "-", "-o", "-", url], "twice"),
        (&["--name", "{row}", url], "-o DIR/"),
        (&["--name", "{nonsense}", "-o", "out/", url], "--name"),
        (&["--no-body", url], "nothing to write"),
        (&["-G", "-d", "a=1", "@list"], "-G"),
        (&["@a.txt", "@b.csv"], "one format"),
        (&["@urls.txt.xz"], "unpack"),
        (&["@"], "@urls.txt"),
        (&["example.org"], "https://example.org"),
        (&["fetch", "nope"], "begins with https://"),
        (&["http://a b/"], "such as a blank"),
        (&["http://"], "no host"),
        (&["waterfall", "/dev/null/x"], "/dev/null/x"),
        (&["example.org:8080/a"], "https://example.org:8080/a"),
        (&["http://a/[1-"], "never closed"),
        (&["-", "-"], "- is given twice"),
        (&["-", "@-"], "- is given twice"),
        (&["--", "-x"], "behind `--`"),
        (&["127.0.0.1:8080/a"], "perhaps http://127.0.0.1:8080/a"),
        (&["localhost:8080"], "perhaps http://localhost:8080"),
        (&["[::1]:8080/a"], "perhaps http://[::1]:8080/a"),
        (&["--json", "{bad", url], "--json: this is no JSON"),
        (&["--json", "", "--json", "{\"a\":", url], "--json: this is no JSON"),
        (&["-o", "/nowhere/at/all/out.ndjson", url], "no directory /nowhere/at/all:"),
        (&["-o", "/nowhere/x", url], "no directory /nowhere:"),
        (&["-o", "/nowhere/x.CSV", url, url], "no directory /nowhere:"),
        (&["-D", "/nowhere/x", url], "-D /nowhere/x: there is no directory /nowhere:"),
        (&["-s", "--summary", "/nowhere/at/all.json", url], "no directory /nowhere/at:"),
        (&["--waterfall", "w.png", url], "SVG only"),
        (&["waterfall", "r.ndjson", "-o", "w.png"], "SVG only"),
        (&["waterfall", "r.CSV"], "a further -o F.ndjson"),
        (&["waterfall", "c.warc.gz"], "not from WARC"),
        (&["report", "C.WARC", "-o", "r.html"], "-o F.ndjson --no-body"),
        (&["@c.warc.gz"], "an archive is no list"),
        (&["@c.har"], "an archive is no list"),
        (&["-o", "x.warc.zst", url], "no output is of this kind"),
        (&["report", "r.ndjson", "-o", "r.txt"], "ends with .html"),
        (&["--report", "r.svg", url], "ends with .html"),
        (&["report", "r.ndjson"], "report results.ndjson -o report.html"),
        (&["-o", "x.json", url, url], "perhaps -o x.ndjson is meant"),
        (&["-o", "x.ndjson.bz2", url, url], "-o x.ndjson.bz2: no output is compressed as .bz2"),
        (&["-o", "x.parquet.gz", url, url], ".csv, .tsv (also with .gz or .zst behind it), .parquet"),
        (&["-o", "x.HAR.GZ", url], "no output is of this kind"),
        (&["@urls.txt.XZ"], "unpack"),
        (&["compare", "--scale", "100"], "--scale"),
        (&["compare", "--runs", "0"], "--runs"),
        (&["waterfall", "results.har"], "results.har"),
    ] {
        run(words).check_refused(2, text);
    }
}

#[test]
fn an_input_that_cannot_be_read_is_told_by_name() {
    run(&["@/nowhere/urls.txt"]).check_refused(2, "/nowhere/urls.txt");
    run(&["compare", "@/nowhere/urls.txt"]).check_refused(2, "/nowhere/urls.txt");
    run(&["waterfall", "/nowhere/results.ndjson"]).check_refused(2, "/nowhere/results.ndjson");
}

#[test]
fn nothing_is_written_when_a_setting_is_wrong() {
    let server = Server::start();
    let directory = Directory::new();
    let out = directory.path("out.ndjson");
    run(&["-o", &out, "--allow-address", "nonsense", &server.url("/ok")]).check_refused(2, "nonsense");
    assert!(directory.names().is_empty());
    assert_eq!(server.requests(), 0);
}

#[test]
fn help_and_version_are_data() {
    for words in [&["--help"][..], &["-h"], &["fetch", "--help"], &["compare", "--help"], &["--version"]] {
        let ran = run(words);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(ran.stdout.contains("overlapped"), "{words:?}");
    }
}

#[test]
fn a_file_that_is_there_is_not_taken_for_a_host() {
    let directory = Directory::new();
    for name in ["urls.txt", "urls", "my urls.txt", "urls[1].txt"] {
        directory.write(name, "http://127.0.0.1:9/\n");
        let output = command(&[name]).current_dir(directory.path("")).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{told}");
        assert!(told.contains(&format!("@{name}")), "{told}");
        assert!(!told.contains("https://"), "{told}");
    }
    run(&["compare", &directory.path("urls.txt")]).check_refused(2, "/urls.txt fetches");
    run(&["none.txt"]).check_refused(2, "there is no file none.txt");
    run(&["fetch", "help"]).check_refused(2, "goes first");
}

#[test]
fn the_last_line_is_a_command_that_fetches_the_failed_rows_again() {
    let server = Server::start();
    let directory = Directory::new();
    let list = [server.url("/ok"), server.url("/status/404"), server.url("/status/410")].join("\n");
    let list = format!("@{}", directory.write("my urls.txt", list));
    for output in [directory.path("out.ndjson"), directory.path("it's/")] {
        server.forget();
        let ran = run(&["-o", &output, &list]);
        ran.check_code(1);
        let (_, last) = ran.stderr.split_once("\n  2 rows failed").unwrap();
        assert_eq!(last.contains("-o F.ndjson"), output.ends_with('/'), "{last}");
        assert_eq!(server.requests(), 3);
        // Behind what is told, or on the next line: it depends on the length of the path.
        let (_, told) = last.split_once("again:").unwrap();
        let told = told.trim().strip_prefix("overlapped ").unwrap();
        let shell = format!("{} {told}", env!("CARGO_BIN_EXE_overlapped"));
        let again = Command::new("sh").args(["-c", &shell]).output().unwrap();
        assert_eq!(again.status.code(), Some(1), "{shell}: {again:?}");
        assert_eq!((server.requests(), server.count("/ok")), (5, 1), "{shell}");
    }
}

/// The last line offered `--retry-failed`, which cannot help a row that is no URL.
#[test]
fn bad_rows_are_named_and_not_offered_again() {
    let server = Server::start();
    let directory = Directory::new();
    let bad = "1 row of the list cannot be fetched (row 1, counted from 0): correct it, and fetch it as a list of its own";
    for (other, is_retried) in [("/ok", false), ("/status/404", true)] {
        let out = directory.path(if is_retried { "mixed.ndjson" } else { "bad.ndjson" });
        let list = format!("@{}", directory.write("urls.txt", format!("{}\nnowhere\n", server.url(other))));
        let ran = run(&["-o", &out, &list]);
        ran.check_code(1);
        assert!(ran.stderr.ends_with(&format!("  {bad}\n")), "{ran:?}");
        assert!(ran.stderr.contains("\n  bad row     1: "), "{ran:?}");
        assert_eq!(ran.stderr.contains("1 row failed; to fetch it again:"), is_retried, "{ran:?}");
        assert_eq!(ran.stderr.contains("--retry-failed"), is_retried, "{ran:?}");
    }
}

#[test]
fn after_a_resumption_the_rows_of_all_runs_are_counted_too() {
    let server = Server::start();
    let directory = Directory::new();
    let list = [server.url("/ok"), server.url("/status/404"), server.url("/status/410")].join("\n");
    let (list, out) = (format!("@{}", directory.write("urls.txt", list)), directory.path("out.ndjson"));
    let ran = run(&["-o", &out, &list]);
    assert!(!ran.stderr.contains("in all"), "{ran:?}");
    let ran = run(&["-o", &out, &list, "--retry-failed"]);
    assert!(ran.stderr.contains("\n  rows        0 ok · 4xx 2\n"), "{ran:?}");
    assert!(
        ran.stderr.contains("\n  in all      1 ok · failed 2: 3 rows done, 1 of them before\n"),
        "{ran:?}"
    );
}

/// It was lost at the end of a line of several hundred columns.
#[test]
fn a_long_command_has_a_line_of_its_own_or_is_not_repeated() {
    let server = Server::start();
    let directory = Directory::new();
    let url = server.url("/status/404");
    for (urls, expected) in [(8, "  overlapped "), (40, "  the same command with --retry-failed")] {
        let out = directory.path(&format!("{urls}.ndjson"));
        let mut words = vec!["-o", &*out];
        words.extend(vec![&*url; urls]);
        let ran = run(&words);
        ran.check_code(1);
        let last = ran.stderr.lines().last().unwrap();
        assert!(last.contains(expected), "{last}");
        assert_eq!(last.starts_with("  overlapped "), urls == 8, "{last}");
        assert_eq!((last.contains("rows failed"), last.len() > 500), (urls == 40, false), "{last}");
    }
}
