//! The scripts of examples/cluster that need no engine: each shard is fetched by a process of its own, several at a time, some
//! of them killed and started again. The list is what comes out, and the servers see the limits of a host kept.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use overlapped_testkit::Server;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use program::{Directory, run};

const SHARDS: usize = 6;
const ROWS: u64 = 300;
/// Rows whose number this divides fail, which is no reason to fetch a shard again.
const FAILS: u64 = 49;

/// A directory as all machines see it, with the list of the test and the program as `overlapped` on PATH.
struct Place {
    directory: Directory,
    server: Server,
    path: String,
}

impl Place {
    fn new(delay_ms: u32) -> Self {
        let (directory, server) = (Directory::new(), Server::builder().hosts(10).start());
        let line = |row: u64| {
            let path = if row.is_multiple_of(FAILS) { "status/404?row=" } else { "row/" };
            let mark = if path.contains('?') { '&' } else { '?' };
            server.url_on((row % 10) as usize, &format!("/{path}{row}{mark}delay_ms={delay_ms}")) + "\n"
        };
        directory.write("urls.txt", (0..ROWS).map(line).collect::<String>());
        // Hosts of this machine have no limit by default.
        let program = env!("CARGO_BIN_EXE_overlapped");
        let wrapper = format!(
            "#!/bin/sh\n[ \"$1\" = fetch ] || exec {program} \"$@\"\nshift\nexec {program} fetch --parallel-max-host 2 \"$@\"\n"
        );
        fs::create_dir(directory.path("bin")).unwrap();
        let program = directory.write("bin/overlapped", wrapper);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", directory.path("bin"), std::env::var("PATH").unwrap());
        Self { directory, server, path }
    }

    /// Splits the list.
    fn split(&self) {
        let [list, shards] = ["urls.txt", "shards"].map(|name| self.directory.path(name));
        run(&["shard", &list, "-n", &SHARDS.to_string(), "-o", &shards]).check_code(0);
        fs::create_dir(self.directory.path("results")).unwrap();
    }

    fn shell(&self, words: &[&str], variable: Option<(&str, usize)>) -> Command {
        let mut command = Command::new("sh");
        command.args(words).current_dir(self.directory.path("")).env("PATH", &self.path);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((name, value)) = variable {
            command.env(name, value.to_string());
        }
        command
    }

    /// What comes out is the list.
    fn check(&self, kills: u64) {
        let [results, shards] = ["results", "shards"].map(|name| self.directory.path(name));
        run(&["verify", &results, "--plan", &shards]).check_code(0);
        let mut found = Vec::new();
        for shard in 0..SHARDS {
            found.extend(ids_and_statuses(&format!("{results}/shard-{shard:05}.parquet")));
        }
        found.sort_unstable();
        let status = |row: u64| if row.is_multiple_of(FAILS) { 404 } else { 200 };
        assert_eq!(found, (0..ROWS).map(|row| (row, status(row))).collect::<Vec<_>>());
        let hosts = self.server.hosts();
        assert_eq!(hosts.len(), 10);
        for (host, record) in hosts {
            assert!(record.max_in_flight as u64 <= 2 * (1 + kills), "{host}: {}", record.max_in_flight);
        }
        let requests = self.server.requests();
        assert!((ROWS..=ROWS + kills * ROWS / 2).contains(&requests), "{requests}");
        let left = fs::read_dir(&results).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().ends_with(".lock")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn ids_and_statuses(path: &str) -> Vec<(u64, i64)> {
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows = file.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let column = |wanted: &str| {
            let (_, field) = row.get_column_iter().find(|(name, _)| *name == wanted).unwrap();
            if let Field::Str(text) = field { text.clone() } else { field.to_string() }
        };
        (column("id").parse().unwrap(), column("status").parse().unwrap())
    });
    rows.collect()
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/cluster").join(name);
    fs::read_to_string(path).unwrap()
}

/// Runs what a scheduler would start for each number, three at a time. The first is lost once, and started again.
fn schedule(place: &Place, start: impl Fn(usize) -> Child) {
    let mut first = start(0);
    assert!(place.server.wait_for_requests(5, Duration::from_secs(30)));
    kill(&mut first);
    for numbers in (0..SHARDS).collect::<Vec<_>>().chunks(3) {
        let children: Vec<Child> = numbers.iter().map(|number| start(*number)).collect();
        for (number, mut child) in numbers.iter().zip(children) {
            assert!(child.wait().unwrap().success(), "{number}");
        }
    }
}

/// A machine that is lost: the shell and what it has started.
fn kill(child: &mut Child) {
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
    child.wait().unwrap();
}

fn in_group(mut command: Command) -> Child {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0).spawn().unwrap()
}

#[test]
fn the_shell_fetches_all_shards_and_nothing_again() {
    let place = Place::new(0);
    let script = place.directory.write("shell.sh", example("shell.sh"));
    let count = SHARDS.to_string();
    for _ in 0..2 {
        let ended = place.shell(&[&script, "urls.txt", &count, "3"], None).status().unwrap();
        assert!(ended.success());
    }
    assert!(Path::new(&place.directory.path("results/_SUCCESS")).exists());
    place.check(0);
}

#[test]
fn an_array_of_slurm_fetches_all_shards() {
    let place = Place::new(40);
    place.split();
    let text = example("slurm.sh");
    let array = text.lines().find_map(|line| line.strip_prefix("#SBATCH --array=")).unwrap();
    assert!(array.starts_with("0-511%") && text.contains(" -n 512 "), "{array}");
    let script = place.directory.write("slurm.sh", text);
    let start = |number| in_group(place.shell(&[&script], Some(("SLURM_ARRAY_TASK_ID", number))));
    schedule(&place, start);
    place.check(1);
}

#[test]
fn an_indexed_job_of_kubernetes_fetches_all_shards() {
    let place = Place::new(40);
    place.split();
    let text = example("kubernetes.yaml");
    assert!(text.contains("completions: 512") && text.contains(" -n 512 "));
    let (_, block) = text.split_once("- |\n").unwrap();
    let indent = block.len() - block.trim_start().len();
    let lines = block.lines().take_while(|line| line.len() - line.trim_start().len() >= indent);
    let script: Vec<&str> = lines.map(|line| &line[indent..]).collect();
    let script = script.join("\n");
    assert!(script.starts_with("name=") && script.contains("overlapped fetch"), "{script}");
    let start = |number| in_group(place.shell(&["-c", &script], Some(("JOB_COMPLETION_INDEX", number))));
    schedule(&place, start);
    place.check(1);
}

/// The door without files: N processes over one list, at once.
#[test]
fn the_parts_of_a_list_at_once_are_the_list() {
    let place = Place::new(20);
    let out = |part: usize| place.directory.path(&format!("part-{part}.ndjson"));
    let children: Vec<Child> = (1..=4)
        .map(|part| {
            let script = format!("overlapped fetch -s --shard {part}/4 -o {} @urls.txt", out(part));
            place.shell(&["-c", &script], None).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        // 1: some rows have failed.
        assert!(matches!(child.wait().unwrap().code(), Some(0 | 1)));
    }
    let mut rows = Vec::new();
    let mut hosts = Vec::new();
    for part in 1..=4 {
        let records = program::records(&fs::read_to_string(out(part)).unwrap());
        assert!(!records.is_empty(), "{part}");
        let host = |record: &serde_json::Value| {
            record["url"].as_str().unwrap().split('/').nth(2).unwrap().to_owned()
        };
        let mut own: Vec<String> = records.iter().map(host).collect();
        own.sort();
        own.dedup();
        hosts.extend(own);
        rows.extend(records.iter().map(|record| record["row"].as_u64().unwrap()));
    }
    rows.sort_unstable();
    assert!(rows.into_iter().eq(0..ROWS));
    hosts.sort();
    assert_eq!(hosts.len(), 10, "each host is in one part: {hosts:?}");
    assert_eq!(place.server.requests(), ROWS);
    for (host, record) in place.server.hosts() {
        assert!(record.max_in_flight <= 2, "{host}");
    }
}
