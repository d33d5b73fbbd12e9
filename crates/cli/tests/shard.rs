//! `overlapped shard`: a list in files for several machines.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use overlapped_testkit::Server;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use program::{Directory, command, run, run_with};

/// The rows of a shard: `id`, and the other columns as text.
fn rows(path: impl AsRef<Path>) -> Vec<(i64, BTreeMap<String, String>)> {
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    file.get_row_iter(None)
        .unwrap()
        .map(|row| {
            let row = row.unwrap();
            let mut columns = row.get_column_iter();
            let Some((name, Field::Long(id))) = columns.next() else { panic!("{row}") };
            assert_eq!(name, "id");
            let text = |field: &Field| {
                if let Field::Str(text) = field { text.clone() } else { field.to_string() }
            };
            (*id, columns.map(|(name, field)| (name.clone(), text(field))).collect())
        })
        .collect()
}

fn shard_path(directory: &str, shard: usize) -> String {
    format!("{directory}/shard-{shard:05}.parquet")
}

fn plan(directory: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(format!("{directory}/plan.json")).unwrap()).unwrap()
}

/// A list of hosts of several sizes, and what each row has for a URL.
fn urls(rows: u64) -> Vec<String> {
    let host = |row: u64| if row.is_multiple_of(3) { 0 } else { row % 37 };
    (0..rows).map(|row| format!("https://h{}.test/page/{row}", host(row))).collect()
}

#[test]
fn a_host_is_in_one_shard_and_each_row_once() {
    let directory = Directory::new();
    let mut lines = urls(3_000);
    lines[7] = "no url".to_owned();
    lines[8] = "HTTP://H1.Test:80/x".to_owned();
    let text = format!("# a comment\n\n{}\r\n", lines.join("\r\n"));
    let list = directory.write("urls.txt", text);
    let out = directory.path("shards");
    run(&["shard", &list, "-n", "8", "-o", &out]).check_code(0);
    let plan = plan(&out);
    assert_eq!((&plan["n"], &plan["rows"], &plan["bad"]), (&8.into(), &3_000.into(), &1.into()));
    let mut seen = BTreeMap::new();
    let mut homes: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for shard in 0..8 {
        let rows = rows(shard_path(&out, shard));
        assert_eq!(plan["rows_by_shard"][shard], rows.len());
        for (id, columns) in rows {
            assert_eq!(columns.keys().collect::<Vec<_>>(), ["url"]);
            let url = &columns["url"];
            assert_eq!(seen.insert(id, url.clone()), None, "{id}");
            if let Ok(url) = url::Url::parse(url) {
                homes.entry(url.host_str().unwrap().to_owned()).or_default().insert(shard);
            }
        }
    }
    assert!(seen.into_iter().eq((0..).zip(lines)));
    assert!(homes.values().all(|shards| shards.len() == 1), "{homes:?}");
    assert_eq!(homes.len(), 37);
    let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 9, "{names:?}");
}

/// The shards are the partitions of `fetch --shard K/N`.
#[test]
fn the_doors_agree() {
    let server = Server::builder().hosts(12).start();
    let directory = Directory::new();
    let text: String = (0..60).map(|row| server.url_on(row % 12, &format!("/row/{row}")) + "\n").collect();
    let list = directory.write("urls.txt", text + "a bad row\n");
    let out = directory.path("shards");
    run(&["shard", &list, "-n", "3", "-o", &out]).check_code(0);
    for shard in 0..3 {
        let ran = run(&["-s", "-o", "-", "--shard", &format!("{}/3", shard + 1), &format!("@{list}")]);
        let mut fetched: Vec<_> =
            ran.records().iter().map(|record| record["row"].as_i64().unwrap()).collect();
        fetched.sort_unstable();
        let mut ids: Vec<_> = rows(shard_path(&out, shard)).into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        assert_eq!(ids, fetched);
        let ran = run(&["-s", "-o", "-", &shard_path(&out, shard)]);
        let mut ids_fetched: Vec<i64> =
            ran.records().iter().map(|record| record["id"].as_str().unwrap().parse().unwrap()).collect();
        ids_fetched.sort_unstable();
        assert_eq!(ids_fetched, ids);
    }
}

#[test]
fn hosts_are_interleaved() {
    let directory = Directory::new();
    let sorted: String = (0..3_000).map(|row| format!("http://h{}.test/{row}\n", row / 1_000)).collect();
    let list = directory.write("urls.txt", sorted);
    let out = directory.path("shards");
    run(&["shard", &list, "-n", "1", "-o", &out]).check_code(0);
    let ids: Vec<_> = rows(shard_path(&out, 0)).into_iter().map(|(id, _)| id).collect();
    for (place, three) in ids.chunks(3).enumerate() {
        let mut three = three.to_vec();
        three.sort_unstable();
        let place = place as i64;
        assert_eq!(three, [place, 1_000 + place, 2_000 + place]);
    }
}

/// All formats of lists give the same shards, but for their columns; and `fetch` reads from a shard what it reads from the
/// list.
#[test]
fn what_a_list_has_is_in_its_shards() {
    let server = Server::start();
    let directory = Directory::new();
    let url = |row: u64| server.url(&format!("/echo?row={row}"));
    let ndjson = [
        serde_json::json!({"url": url(0), "id": "own", "n": 1, "t": "x", "b": true, "o": {"k": [1, 2.50]}})
            .to_string(),
        format!(
            r#"{{"method":"PUT","headers":{{"X-A":"b","X-C":["1","2"]}},"body":"text","timeout_s":9.5,"url":"{}","n":null,"f":1.5}}"#,
            url(1)
        ),
        r#"{"url":"http://a.test/","timeout_s":"soon","t":"y"}"#.to_owned(),
        "no JSON".to_owned(),
        format!(r#"{{"url":"{}","etag":"\"e\"","last_modified":"x","o":7.10,"n":3}}"#, url(4)),
    ];
    let csv = format!("url,id,t,method\n{},own,x,\n{},,,PUT\nno url,,\"a\nb\",\n", url(0), url(1));
    let packed = directory.path("list.csv");
    for (name, text) in [("list.ndjson", ndjson.join("\n")), ("list.csv", csv)] {
        let list = directory.write(name, text);
        let out = directory.path(&format!("{name}.shards"));
        run(&["shard", &format!("@{list}"), "-n", "2", "-o", &out]).check_code(0);
        let fetched = |words: &[&str]| -> BTreeMap<u64, serde_json::Value> {
            let ran = run(&[&["-s", "--no-body", "--retry", "0", "-o", "-"], words].concat());
            let records = ran.records().into_iter().map(|record| {
                let row = match record["id"].as_str().and_then(|id| id.parse().ok()) {
                    Some(id) => id,
                    None => record["row"].as_u64().unwrap(),
                };
                (row, record)
            });
            records.collect()
        };
        let direct = fetched(&[&format!("@{list}")]);
        let mut sharded = BTreeMap::new();
        (0..2).for_each(|shard| sharded.extend(fetched(&[&shard_path(&out, shard)])));
        assert_eq!(sharded.len(), direct.len());
        for (row, record) in &direct {
            let other = &sharded[row];
            if record["status"].is_null() {
                assert!(!other["error"].is_null(), "{other}");
                assert!(other["exitcode"] == 3, "{other}");
                continue;
            }
            for column in ["url", "method", "status", "ok", "error"] {
                assert_eq!(record[column], other[column], "{column} of {record}");
            }
            // A column that another row has is null, and the row's own name has a column of its own.
            let meta = |record: &serde_json::Value| -> BTreeMap<String, serde_json::Value> {
                let object = record["meta"].as_object().cloned().unwrap_or_default();
                object.into_iter().filter(|(name, value)| !value.is_null() && name != "list_id").collect()
            };
            assert_eq!(meta(record), meta(other));
            assert_eq!(record["id"], other["meta"]["list_id"]);
        }
    }
    let seen = server.seen();
    let put: Vec<_> = seen.iter().filter(|seen| seen.request.method == "PUT").collect();
    let with_body: Vec<_> = put.iter().filter(|seen| &seen.request.body[..] == b"text").collect();
    assert_eq!(with_body.len(), 2);
    for seen in with_body {
        assert_eq!(seen.request.header("x-a"), Some("b"));
        assert_eq!(seen.request.all_headers("x-c").collect::<Vec<_>>(), ["1", "2"]);
    }
    // From a pipe, and packed by its name only in the message.
    let text = fs::read(&packed).unwrap();
    let out = directory.path("piped");
    let ran = run_with(&["shard", "-", "--input-format", "csv", "-n", "2", "-o", &out], &text);
    ran.check_code(0);
    let by_file = directory.path("list.csv.shards");
    for shard in 0..2 {
        assert_eq!(
            fs::read(shard_path(&out, shard)).unwrap(),
            fs::read(shard_path(&by_file, shard)).unwrap()
        );
    }
    assert_eq!(plan(&out), plan(&by_file));
}

/// Shards are a list themselves.
#[test]
fn a_table_is_split() {
    let directory = Directory::new();
    let list = directory.write("urls.txt", urls(500).join("\n"));
    let (once, twice) = (directory.path("once"), directory.path("twice"));
    run(&["shard", &list, "-n", "1", "-o", &once]).check_code(0);
    run(&["shard", &shard_path(&once, 0), "-n", "4", "-o", &twice]).check_code(0);
    let mut all: Vec<_> = (0..4).flat_map(|shard| rows(shard_path(&twice, shard))).collect();
    all.sort_by_key(|(id, _)| *id);
    let before: Vec<_> = rows(shard_path(&once, 0));
    for ((id, columns), (place, (own, before))) in all.iter().zip((0_i64..).zip(&before)) {
        assert_eq!((*id, &columns["url"], &columns["list_id"]), (place, &before["url"], &own.to_string()));
    }
}

#[test]
fn a_domain_and_a_split_host() {
    let directory = Directory::new();
    let lines: String =
        (0..400).map(|row| format!("http://w{}.a{}.co.uk/{row}\n", row % 9, row % 2)).collect();
    let list = directory.write("urls.txt", lines);
    let homes = |words: &[&str], name: &str| {
        let out = directory.path(name);
        run(&[&["shard", &list, "-n", "16", "-o", &out], words].concat()).check_code(0);
        let counts: Vec<_> = (0..16).map(|shard| rows(shard_path(&out, shard)).len()).collect();
        (counts.iter().filter(|count| **count > 0).count(), *counts.iter().max().unwrap(), plan(&out))
    };
    assert_eq!(homes(&["--politeness-key", "domain"], "a").1, 200);
    let (used, largest, plan) = homes(&["--politeness-key", "domain", "--split-host", "A0.co.uk=4"], "b");
    assert!(used >= 4 && largest <= 250, "{used} {largest}");
    assert_eq!(plan["split"], serde_json::json!({"a0.co.uk": 4}));
    assert!(homes(&[], "c").0 > 4);
}

/// A name that was mistyped is not told as one that must be fetched in a special way.
#[test]
fn a_split_of_a_host_that_no_row_has_is_told() {
    let directory = Directory::new();
    let list = directory.write("urls.txt", urls(100).join("\n"));
    let ran = run(&["shard", &list, "-n", "4", "-o", &directory.path("a"), "--split-host", "none.test=2"]);
    ran.check_code(0);
    assert!(ran.stderr.contains("--split-host none.test was not needed"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("is in 2 shards"), "{}", ran.stderr);
    let out = directory.path("b");
    let twice = ["--split-host", "a.test=2", "--split-host", "A.test=3"];
    run(&[&["shard", &list, "-n", "4", "-o", &out], &twice[..]].concat())
        .check_refused(2, "is to be split twice");
    let twice = ["--split-host", "a.b.test=2", "--split-host", "c.b.test=3", "--politeness-key", "domain"];
    run(&[&["shard", &list, "-n", "4", "-o", &out], &twice[..]].concat())
        .check_refused(2, "is to be split twice");
    assert!(!Path::new(&out).exists());
}

/// Of several splits into one directory one wins, and the others are told; its shards are those of its plan.
#[test]
fn two_splits_at_once_leave_the_shards_of_one_plan() {
    let directory = Directory::new();
    let lists = ["a", "b"].map(|host| {
        let lines: String = (0..40).map(|row| format!("http://{host}{row}.test/\n")).collect();
        directory.write(&format!("{host}.txt"), lines)
    });
    for round in 0..12 {
        let out = directory.path(&format!("out{round}"));
        let start = |list: &String| {
            let words = ["shard", list, "-n", "3", "-o", &out];
            command(&words).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut runs: Vec<_> = lists.iter().cycle().take(6).map(start).collect();
        let codes: Vec<_> = runs.iter_mut().map(|run| run.wait().unwrap().code()).collect();
        assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 2))), "{codes:?}");
        let urls: BTreeSet<_> = (0..3).flat_map(|shard| rows(shard_path(&out, shard))).collect();
        assert_eq!(urls.len(), 40);
        assert!(!Path::new(&out).join(".unfinished").exists());
    }
}

#[test]
fn the_same_list_gives_the_same_bytes() {
    let directory = Directory::new();
    let list = directory.write("urls.txt", urls(20_000).join("\n"));
    let outs = ["a", "b"].map(|name| directory.path(name));
    for out in &outs {
        run(&["shard", &list, "-n", "5", "-o", out]).check_code(0);
    }
    for name in ["plan.json", "shard-00000.parquet", "shard-00004.parquet"] {
        let [a, b] = outs.each_ref().map(|out| fs::read(format!("{out}/{name}")).unwrap());
        assert_eq!(a, b, "{name}");
    }
}

#[test]
fn a_killed_split_begins_anew() {
    let directory = Directory::new();
    let list = directory.write("urls.txt", urls(200_000).join("\n"));
    let whole = directory.path("whole");
    run(&["shard", &list, "-n", "40", "-o", &whole]).check_code(0);
    let out = directory.path("killed");
    let mut killed = 0;
    for wait in [0, 30, 100, 300, 700] {
        let mut child =
            command(&["shard", &list, "-n", "60", "-o", &out]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        if Path::new(&out).join("plan.json").exists() {
            break;
        }
        killed += 1;
        let Ok(found) = fs::read_dir(&out) else { continue };
        for entry in found {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with("shard-") {
                rows(format!("{out}/{name}"));
            }
        }
    }
    assert!(killed > 0);
    let words = ["shard", &list, "-n", "40", "-o", &out];
    let overwrite = Path::new(&out).join("plan.json").exists();
    run(&[&words[..], if overwrite { &["--overwrite"] } else { &[] }].concat()).check_code(0);
    let names = |directory: &str| {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&out), names(&whole));
    for name in names(&out) {
        let [a, b] = [&out, &whole].map(|directory| fs::read(Path::new(directory).join(&name)).unwrap());
        assert!(a == b, "{name:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let directory = Directory::new();
    let list = directory.write("urls.txt", "http://a.test/\n");
    let out = directory.path("out");
    let check = |words: &[&str], text: &str| {
        run(&[&["shard"], words].concat()).check_refused(2, text);
    };
    check(&["missing.txt", "-n", "2", "-o", &out], "cannot read the list missing.txt");
    assert!(!Path::new(&out).exists());
    run(&["shard", &list, "-n", "2", "-o", &out]).check_code(0);
    check(&[&list, "-n", "2", "-o", &out], "--overwrite");
    run(&["shard", &list, "-n", "1", "-o", &out, "--overwrite"]).check_code(0);
    assert!(!Path::new(&shard_path(&out, 1)).exists());
    let other = directory.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(shard_path(&other, 0), "of somebody else").unwrap();
    check(&[&list, "-n", "2", "-o", &other], "give another directory");
    let table = directory.write("urls.csv", "a,b\n1,2\n");
    check(&[&table, "-n", "2", "-o", &directory.path("third")], "there is no column url");
    run(&["shard", &list, "-n", "2", "-o", &format!("{list}/x")]).check_refused(3, "cannot write to");
}

#[test]
fn a_dry_run_tells_how_many_machines() {
    let directory = Directory::new();
    let lines: String =
        (0..10_000).map(|row| format!("http://h{}.test/\n", if row < 1_000 { 0 } else { row })).collect();
    let list = directory.write("urls.txt", lines);
    let ran = run(&["shard", &list, "--dry-run", "--latency", "1", "--rate-host", "10/s", "-j", "10"]);
    ran.check_code(0);
    assert!(ran.stdout.contains("rows      10,000, of which 0 bad"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the largest host takes 2m46"), "{}", ran.stdout);
    assert!(ran.stdout.contains("17m46 on 1 machine\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("4m16 on 10 machines"), "{}", ran.stdout);
    assert!(ran.stdout.contains("machines  54: with more"), "{}", ran.stdout);
    assert_eq!(directory.names(), ["urls.txt"]);
}

/// Rows beyond what fits in memory at once are neither lost nor doubled, and many shards need no more open files.
/// The estimate counts hosts as they are. A flag that would not change it is not ignored.
#[test]
fn a_dry_run_takes_no_flag_that_it_would_ignore() {
    let directory = Directory::new();
    let list = directory.write("urls.txt", "http://a.test/\n");
    for flag in [["--split-host", "a.test=2"], ["--politeness-key", "domain"]] {
        let ran = run(&[&["shard", &list, "--dry-run"], &flag[..]].concat());
        ran.check_refused(2, "cannot be used with");
    }
    run(&["shard", &list, "--dry-run", "-n", "3", "-o", &directory.path("out")]).check_code(0);
    assert!(!Path::new(&directory.path("out")).exists());
}

#[test]
fn many_shards_of_long_rows() {
    let directory = Directory::new();
    let long = "x".repeat(700);
    let lines: String =
        (0..60_000).map(|row| format!("http://h{}.test/{row}/{long}\n", row % 5_000)).collect();
    let list = directory.write("urls.txt", lines);
    let out = directory.path("out");
    let mut limited = std::process::Command::new("sh");
    let script = "ulimit -n 40; exec \"$0\" \"$@\"";
    limited.args(["-c", script, env!("CARGO_BIN_EXE_overlapped"), "shard", &list, "-n", "1000", "-o", &out]);
    assert!(limited.status().unwrap().success());
    let mut seen = BTreeSet::new();
    for shard in 0..1_000 {
        for (id, columns) in rows(shard_path(&out, shard)) {
            assert!(columns["url"].starts_with(&format!("http://h{}.test/{id}/", id % 5_000)));
            assert!(seen.insert(id));
        }
    }
    assert_eq!(seen.len(), 60_000);
}

/// A page is unpacked also if some of its bits are not those that were written: other URLs would be fetched.
#[test]
fn flipped_bits_in_a_shard_are_noticed() {
    let directory = Directory::new();
    let list = directory.write("urls.txt", urls(3_000).join("\n"));
    let out = directory.path("out");
    run(&["shard", &list, "-n", "1", "-o", &out]).check_code(0);
    let shard = shard_path(&out, 0);
    let whole = fs::read(&shard).unwrap();
    let pages = whole.len() - 2_000;
    for at in (0..20).map(|part| 4 + part * (pages - 5) / 19) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&shard, flipped).unwrap();
        run(&["fetch", "--dry-run", &shard]).check_refused(2, "damaged");
    }
    fs::write(&shard, whole).unwrap();
    run(&["fetch", "--dry-run", &shard]).check_code(0);
}
