//! `fetch --manifest` and `verify`: shards that are fetched apart, and whether all of them are there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use overlapped_testkit::Server;
use program::{Directory, command, run};

const SHARDS: usize = 3;

/// A list in shards, and the words that fetch one of them.
struct Job {
    directory: Directory,
    shards: String,
    out: String,
}

impl Job {
    fn new(server: &Server, rows: u64, page: impl Fn(u64) -> String) -> Self {
        let directory = Directory::new();
        let url = |row| server.url_on((row % 9) as usize, &page(row));
        let list = directory.write("urls.txt", (0..rows).map(|row| url(row) + "\n").collect::<String>());
        let (shards, out) = (directory.path("shards"), directory.path("out"));
        let count = SHARDS.to_string();
        run(&["shard", &list, "-n", &count, "-o", &shards]).check_code(0);
        fs::create_dir(&out).unwrap();
        Self { directory, shards, out }
    }

    fn words(&self, shard: usize, more: &[&str]) -> Vec<String> {
        let file = format!("{}/shard-{shard:05}.parquet", self.shards);
        let at = |suffix: &str| format!("{}/shard-{shard:05}.{suffix}", self.out);
        let (output, manifest) = (at("ndjson"), at("json"));
        let words = ["-s", "--retry", "0", "-o", &output, "--manifest", &manifest, &file];
        words.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }

    fn fetch(&self, shard: usize, more: &[&str]) -> program::Ran {
        let words = self.words(shard, more);
        run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn verify(&self) -> program::Ran {
        run(&["verify", &self.out, "--plan", &self.shards])
    }

    fn has(&self, name: &str) -> bool {
        Path::new(&self.out).join(name).exists()
    }

    fn ids(&self) -> Vec<u64> {
        let files = (0..SHARDS).map(|shard| format!("{}/shard-{shard:05}.ndjson", self.out));
        let texts = files.filter_map(|file| fs::read_to_string(file).ok());
        let mut ids: Vec<u64> = texts
            .flat_map(|text| program::records(&text))
            .map(|record| record["id"].as_str().unwrap().parse().unwrap())
            .collect();
        ids.sort_unstable();
        ids
    }
}

#[test]
fn all_shards_are_the_list_and_none_is_fetched_twice() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 90, |row| format!("/row/{row}"));
    run(&["verify", &job.directory.path("none"), "--plan", &job.shards]).check_refused(2, "is no directory");
    job.fetch(0, &[]).check_code(0);
    let ran = job.verify();
    ran.check_code(1);
    assert!(ran.stdout.contains("2 shards have no manifest: 1, 2"), "{}", ran.stdout);
    assert!(!job.has("_SUCCESS"));
    job.fetch(1, &["--resume"]).check_code(0);
    job.fetch(2, &[]).check_code(0);
    let ran = job.verify();
    ran.check_code(0);
    assert_eq!(ran.stdout, "shards    3 of 3\nrows      90, of which 0 failed\n");
    assert!(job.has("_SUCCESS"));
    assert!(job.ids().into_iter().eq(0..90));
    assert_eq!(server.requests(), 90);
    for shard in 0..SHARDS {
        job.fetch(shard, &[]).check_code(0);
        job.fetch(shard, &["--resume"]).check_code(0);
    }
    assert_eq!(server.requests(), 90);
    let left: BTreeSet<_> = fs::read_dir(&job.out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2 * SHARDS + 1, "{left:?}");
}

#[test]
fn what_was_changed_is_found() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 90, |row| format!("/row/{row}"));
    (0..SHARDS).for_each(|shard| job.fetch(shard, &[]).check_code(0));
    job.verify().check_code(0);
    let path = format!("{}/shard-00001.ndjson", job.out);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[100] ^= 1;
    for (bytes, text) in [(changed, "was changed"), (whole[..whole.len() - 1].to_vec(), "bytes instead of")] {
        fs::write(&path, bytes).unwrap();
        let ran = job.verify();
        ran.check_code(4);
        assert!(ran.stdout.contains(text), "{ran:?}");
        assert!(!job.has("_SUCCESS"));
    }
    job.fetch(1, &[]).check_refused(4, "bytes instead of");
    fs::remove_file(&path).unwrap();
    assert!(job.verify().stdout.contains("is missing"));
    job.fetch(1, &["--overwrite"]).check_code(0);
    job.verify().check_code(0);
    assert!(job.ids().into_iter().eq(0..90));
    // A manifest that names a file elsewhere is none.
    let manifest = format!("{}/shard-00002.json", job.out);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("shard-00002.ndjson", "../shards/plan.json")).unwrap();
    let ran = job.verify();
    ran.check_code(4);
    assert!(ran.stdout.contains("is no manifest"), "{ran:?}");
}

/// What no command writes is no manifest, whoever has changed it, and nothing is waited for.
#[test]
fn a_manifest_that_commits_nothing_is_none() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 90, |row| format!("/row/{row}"));
    (0..SHARDS).for_each(|shard| job.fetch(shard, &[]).check_code(0));
    job.verify().check_code(0);
    let manifest = format!("{}/shard-00001.json", job.out);
    let text = fs::read_to_string(&manifest).unwrap();
    let outputs = text.find(r#""outputs":"#).unwrap();
    let ok = text.find(r#""ok":"#).unwrap();
    for wrong in [
        format!(r#"{}"outputs":[]}}"#, &text[..outputs]),
        format!(r#"{}"ok":9{}"#, &text[..ok], &text[ok + 5..]),
        String::new(),
        " ".repeat(20 << 20),
    ] {
        fs::write(&manifest, wrong).unwrap();
        let ran = job.verify();
        ran.check_code(4);
        assert!(ran.stderr.contains("1 shard is not as its manifest says: fetch it again"), "{ran:?}");
        job.fetch(1, &["--resume"]).check_refused(2, "manifest");
    }
    fs::remove_file(&manifest).unwrap();
    assert!(Command::new("mkfifo").arg(&manifest).status().unwrap().success());
    let ran = job.verify();
    ran.check_code(4);
    assert!(ran.stdout.contains("is no plain file"), "{ran:?}");
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, text).unwrap();
    job.verify().check_code(0);
    run(&["verify", &job.out]).check_refused(2, "plan.json cannot be read");
}

/// A kill left a temporary file of `_SUCCESS` for ever.
#[test]
fn a_killed_verify_leaves_nothing_beside() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 30, |row| format!("/row/{row}"));
    (0..SHARDS).for_each(|shard| job.fetch(shard, &[]).check_code(0));
    for wait in 0..30 {
        fs::remove_file(format!("{}/_SUCCESS", job.out)).unwrap_or_default();
        let start = || {
            let words = ["verify", &job.out, "--plan", &job.shards];
            command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let (mut killed, mut whole) = (start(), start());
        std::thread::sleep(Duration::from_millis(wait));
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert_eq!(whole.wait().unwrap().code(), Some(0));
        assert!(job.has("_SUCCESS"));
        assert_eq!(fs::read_dir(&job.out).unwrap().count(), 2 * SHARDS + 1);
    }
}

#[test]
fn a_directory_may_be_spelled_in_two_ways() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 30, |row| format!("/row/{row}"));
    let file = format!("{}/shard-00000.parquet", job.shards);
    let output = format!("{}/./shard-00000.ndjson", job.out);
    let manifest = format!("{}/../out/shard-00000.json", job.out);
    for _ in 0..2 {
        run(&["-s", "-o", &output, "--manifest", &manifest, &file]).check_code(0);
    }
    assert!(job.has("shard-00000.json"));
    job.fetch(0, &["--resume"]).check_code(0);
}

/// The state of a run is removed before the manifest is written: another one that began then would have its outputs
/// committed by the first, half of them.
#[test]
fn commands_for_one_shard_at_once_commit_it_once_and_whole() {
    let server = Server::builder().hosts(9).start();
    for round in 0..8 {
        let job = Job::new(&server, 60, |row| format!("/row/{row}?round={round}"));
        let flags = ["--resume", "--overwrite", "--resume", "--overwrite", "--retry-failed"];
        let start = |flag: &&str| {
            let words = job.words(0, &[flag]);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let child = command(&words).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(7 * round));
            child
        };
        let runs: Vec<_> = flags.iter().map(start).collect();
        let mut done = 0;
        for run in runs {
            let output = run.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) => done += 1,
                Some(2) => assert!(text.contains("another process fetches the shard"), "{text}"),
                code => panic!("{code:?} {text}"),
            }
        }
        assert!(done > 0);
        (1..SHARDS).for_each(|shard| job.fetch(shard, &[]).check_code(0));
        job.verify().check_code(0);
        assert!(job.ids().into_iter().eq(0..60));
        let hidden = |name: &str| name.starts_with('.');
        let left =
            fs::read_dir(&job.out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.filter(|name| hidden(name)).count(), 0);
    }
}

/// Killed at any point and started again by the same command, a shard is whole, and each row is asked for once more at most
/// for each kill.
#[test]
fn a_killed_shard_is_fetched_by_the_same_command() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 300, |row| format!("/row/{row}?delay_ms=3"));
    let mut kills = 0;
    for shard in 0..SHARDS {
        for after in [5, 40] {
            let words = job.words(shard, &["--resume", "--durability", "each", "-j", "4"]);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let before = server.requests();
            let mut child = command(&words).stderr(Stdio::null()).spawn().unwrap();
            server.wait_for_requests(before + after, Duration::from_secs(20));
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            assert!(!job.has(&format!("shard-{shard:05}.json")));
            assert_ne!(job.verify().code, Some(0));
        }
        job.fetch(shard, &["--resume", "--durability", "each", "-j", "4"]).check_code(0);
    }
    job.verify().check_code(0);
    assert!(job.ids().into_iter().eq(0..300));
    assert!(server.requests() <= 300 + 16 * kills, "{}", server.requests());
}

/// What a kill leaves between the last record and the manifest.
#[test]
fn a_manifest_that_was_not_written_is_written() {
    let server = Server::builder().hosts(9).start();
    let page = |row| if row == 4 { "/status/404".to_owned() } else { format!("/row/{row}") };
    let job = Job::new(&server, 60, page);
    for shard in 0..SHARDS {
        let code = job.fetch(shard, &[]).code;
        assert!(matches!(code, Some(0 | 1)), "{code:?}");
        let path = format!("{}/shard-{shard:05}.json", job.out);
        let manifest = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(job.fetch(shard, &["--resume"]).code, code);
        assert_eq!(fs::read_to_string(&path).unwrap(), manifest);
        assert_eq!(job.fetch(shard, &[]).code, code, "a shard whose rows failed is done");
    }
    assert_eq!(server.requests(), 60);
    let ran = job.verify();
    ran.check_code(0);
    assert!(ran.stdout.contains("rows      60, of which 1 failed"), "{}", ran.stdout);
    // Its failed row again: until it is done, the shard does not count.
    for shard in 0..SHARDS {
        let code = job.fetch(shard, &["--retry-failed"]).code;
        assert!(matches!(code, Some(0 | 1)));
    }
    assert_eq!(server.requests(), 61);
    job.verify().check_code(0);
}

/// Readers that trust `_SUCCESS` must not find it while a shard is fetched again, or after that was killed.
#[test]
fn a_success_of_what_was_withdrawn_is_withdrawn() {
    let server = Server::builder().hosts(9).start();
    let job =
        Job::new(&server, 90, |row| if row == 4 { "/status/404".to_owned() } else { format!("/row/{row}") });
    let fetch_all = || (0..SHARDS).for_each(|shard| drop(job.fetch(shard, &["--resume"])));
    let all = ["--overwrite", "--retry-failed"];
    for again in all {
        fetch_all();
        job.verify().check_code(0);
        assert!(job.has("_SUCCESS"));
        job.fetch(0, &[again]);
        assert!(job.has("shard-00000.json") && !job.has("_SUCCESS"), "{again}");
    }
    // So must not the manifest of a shard come and go under it.
    job.verify().check_code(0);
    fs::remove_file(format!("{}/shard-00001.json", job.out)).unwrap();
    job.fetch(1, &["--resume"]);
    assert!(job.has("shard-00001.json") && !job.has("_SUCCESS"));
    job.verify().check_code(0);
}

/// The plan does not have digests of the shards: each says itself which one it is.
#[test]
fn a_shard_in_the_place_of_another_is_refused() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 90, |row| format!("/row/{row}"));
    let other = Job::new(&server, 90, |row| format!("/row/{}", row + 1_000));
    let at = |shards: &str, shard: usize| format!("{shards}/shard-{shard:05}.parquet");
    let own = fs::read(at(&job.shards, 0)).unwrap();
    let mut damaged = own.clone();
    let footer = damaged.len() - 40;
    damaged[footer..].fill(0xff);
    let list = job.directory.write("one.parquet", fs::read(at(&other.shards, 1)).unwrap());
    for (file, text) in [
        (fs::read(at(&job.shards, 1)).unwrap(), "is not shard 0 of"),
        (fs::read(at(&other.shards, 0)).unwrap(), "is not shard 0 of"),
        (fs::read(list).unwrap(), "is not shard 0 of"),
        (damaged, "is no Parquet file, or is damaged"),
    ] {
        fs::write(at(&job.shards, 0), file).unwrap();
        job.fetch(0, &["--resume"]).check_refused(2, text);
        job.fetch(0, &["--overwrite"]).check_refused(2, text);
    }
    assert_eq!(server.requests(), 0);
    fs::write(at(&job.shards, 0), own).unwrap();
    (0..SHARDS).for_each(|shard| job.fetch(shard, &["--resume"]).check_code(0));
    job.verify().check_code(0);
    assert!(job.ids().into_iter().eq(0..90));
}

/// A manifest that named only the first file of an archive would commit what is lost later.
#[test]
fn a_manifest_names_all_files_of_an_archive() {
    let server = Server::start();
    let directory = Directory::new();
    let lines: String = (0..12).map(|row| server.url(&format!("/bytes/200000?row={row}")) + "\n").collect();
    let list = directory.write("urls.txt", lines);
    let (shards, out) = (directory.path("shards"), directory.path("out"));
    run(&["shard", &list, "-n", "1", "-o", &shards]).check_code(0);
    fs::create_dir(&out).unwrap();
    let at = |name: &str| format!("{out}/{name}");
    let (file, output, manifest) =
        (format!("{shards}/shard-00000.parquet"), at("shard-00000.warc.gz"), at("shard-00000.json"));
    let words = ["-s", "-o", &output, "--manifest", &manifest, "--warc-max-size", "1000000", "--cdxj", &file];
    let fetch = |more: &[&str]| run(&[&words[..], more].concat());
    fetch(&[]).check_code(0);
    let value: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let names = value["outputs"].as_array().unwrap().iter().map(|output| output["name"].as_str().unwrap());
    let names: BTreeSet<_> = names.map(str::to_owned).collect();
    let expected: BTreeSet<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".warc.gz") || name.ends_with(".cdxj"))
        .collect();
    assert!(names == expected && names.len() >= 4, "{names:?} {expected:?}");
    fetch(&["--resume"]).check_code(0);
    assert_eq!(server.requests(), 12);
    run(&["verify", &out, "--plan", &shards]).check_code(0);
    for lost in ["shard-00000-00002.warc.gz", "shard-00000.cdxj"] {
        let whole = fs::read(at(lost)).unwrap();
        fs::remove_file(at(lost)).unwrap();
        run(&["verify", &out, "--plan", &shards]).check_code(4);
        fetch(&["--resume"]).check_refused(4, "is missing");
        fs::write(at(lost), whole).unwrap();
        run(&["verify", &out, "--plan", &shards]).check_code(0);
    }
    // Without its index it is another output.
    let without: Vec<_> = words.iter().copied().filter(|word| *word != "--cdxj").collect();
    run(&without).check_refused(2, "is that of other outputs");
}

#[test]
fn a_run_that_was_stopped_commits_nothing() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 90, |_| "/status/500".to_owned());
    job.fetch(0, &["--max-errors", "2", "-j", "1"]).check_code(4);
    assert!(!job.has("shard-00000.json"));
}

#[test]
fn a_manifest_of_another_plan_is_refused() {
    let server = Server::builder().hosts(9).start();
    let job = Job::new(&server, 90, |row| format!("/row/{row}"));
    job.fetch(0, &[]).check_code(0);
    let asked = server.requests();
    let list = job.directory.write("other.txt", server.url_on(3, "/row/1"));
    run(&["shard", &list, "-n", "3", "-o", &job.shards, "--overwrite"]).check_code(0);
    job.fetch(0, &[]).check_refused(2, "of another shard or plan");
    assert!(job.verify().stdout.contains("is of another plan"));
    assert_eq!(server.requests(), asked);
    let check = |words: &[&str], text: &str| run(words).check_refused(2, text);
    let (file, manifest) = (format!("{}/shard-00000.parquet", job.shards), job.directory.path("m.json"));
    let output = job.directory.path("o.ndjson");
    check(&["-o", &output, "--manifest", &manifest, &format!("@{list}")], "is no shard");
    check(&["-o", &output, "--manifest", &manifest, "http://127.0.0.1:9/"], "its file as the only list");
    check(
        &["-o", &output, "--manifest", &manifest, "--limit", "3", &file],
        "--manifest cannot be used with --limit",
    );
    check(&["--manifest", &manifest, &file], "give it one beside -o FILE");
    check(&["-o", &job.directory.path("pages/"), "--manifest", &manifest, &file], "no -o DIR/");
    check(&["-o", &format!("{}/o.ndjson", job.out), "--manifest", &manifest, &file], "give it one beside");
    check(&["verify", &job.out, "--plan", &list], "is no plan");
}
