//! Where records and bodies go.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;

use overlapped_fetch::Unpack;
use overlapped_testkit::{Server, row_of};
use program::{Directory, records, run, run_with};

#[test]
fn one_url_gives_its_body() {
    let server = Server::start();
    let ran = run(&[&server.url("/row/17")]);
    assert_eq!((ran.code, ran.stdout.as_bytes(), ran.stderr.as_str()), (Some(0), row_of(17).as_slice(), ""));
}

#[test]
fn one_head_is_printed() {
    let server = Server::start();
    let ran = run(&["-I", &server.url("/row/17")]);
    assert!(ran.stdout.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"), "{ran:?}");
    assert!(ran.stdout.ends_with("\r\n\r\n"), "{ran:?}");
}

#[test]
fn more_urls_give_a_record_each() {
    let server = Server::start();
    let pattern = format!("{}[1-3]", server.url("/row/"));
    let ran = run(&["--ordered", &pattern, &server.url("/row/9")]);
    ran.check_code(0);
    let urls: Vec<_> =
        ran.records().iter().map(|record| record["url"].as_str().unwrap().to_owned()).collect();
    assert_eq!(urls, [1, 2, 3, 9].map(|row| server.url(&format!("/row/{row}"))));
    assert!(ran.stderr.contains("4 rows"), "{}", ran.stderr);
    assert_eq!(server.count("/row/"), 4);
}

#[test]
fn a_list_is_read_from_a_file_or_standard_input() {
    let server = Server::start();
    let list =
        format!("# a comment\n{}\n\nftp://example.org/\n{}", server.url("/row/1"), server.url("/row/2"));
    let directory = Directory::new();
    let path = directory.write("urls.txt", &list);
    for ran in [run(&["-s", &format!("@{path}")]), run_with(&["-s", "-"], list.as_bytes())] {
        ran.check_code(1);
        let records = ran.records();
        assert_eq!(records.len(), 3);
        let bad: Vec<_> = records.iter().filter(|record| record["ok"] == false).collect();
        assert_eq!((bad.len(), bad[0]["error"].as_str()), (1, Some("policy.scheme")));
    }
}

#[test]
fn urls_and_lists_join() {
    let server = Server::start();
    let directory = Directory::new();
    let url = |row| server.url(&format!("/row/{row}"));
    let (first, second) = (directory.write("1.txt", url(1)), directory.write("2.txt", url(2) + "\n"));
    let words = ["-s", "--ordered", &format!("@{first}"), &url(3), "-", &format!("@{second}")];
    let ran = run_with(&words, url(4).as_bytes());
    let urls: Vec<_> =
        ran.records().iter().map(|record| record["url"].as_str().unwrap().to_owned()).collect();
    assert_eq!(urls, [1, 3, 4, 2].map(url));
}

#[test]
fn a_column_of_a_table_holds_the_urls() {
    let server = Server::start();
    let list = format!("name,link\na,{}\nb,{}\n", server.url("/row/1"), server.url("/row/2"));
    let ran = run_with(&["-s", "--input-format", "csv", "--url-col", "link", "-"], list.as_bytes());
    ran.check_code(0);
    assert_eq!(ran.records().len(), 2);
    let ran = run_with(&["-s", "--input-format", "csv", "-"], list.as_bytes());
    ran.check_refused(2, "url");
}

#[test]
fn skip_and_limit_choose_rows() {
    let server = Server::start();
    let list: String = (0..10).map(|row| server.url(&format!("/row/{row}\n"))).collect();
    let ran = run_with(&["-s", "--ordered", "--skip", "3", "--limit", "2", "-"], list.as_bytes());
    let rows: Vec<_> = ran.records().iter().map(|record| record["row"].as_u64().unwrap()).collect();
    assert_eq!((rows, server.count("/row/")), (vec![3, 4], 2));
}

#[test]
fn the_suffix_tells_the_kind() {
    let server = Server::start();
    let directory = Directory::new();
    let (lines, table, pages) =
        (directory.path("a.ndjson"), directory.path("a.csv"), directory.path("pages/"));
    let words = ["-o", &lines, "-o", &table, "-o", &pages, "--name", "{stem}.txt"];
    let urls = [server.url("/row/1"), server.url("/row/2")];
    let ran = run(&[&words[..], &urls.each_ref().map(String::as_str)].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert_eq!(directory.names(), ["a.csv", "a.ndjson", "pages", "pages.run"]);
    assert_eq!(directory.read("a.csv").lines().count(), 3);
    assert_eq!(directory.read("pages/1.txt").as_bytes(), row_of(1).as_slice());
    let bodies = records(&directory.read("a.ndjson"));
    assert!(
        bodies.iter().all(|record| record["body_path"].as_str().unwrap().starts_with(&pages)),
        "{bodies:?}"
    );
}

#[test]
fn an_output_that_exists_is_not_lost() {
    let server = Server::start();
    let directory = Directory::new();
    let out = directory.write("out.ndjson", "precious\n");
    run(&["-o", &out, &server.url("/row/1")]).check_refused(2, "--overwrite");
    assert_eq!((directory.read("out.ndjson").as_str(), server.requests()), ("precious\n", 0));
    run(&["--overwrite", "-o", &out, &server.url("/row/1")]).check_code(0);
    assert_eq!(records(&directory.read("out.ndjson")).len(), 1);
}

/// It was followed, and so a list could write wherever a link led.
#[test]
fn a_link_in_the_output_directory_is_not_followed() {
    let server = Server::start();
    for durability in ["none", "group"] {
        let directory = Directory::new();
        for name in ["pages", "elsewhere"] {
            fs::create_dir(directory.path(name)).unwrap();
        }
        symlink("../elsewhere", directory.path("pages/a")).unwrap();
        let list = format!(r#"{{"url":"{}","out":"a/b"}}"#, server.url("/row/7"));
        let list = directory.write("list.ndjson", list);
        let (pages, out) = (directory.path("pages/"), directory.path("out.ndjson"));
        run(&["-s", "--durability", durability, "-o", &pages, "-o", &out, &format!("@{list}")]).check_code(0);
        assert_eq!(fs::read_dir(directory.path("elsewhere")).unwrap().count(), 0);
        let records = records(&directory.read("out.ndjson"));
        let path = records[0]["body_path"].as_str().unwrap();
        assert!(path.ends_with("pages/000000000.txt"), "{path}");
        assert_eq!(fs::read(path).unwrap(), row_of(7));
    }
}

#[test]
fn bodies_can_be_left_out() {
    let server = Server::start();
    let ran = run(&["--no-body", "-o", "-", &server.url("/row/1")]);
    assert!(ran.records()[0]["body"].is_null(), "{ran:?}");
}

#[test]
fn the_summary_is_told_to_machines() {
    let server = Server::start();
    let directory = Directory::new();
    let path = directory.path("run.json");
    run(&["--summary", &path, &server.url("/row/1"), &server.url("/status/404")]).check_code(1);
    let summary: serde_json::Value = serde_json::from_str(&directory.read("run.json")).unwrap();
    assert_eq!((summary["rows_done"].as_u64(), summary["ok"].as_u64()), (Some(2), Some(1)), "{summary}");
    assert_eq!((&summary["by_status"]["404"], &summary["finished"]), (&1.into(), &true.into()), "{summary}");
    assert!(summary["held_by"].is_null() || summary["held_by"].is_string());
    assert_eq!(directory.names(), ["run.json"]);
}

#[test]
fn verbose_tells_every_row() {
    let server = Server::start();
    let ran = run(&["-v", &server.url("/row/1"), &server.url("/status/404")]);
    assert!(ran.stderr.lines().any(|line| line.starts_with("200  ") && line.ends_with("/row/1")), "{ran:?}");
    assert!(ran.stderr.lines().any(|line| line.starts_with("404  ")), "{ran:?}");
}

#[test]
fn csv_for_spreadsheets_holds_no_formula() {
    let server = Server::start();
    let directory = Directory::new();
    let list = format!("id,url\n=1+1,{}\n", server.url("/ok"));
    let list = format!("@{}", directory.write("urls.csv", list));
    for (words, cell) in [(&["--csv-safe"][..], ",\"'=1+1\","), (&[], ",=1+1,")] {
        let out = directory.path(&format!("{}.csv", words.len()));
        run(&[words, &["-s", "-o", &out, &list]].concat()).check_code(0);
        assert!(directory.read(&format!("{}.csv", words.len())).contains(cell));
    }
    run(&["--csv-safe", "-o", &directory.path("x.ndjson"), &list]).check_refused(2, "-o F.csv or F.tsv");
}

/// It was accepted, and the files of rows were beside those of the state.
#[test]
fn an_output_where_the_run_keeps_its_state_is_refused() {
    let server = Server::start();
    let directory = Directory::new();
    let list = format!("@{}", directory.write("urls.txt", server.url("/ok\n")));
    let out = directory.path("y.ndjson");
    symlink(directory.path("."), directory.path("link")).unwrap();
    let others = [
        "y.ndjson.run/",
        "./y.ndjson.run/",
        "link//y.ndjson.run/",
        "y.ndjson.run/deep/",
        "y.ndjson.run/x.csv",
    ];
    for other in others {
        let other = directory.path(other);
        let refused = run(&["-o", &out, "-o", &other, &list]);
        assert_eq!(refused.code, Some(2), "{other}: {refused:?}");
    }
    run(&["-o", &out, "-o", &directory.path("y.ndjson.run/"), &list])
        .check_refused(2, "a run keeps its state");
    assert_eq!((directory.names(), server.requests()), (vec!["link".to_owned(), "urls.txt".to_owned()], 0));
}

/// What a program of the system says is in a file.
fn told_by(program: &str, path: &str) -> String {
    let told = std::process::Command::new(program).args(["-dc", path]).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).unwrap()
}

#[test]
fn lines_may_be_compressed() {
    let (server, directory) = (Server::start(), Directory::new());
    let list: String = (0..300).map(|row| server.url(&format!("/row/{row}\n"))).collect();
    let list = format!("@{}", directory.write("urls.txt", list));
    let names = ["a.ndjson", "a.csv", "a.tsv"];
    let packed = ["b.ndjson.gz", "b.csv.zst", "b.tsv.GZ", "c.jsonl.zst"];
    let outputs: Vec<_> =
        names.iter().chain(&packed).flat_map(|name| ["-o".to_owned(), directory.path(name)]).collect();
    for more in
        [&["--overwrite"][..], &["--overwrite", "--durability", "none"], &["--overwrite", "--ordered"]]
    {
        let words: Vec<_> = outputs.iter().map(String::as_str).chain(more.iter().copied()).collect();
        run(&[&["-s", &list], &words[..]].concat()).check_code(0);
        for (name, packed) in [(0, "b.ndjson.gz"), (1, "b.csv.zst"), (2, "b.tsv.GZ"), (0, "c.jsonl.zst")] {
            let mut text = String::new();
            let file = fs::File::open(directory.path(packed)).unwrap();
            Unpack::new(Box::new(file), "").read_to_string(&mut text).unwrap();
            assert_eq!(text, directory.read(names[name]), "{packed} {more:?}");
        }
        assert_eq!(told_by("gzip", &directory.path("b.ndjson.gz")), directory.read("a.ndjson"));
    }
    // As a list, and as results.
    for name in ["a.tsv", "b.ndjson.gz", "b.csv.zst", "b.tsv.GZ"] {
        let ran = run(&["-s", "--ordered", &format!("@{}", directory.path(name))]);
        ran.check_code(0);
        assert_eq!(ran.records().len(), 300, "{name}");
    }
    for name in ["b.ndjson.gz", "c.jsonl.zst"] {
        let drawn = run(&["waterfall", &directory.path(name)]);
        drawn.check_code(0);
        assert_eq!(drawn.stdout, run(&["waterfall", &directory.path("a.ndjson")]).stdout, "{name}");
        run(&["report", &directory.path(name), "-o", &directory.path("r.html")]).check_code(0);
    }
    run(&["report", &directory.path("b.csv.zst"), "-o", &directory.path("r.html")])
        .check_refused(2, "a further -o F.ndjson");
    // Nothing is left to do; the rows are read from the outputs themselves.
    for name in ["a.tsv", "b.ndjson.gz", "b.csv.zst", "b.tsv.GZ"] {
        let ran = run(&["--resume", "-o", &directory.path(name), &list]);
        ran.check_code(0);
        assert!(ran.stderr.contains("nothing"), "{name}: {ran:?}");
    }
}

/// An empty file is no gzip file.
#[test]
fn a_compressed_output_without_records_is_valid() {
    let directory = Directory::new();
    let list = format!("@{}", directory.write("urls.txt", ""));
    for durability in ["group", "none"] {
        let out = directory.path(&format!("{durability}.ndjson.gz"));
        run(&["-s", "--durability", durability, "-o", &out, &list]).check_code(0);
        assert_eq!(told_by("gzip", &out), "");
    }
}

/// A cell would end early: there are no quotes in TSV.
#[test]
fn a_table_separated_by_tabs_has_as_many_cells_as_columns() {
    let (server, directory) = (Server::start(), Directory::new());
    let row = |id: &str, target: &str| {
        format!("{{\"url\":\"{}\",\"id\":\"{id}\",\"x\":\"a\\tb\"}}\n", server.url(target))
    };
    let list = [
        row("a\\tb\\nc\\rd\\\"", "/row/1"),
        row("=1+1", "/html"),
        row("", "/text/9000000"),
        row("d", "/bytes/300000"),
    ];
    let list = format!("@{}", directory.write("urls.ndjson", list.concat()));
    let out = directory.path("out.tsv");
    run(&["-s", "--ordered", "--csv-safe", "-o", &out, &list]);
    let text = directory.read("out.tsv");
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{}", &text[..2_000]);
    let column = |name: &str| lines[0].iter().position(|cell| *cell == name).unwrap();
    let cell = |line: usize, name| lines[line][column(name)];
    assert_eq!(["id", "meta"].map(|name| cell(1, name)), ["a b c d\"", "{\"x\":\"a\\tb\"}"]);
    assert_eq!(cell(2, "id"), "'=1+1");
    assert!(lines[1..].iter().all(|line| line[column("body")].is_empty()));
    assert!(cell(3, "body_base64").len() == 12_000_000 && cell(4, "body_base64").len() == 400_000);
}
