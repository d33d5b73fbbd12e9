//! Lists in Parquet and in Arrow's file format. That tables of other programs are read is tested in
//! `crates/python/tests/test_table_lists.py`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use overlapped_testkit::Server;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::properties::WriterProperties;
use program::{Directory, finish, killed_after, run, run_with};

type Columns = Vec<(&'static str, ArrayRef)>;

/// Writes a table with row groups of so many rows, and returns the word that names it as a list.
fn table(directory: &Directory, name: &str, columns: Columns, group: usize) -> String {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let path = directory.path(name);
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    format!("@{path}")
}

fn texts(texts: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from(texts.into_iter().collect::<Vec<_>>()))
}

fn urls(server: &Server, rows: u64) -> ArrayRef {
    texts((0..rows).map(|row| server.url(&format!("/row/{row}"))))
}

#[test]
fn columns_are_those_of_any_list() {
    let server = Server::start();
    let directory = Directory::new();
    let columns: Columns = vec![
        ("size", Arc::new(Int64Array::from(vec![Some(7), None, Some(9)]))),
        ("url", texts([server.url("/row/1"), server.url("/echo"), "no url".to_owned()])),
        ("id", Arc::new(Int64Array::from(vec![10, 11, 12]))),
        ("body", Arc::new(BinaryArray::from(vec![None, Some(&b"\xffsent"[..]), None]))),
        ("headers", Arc::new(StringArray::from(vec![None, Some("{\"X-A\":\n\"b\"}"), None]))),
        ("timeout_s", Arc::new(Float64Array::from(vec![None, Some(20.0), None]))),
        ("new", Arc::new(BooleanArray::from(vec![true, false, true]))),
    ];
    let list = table(&directory, "urls.parquet", columns, 100);
    let without_at = list.trim_start_matches('@');
    for word in [&*list, without_at] {
        let ran = run(&["-s", "--ordered", "-o", "-", word]);
        ran.check_code(1);
        let records = ran.records();
        assert_eq!(records.len(), 3, "{ran:?}");
        let of = |name: &str| records.iter().map(|record| record[name].to_string()).collect::<Vec<_>>();
        assert_eq!(of("id"), ["\"10\"", "\"11\"", "\"12\""]);
        assert_eq!(of("error"), ["null", "null", "\"input.url\""]);
        assert_eq!(of("method"), ["\"GET\"", "\"POST\"", "\"GET\""]);
        assert_eq!(
            of("meta"),
            [r#"{"size":7,"new":true}"#, r#"{"size":null,"new":false}"#, r#"{"size":9,"new":true}"#]
        );
        let seen = server.seen();
        let last = &seen.iter().rfind(|seen| seen.request.path() == "/echo").unwrap().request;
        assert_eq!((&last.body[..], last.header("x-a")), (&b"\xffsent"[..], Some("b")));
    }
}

#[test]
fn a_part_of_a_table_is_fetched() {
    let server = Server::start();
    let directory = Directory::new();
    let list = table(&directory, "urls.parquet", vec![("link", urls(&server, 5_000))], 700);
    let rows = |words: &[&str]| {
        let ran = run(&[&["-s", "--no-body", "--url-col", "link", "-o", "-"], words, &[&*list]].concat());
        ran.check_code(0);
        let records = ran.records();
        let each = records.iter().map(|record| {
            let row = record["row"].as_u64().unwrap();
            assert!(record["url"].as_str().unwrap().ends_with(&format!("/row/{row}")));
            row
        });
        let mut rows: Vec<_> = each.collect();
        rows.sort_unstable();
        rows
    };
    assert!(rows(&["--skip", "1500", "--limit", "900"]).into_iter().eq(1_500..2_400));
    assert!(rows(&["--skip", "4999"]).into_iter().eq(4_999..5_000));
    assert!(rows(&["--skip", "6000"]).is_empty());
    let mut parts = [rows(&["--shard", "1/2"]), rows(&["--shard", "2/2"])].concat();
    parts.sort_unstable();
    assert!(parts.into_iter().eq(0..5_000));
}

/// Rows of the records, and the URL that was asked for.
fn recorded(text: &str) -> BTreeMap<u64, String> {
    let mut rows = BTreeMap::new();
    for record in program::records(text) {
        let url = record["url"].as_str().unwrap().to_owned();
        assert_eq!(rows.insert(record["row"].as_u64().unwrap(), url), None, "{record}");
    }
    rows
}

#[test]
fn a_killed_run_resumes_in_a_table() {
    const ROWS: u64 = 900;
    let server = Server::start();
    let mut resumed = 0;
    for after in [1, 150, 400, 700] {
        let directory = Directory::new();
        let pages = texts((0..ROWS).map(|row| server.url(&format!("/row/{row}?delay_ms=2"))));
        let list = table(&directory, "urls.parquet", vec![("url", pages)], 100);
        let path = directory.path("r.ndjson");
        let words = ["-s", "-j", "8", "--durability", "each", "-o", &path, &list];
        let seen = server.count("/row/");
        killed_after(&words, &server, after);
        resumed += u64::from(directory.names().contains(&"r.ndjson.run".to_owned()));
        run(&[&words[..], &["--resume"]].concat()).check_code(0);
        let rows = recorded(&directory.read("r.ndjson"));
        assert!(rows.keys().copied().eq(0..ROWS));
        assert!(rows.iter().all(|(row, url)| url.contains(&format!("/row/{row}?"))));
        let asked = server.count("/row/") - seen;
        assert!(asked <= ROWS + 64, "{asked} requests");
    }
    assert!(resumed > 0, "no run was killed before its end");
}

#[test]
fn failed_rows_of_a_table_are_fetched_again() {
    let server = Server::start();
    let directory = Directory::new();
    let page =
        |row: u64| if row % 100 == 7 { format!("/status/404?row={row}") } else { format!("/row/{row}") };
    let list = table(
        &directory,
        "urls.parquet",
        vec![("url", texts((0..500).map(|row| server.url(&page(row)))))],
        60,
    );
    let path = directory.path("r.parquet");
    let words = ["-s", "--retry", "0", "-o", &path, &list];
    run(&words).check_code(1);
    assert_eq!(server.requests(), 500);
    run(&[&words[..], &["--retry-failed"]].concat()).check_code(1);
    assert_eq!((server.requests(), server.count("/status/404")), (505, 10));
    // And the table of results is a list of which nothing but these is left.
    run(&[&words[..], &["--resume"]].concat()).check_code(1);
    assert_eq!(server.requests(), 505);
}

#[test]
fn another_table_is_not_resumed() {
    let server = Server::start();
    let directory = Directory::new();
    let pages = |of: &str| texts((0..300).map(|row| server.url(&format!("/{of}/{row}?delay_ms=5"))));
    let list = table(&directory, "urls.parquet", vec![("url", pages("row"))], 100);
    let path = directory.path("r.ndjson");
    let words = ["-s", "-j", "4", "--durability", "each", "-o", &path, &list];
    killed_after(&words, &server, 80);
    table(&directory, "urls.parquet", vec![("url", pages("wor"))], 100);
    run(&[&words[..], &["--resume"]].concat())
        .check_refused(2, "is not the list that the run was begun with");
    assert_eq!(server.count("/wor/"), 0);
}

/// Results are a list: what has not changed is not sent again, and failures are tried again.
#[test]
fn results_in_a_table_are_a_list() {
    let server = Server::start();
    for suffix in ["parquet", "arrow"] {
        let directory = Directory::new();
        let page = |row: u64| if row == 3 { "/status/500".to_owned() } else { format!("/etag/{row}") };
        let text: String = (0..10).map(|row| server.url(&page(row)) + "\n").collect();
        let list = format!("@{}", directory.write("urls.txt", text));
        let (first, second) = (directory.path(&format!("a.{suffix}")), directory.path("b.ndjson"));
        run(&["-s", "--retry", "0", "-o", &first, &list]).check_code(1);
        let failed = server.count("/status/500");
        run(&["-s", "--retry", "0", "-o", &second, &format!("@{first}")]).check_code(1);
        let statuses: Vec<_> = program::records(&directory.read("b.ndjson"))
            .iter()
            .map(|record| record["status"].as_u64().unwrap())
            .collect();
        assert_eq!(statuses.iter().filter(|status| **status == 304).count(), 9, "{suffix}: {statuses:?}");
        assert_eq!(server.count("/status/500"), failed + 1);
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let server = Server::start();
    let directory = Directory::new();
    let check = |words: &[&str], text: &str| {
        run(&[&["-s", "-o", "-"], words].concat()).check_refused(2, text);
    };
    let list = table(&directory, "urls.parquet", vec![("Link", urls(&server, 2_000))], 500);
    check(&[&list], "there is no column url; the table has: Link; --url-col NAME");
    check(&["--url-col", "link", &list], "perhaps --url-col Link is meant");
    check(&["--input-format", "arrow", "--url-col", "Link", &list], "it is no Arrow file");
    let text = directory.write("text.parquet", "http://a.test/\n");
    check(&[&format!("@{text}")], "it is no Parquet file");
    let whole = fs::read(list.trim_start_matches('@')).unwrap();
    let cut = directory.write("cut.parquet", &whole[..whole.len() - 100]);
    check(&[&format!("@{cut}")], "it is no Parquet file, or is damaged");
    let ran = run_with(&["-s", "-o", "-", "-"], &whole);
    ran.check_refused(2, "a table is read from a plain file");
    let ran = run_with(&["-s", "--input-format", "parquet", "-o", "-", "-"], &whole);
    ran.check_refused(2, "a table is read from a plain file");
    check(&["--url-col", "Link", &list, &list], "cannot be joined");
    assert_eq!(server.requests(), 0);
}

/// A file that contradicts itself ends the run with an error, wherever the damage is.
#[test]
fn a_damaged_table_ends_the_run() {
    let server = Server::start();
    let directory = Directory::new();
    let list = table(&directory, "urls.parquet", vec![("url", urls(&server, 200))], 50);
    let whole = fs::read(list.trim_start_matches('@')).unwrap();
    let mut damaged = 0;
    for at in (4..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5a;
        let path = directory.write("damaged.parquet", bytes);
        let ran = run(&["--dry-run", &format!("@{path}")]);
        // What is only a character of a URL may go unnoticed.
        assert!(matches!(ran.code, Some(0..=2)), "at {at}: {ran:?}");
        damaged += u32::from(ran.code == Some(2));
    }
    assert!(damaged > 5, "{damaged}");
}

/// A word of a dictionary that is in many rows is in memory once, whether the table says that it is one or not.
#[test]
fn long_cells_are_bad_rows_in_bounded_memory() {
    let rows = 1_100;
    let words: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(4 << 20)]));
    let pages = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; rows]), words);
    let columns: Columns = vec![
        ("url", texts((0..rows).map(|row| format!("http://127.0.0.1:9/{row}")))),
        ("page", Arc::new(pages)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    for is_told in [true, false] {
        let directory = Directory::new();
        let path = directory.path("urls.parquet");
        let properties = WriterProperties::builder().set_dictionary_page_size_limit(16 << 20).build();
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(!is_told);
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new_with_options(file, batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        // A batch of such rows would have 4 GB.
        let mut limited = std::process::Command::new("sh");
        let script = "ulimit -v 3500000; exec \"$0\" \"$@\"";
        limited.args(["-c", script, env!("CARGO_BIN_EXE_overlapped"), "--dry-run", &path]);
        let ran = finish(&mut limited, b"");
        ran.check_code(1);
        assert!(ran.stdout.contains("1,100, of which 1,100 are bad"), "{ran:?}");
        assert!(ran.stdout.contains("input.too_long"), "{}", ran.stdout);
    }
}
