//! Runs that go on where they were stopped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use overlapped_proto::journal::Head;
use overlapped_testkit::{Script, Server, row_of};
use program::{Directory, command, command_to_signal, records, run, run_with};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);

/// A run in a directory of its own.
struct Job {
    directory: Directory,
    server: Server,
    list: String,
    out: String,
    /// False until a run that is to be killed is dead: till then its last row has no answer.
    is_free: Arc<AtomicBool>,
}

impl Job {
    fn new(rows: u64, route: impl Fn(u64) -> String) -> Self {
        let is_free = Arc::new(AtomicBool::new(true));
        let (freed, last) = (Arc::clone(&is_free), rows - 1);
        let body = row_of(last);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = Script::new()
            .until(move || freed.load(Ordering::SeqCst))
            .send([head.into_bytes(), body].concat());
        let server = Server::builder().route(format!("/row/{last}"), answer).start();
        Self { is_free, ..Self::on(server, rows, route) }
    }

    fn on(server: Server, rows: u64, route: impl Fn(u64) -> String) -> Self {
        let directory = Directory::new();
        let urls: String = (0..rows).map(|row| server.url(&format!("{}\n", route(row)))).collect();
        let list = directory.write("urls.txt", urls);
        let out = directory.path("out.ndjson");
        Self { directory, server, list: format!("@{list}"), out, is_free: Arc::default() }
    }

    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["-s", "-o", &self.out], more, &[self.list.as_str()]].concat()
    }

    fn run(&self, more: &[&str]) -> program::Ran {
        run(&self.words(more))
    }

    /// Starts the run and kills it once the server has seen this many more requests.
    fn killed_after(&self, requests: u64, more: &[&str]) {
        let before = self.server.requests();
        self.is_free.store(false, Ordering::SeqCst);
        let mut child = command(&self.words(more)).stderr(Stdio::null()).spawn().unwrap();
        assert!(self.server.wait_for_requests(before + requests, LONG));
        child.kill().unwrap();
        child.wait().unwrap();
        self.is_free.store(true, Ordering::SeqCst);
        // Until then the server may still count what the run has sent.
        assert!(self.server.wait_until(LONG, |server| server.open_connections() == 0));
    }

    fn state(&self) -> String {
        format!("{}.run", self.out)
    }

    fn has_state(&self) -> bool {
        Path::new(&self.state()).exists()
    }

    /// The rows of the output, sorted, each with whether it succeeded.
    fn rows(&self) -> Vec<(u64, bool)> {
        let mut rows: Vec<_> = records(&self.directory.read("out.ndjson"))
            .iter()
            .map(|record| (record["row"].as_u64().unwrap(), record["ok"].as_bool().unwrap()))
            .collect();
        rows.sort_unstable();
        rows
    }

    #[track_caller]
    fn check_complete(&self, rows: u64) {
        assert!(self.rows().into_iter().eq((0..rows).map(|row| (row, true))), "{:?}", self.rows());
    }
}

#[test]
fn files_go_on_where_they_replace_others() {
    let job = Job::new(400, slow);
    let pages = job.directory.path("deep/pages/");
    fs::create_dir_all(&pages).unwrap();
    for row in 0..400 {
        fs::write(format!("{pages}{row}"), "of another day").unwrap();
    }
    let words = |more| vec!["-s", "-j", "8", "--name", "{row}", "-o", &pages, more, &job.list];
    let mut with_durability = words("--overwrite");
    with_durability.extend(["--durability", "each"]);
    let mut child = command(&with_durability).stderr(Stdio::null()).spawn().unwrap();
    assert!(job.server.wait_for_requests(150, LONG));
    child.kill().unwrap();
    child.wait().unwrap();
    run(&words("--resume")).check_code(0);
    assert_eq!(fs::read_dir(&pages).unwrap().count(), 400, "no file has a twin");
    for row in 0..400 {
        assert_eq!(fs::read(format!("{pages}{row}")).unwrap(), row_of(row));
    }
}

/// Killed twice while one of two servers is away: its rows wait, are not failed, and are fetched once it is back.
#[test]
fn a_run_that_is_killed_while_a_host_is_away_goes_on() {
    const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 79, 1);
    const ROWS: u64 = 400;
    let (steady, away) = (Server::start(), Server::builder().address(OWN).start());
    let port = away.addr().port();
    let directory = Directory::new();
    let row = |row: u64| match row % 2 {
        0 => steady.url(&format!("/row/{row}?delay_ms=10\n")),
        _ => away.url(&format!("/row/{row}?delay_ms=10\n")),
    };
    let list = format!("@{}", directory.write("urls.txt", (0..ROWS).map(row).collect::<String>()));
    let out = directory.path("out.ndjson");
    let patient = ["-s", "--parallel-max-host", "4", "--host-down-after", "600"];
    let words = [&patient[..], &["--durability", "each", "--resume", "-o", &out, &list]].concat();
    let start = || command(&words).stderr(Stdio::null()).spawn().unwrap();
    let kill = |mut child: Child| {
        assert!(child.try_wait().unwrap().is_none(), "it waits for the host that is away");
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let of_away = |record: &&Value| record["url"].as_str().unwrap().contains("127.0.79.1");

    let first = start();
    assert!(away.wait_for_requests(40, LONG));
    drop(away);
    // The last line may not be whole yet.
    let written = || {
        let text = directory.read("out.ndjson");
        records(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
    };
    let deadline = std::time::Instant::now() + LONG;
    while written().iter().filter(|record| !of_away(record)).count() < ROWS as usize / 2 {
        assert!(std::time::Instant::now() < deadline, "the other host goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(first);
    let done = written().iter().filter(of_away).count() as u64;
    assert!((1..ROWS / 2).contains(&done), "{done}");
    // Records that the journal does not have yet are fetched again, by both of the next runs.
    let verified = run(&["journal", "verify", &format!("{out}.run")]);
    let durable =
        verified.stdout.lines().find_map(|line| line.split_once(" rows are done")?.0.parse::<u64>().ok());
    let again = 2 * (written().len() as u64 - durable.unwrap());

    let requests = steady.requests();
    let second = start();
    std::thread::sleep(Duration::from_millis(500));
    kill(second);

    let back = Server::builder().address(OWN).port(port).start();
    run(&words).check_code(0);
    let mut rows: Vec<_> =
        written().iter().map(|record| (record["row"].as_u64(), record["ok"] == true)).collect();
    rows.sort_unstable();
    assert!(rows.into_iter().eq((0..ROWS).map(|row| (Some(row), true))), "each row once");
    let repeated = steady.requests() - requests;
    assert!(repeated <= again, "what was done is not fetched again: {repeated} of {again}");
    // The last of the first server's answers may have been cut off.
    let fetched = back.requests();
    assert!((ROWS / 2 - done..=ROWS / 2 - done + 4 + again).contains(&fetched), "{fetched} beside {done}");
}

/// The state went with the run, since its records told that it was over; the next run put its files beside the old ones.
#[test]
fn a_directory_is_known_to_have_the_files_of_a_run_beside_records_too() {
    let job = Job::new(3, |row| format!("/row/{row}"));
    let (pages, other) = (job.directory.path("pages/"), job.directory.path("other.ndjson"));
    let files = || fs::read_dir(&pages).unwrap().count();
    for order in [["-o", &pages, "-o", &job.out], ["-o", &job.out, "-o", &pages]] {
        run(&[&["-s", "--overwrite", &job.list][..], &order].concat()).check_code(0);
        let requests = job.server.requests();
        assert!(Path::new(&job.directory.path("pages.run/job.json")).exists());
        for words in [&order[..], &["-o", &pages], &["-o", &pages, "-o", &other]] {
            run(&[&["-s", &job.list][..], words].concat()).check_refused(2, "--overwrite");
        }
        let again = run(&[&["--resume", &job.list][..], &order].concat());
        assert!(again.code == Some(0) && again.stderr.contains("nothing to do: all 3 rows"), "{again:?}");
        assert_eq!((files(), job.server.requests()), (3, requests));
        assert!(!Path::new(&other).exists(), "a command that is refused leaves nothing behind");
    }
}

/// Slow enough that a kill finds it half-way.
fn slow(row: u64) -> String {
    format!("/row/{row}?delay_ms=20")
}

#[test]
fn a_killed_run_goes_on() {
    let job = Job::new(600, slow);
    job.killed_after(200, &["-j", "8", "--durability", "each"]);
    assert!(job.has_state());
    job.run(&["-j", "8", "--resume"]).check_code(0);
    job.check_complete(600);
    assert!(job.server.requests() < 600 + 100, "{} requests for 600 rows", job.server.requests());
    assert!(!job.has_state(), "a run whose rows all succeeded needs no state");
    // The output is whole; nothing is to be done, and nothing is lost.
    let requests = job.server.requests();
    for again in ["--resume", "--retry-failed"] {
        let ran = run(&["-o", &job.out, again, &job.list]);
        assert!(
            ran.code == Some(0) && ran.stderr.contains("nothing to do: all 600 rows are done"),
            "{ran:?}"
        );
    }
    assert_eq!((job.server.requests(), job.has_state()), (requests, false));
    job.check_complete(600);
    // Of a longer list it is no longer the whole.
    let path = job.list.trim_start_matches('@');
    fs::write(path, fs::read_to_string(path).unwrap() + &job.server.url("/ok\n")).unwrap();
    job.run(&["--resume"]).check_refused(2, "holds 600 of the 601 rows");
    job.run(&["--resume"]).check_refused(2, "--skip 600 and another -o");
    let more = job.directory.path("more.ndjson");
    run(&["-s", "--skip", "600", "-o", &more, &job.list]).check_code(0);
    assert_eq!(records(&job.directory.read("more.ndjson"))[0]["row"], 600);
    assert!(!job.has_state(), "a run that did not begin leaves nothing");
}

#[test]
fn a_state_is_not_passed_over() {
    let job = Job::new(300, slow);
    job.killed_after(100, &["-j", "8", "--durability", "each"]);
    let refused = job.run(&[]);
    for choice in ["--resume", "--retry-failed", "--overwrite"] {
        refused.check_refused(2, choice);
    }
    job.run(&["--overwrite"]).check_code(0);
    job.check_complete(300);
    assert!(!job.has_state());
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let job = Job::new(2_000, slow);
    let words = ["-j", "8", "--progress", "none", "-o", &job.out, &job.list];
    let child = command_to_signal(&words).stderr(Stdio::piped()).spawn().unwrap();
    assert!(job.server.wait_for_requests(100, LONG));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("-o {} {} --resume", job.out, job.list)), "{said}");
    let sent = job.server.requests();
    let before = job.rows().len() as u64;
    assert_eq!(before, sent, "what was in flight was let to its end, and is durable");
    job.run(&["-j", "64", "--resume"]).check_code(0);
    job.check_complete(2_000);
    assert_eq!(job.server.requests(), 2_000, "nothing is fetched twice after an orderly end");
}

#[test]
fn a_changed_list_or_setting_is_refused() {
    let job = Job::new(300, slow);
    job.killed_after(100, &["-j", "8", "--durability", "each"]);
    job.run(&["--resume", "-X", "DELETE"]).check_refused(2, "method was GET and is DELETE");
    job.run(&["--resume", "--limit", "5"]).check_refused(2, "limit");
    job.run(&["--resume", "-o", &job.directory.path("more.csv")])
        .check_refused(2, "outputs was out.ndjson and is more.csv, out.ndjson");
    let path = job.list.trim_start_matches('@');
    let text = fs::read_to_string(path).unwrap();
    let changes = [
        (text.replacen("/row/150?", "/row/151?", 1), "content has changed"),
        (text.replacen("/row/", "/raw/", 1), "content has changed"),
        (text[..text.len() - 20].to_owned(), "bytes and has"),
        (String::new(), "and has 0"),
        (format!("{}http://127.0.0.1:1/\n", &text[..text.len() - 1]), "content has changed"),
    ];
    for (changed, why) in changes {
        fs::write(path, changed).unwrap();
        let refused = job.run(&["--resume"]);
        refused.check_refused(2, why);
        refused.check_refused(2, "Put that list back");
    }
    fs::write(path, text).unwrap();
    job.run(&["-j", "64", "--resume"]).check_code(0);
    job.check_complete(300);
}

/// They were no part of the identity, and the run went on with half of its rows fetched under other rules.
#[test]
fn a_run_begun_with_other_rules_for_what_is_asked_is_refused() {
    let job = Job::new(300, slow);
    let begun = ["-j", "8", "--durability", "each", "-X", "PUT", "-d", "a=1"];
    job.killed_after(100, &begun);
    let requests = job.server.requests();
    let changes = [
        (["--robots"].as_slice(), "robots.txt was not fetched and is followed"),
        (&["--resolve", "a.test:80:127.0.0.1"], "resolved hosts was empty and is a.test:80:127.0.0.1"),
        (&["--public-only"], "public addresses only was false and is true"),
        (&["--allow-address", "10.0.0.0/8"], "allowed addresses was empty and is 10.0.0.0/8"),
        (&["-u", "me:s3cret"], "credentials was none and is a user and password (not kept)"),
    ];
    for (change, difference) in changes {
        let refused = job.run(&[&begun, change, &["--resume"]].concat());
        refused.check_refused(2, difference);
        refused.check_refused(2, "Give the same again to go on with it");
        refused.check_refused(2, "--overwrite begins anew");
    }
    let other = ["-j", "8", "-X", "PUT", "-d", "a=2", "--resume"];
    job.run(&other).check_refused(2, "request body was 3 bytes, check c22f and is 3 bytes, check");
    assert_eq!(job.server.requests(), requests, "nothing was sent");
    // More patience, another pace and other certificates are no other run.
    let patience =
        ["-j", "64", "--retry", "5", "-m", "99", "--rate", "9000/s", "-4", "--insecure-host", "a.test"];
    job.run(&[&begun[2..], &patience, &["--resume"]].concat());
    assert_eq!(job.rows().len(), 300);
}

/// A copy, a checkout or a move to a larger disk change the time, and it was refused.
#[test]
fn a_list_with_another_time_or_another_place_is_the_same() {
    let job = Job::new(300, slow);
    job.killed_after(100, &["-j", "8", "--durability", "each"]);
    let copy = job.directory.write("copy.txt", fs::read(job.list.trim_start_matches('@')).unwrap());
    fs::remove_file(job.list.trim_start_matches('@')).unwrap();
    run(&["-s", "-j", "64", "--resume", "-o", &job.out, &format!("@{copy}")]).check_code(0);
    job.check_complete(300);
    assert!(job.server.requests() < 300 + 50);
}

#[test]
fn a_list_that_has_grown_goes_on() {
    let job = Job::new(300, slow);
    job.killed_after(100, &["-j", "8", "--durability", "each"]);
    let path = job.list.trim_start_matches('@');
    let grow = |from: u64| {
        let more: String = (from..from + 50).map(|row| job.server.url(&format!("{}\n", slow(row)))).collect();
        fs::write(path, fs::read_to_string(path).unwrap() + &more).unwrap();
    };
    grow(300);
    job.killed_after(50, &["-j", "8", "--durability", "each", "--resume"]);
    grow(350);
    let ran = run(&["-j", "64", "--progress", "none", "--resume", "-o", &job.out, &job.list]);
    assert!(ran.code == Some(0) && ran.stderr.contains("the list has grown"), "{ran:?}");
    job.check_complete(400);
}

/// Its rows would be other ones than those that were read.
#[test]
fn a_list_whose_last_row_was_continued_is_refused() {
    let job = Job::new(2, |row| if row == 0 { "/silent".to_owned() } else { slow(row) });
    let path = job.list.trim_start_matches('@');
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.trim_end()).unwrap();
    job.killed_after(2, &["--durability", "each"]);
    fs::write(path, format!("{}0\n{}", text.trim_end(), job.server.url("/ok\n"))).unwrap();
    job.run(&["--resume"]).check_refused(2, "last row has changed");
    fs::write(path, text.trim_end().to_owned() + "\n").unwrap();
    job.killed_after(1, &["--resume"]);
}

#[test]
fn a_run_that_is_over_says_so() {
    let job =
        Job::new(
            40,
            |row| if row == 7 { "/flaky?fail=1&status=404".to_owned() } else { format!("/row/{row}") },
        );
    job.run(&[]).check_code(1);
    let ran = run(&["-o", &job.out, "--resume", &job.list]);
    assert!(ran.code == Some(1) && ran.stderr.contains("1 of them failed: --retry-failed"), "{ran:?}");
    assert_eq!(job.server.requests(), 40);
    job.run(&["--retry-failed"]).check_code(0);
    // Files of bodies do not tell which rows they are of; their state stays.
    let pages = job.directory.path("pages/");
    let words = |more: &[&'static str]| [&["-o", &pages], more, &[&job.list]].concat().join(" ");
    let go = |more| run(&words(more).split(' ').collect::<Vec<_>>());
    go(&["--resume", "-s"]).check_code(0);
    let requests = job.server.requests();
    let ran = go(&["--resume"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("nothing to do: all 40 rows are done"), "{ran:?}");
    assert_eq!((job.server.requests(), fs::read_dir(&pages).unwrap().count()), (requests, 40));
}

/// The second run took the place of the first one's state without a word.
#[test]
fn a_directory_that_a_run_has_filled_needs_a_choice() {
    let job = Job::new(3, |row| format!("/row/{row}"));
    let pages = job.directory.path("pages/");
    fs::create_dir(&pages).unwrap();
    fs::write(format!("{pages}/of another program"), "").unwrap();
    run(&["-s", "-o", &pages, &job.list]).check_code(0);
    let state = || fs::read(job.directory.path("pages.run/job.json")).unwrap();
    let (first, requests) = (state(), job.server.requests());
    let other = format!("@{}", job.directory.write("other.txt", job.server.url("/text/9\n")));
    for list in [&job.list, &other] {
        run(&["-s", "-o", &pages, list]).check_refused(2, "--overwrite");
    }
    run(&["-s", "-o", &pages, "--resume", &other]).check_refused(2, "list");
    assert_eq!((state(), job.server.requests()), (first, requests));
    run(&["-s", "-o", &pages, "--resume", &job.list]).check_code(0);
    assert_eq!(job.server.requests(), requests);
    run(&["-s", "-o", &pages, "--overwrite", "--name", "other", &other]).check_code(0);
    assert_eq!(fs::read_dir(&pages).unwrap().count(), 5);
    // Without the directory its state is in the way of nothing.
    fs::remove_dir_all(&pages).unwrap();
    run(&["-s", "-o", &pages, &other]).check_code(0);
}

/// They were taken for another run, and --overwrite was offered.
#[test]
fn outputs_in_another_order_are_the_same_run() {
    let job = Job::new(300, slow);
    let csv = job.directory.path("out.csv");
    job.killed_after(100, &["-j", "8", "--durability", "each", "-o", &csv]);
    let ran = run(&["-s", "-j", "64", "-o", &csv, "-o", &job.out, &job.list]);
    ran.check_refused(2, "--resume resumes it");
    run(&["-s", "-j", "64", "-o", &csv, "-o", &job.out, "--resume", &job.list]).check_code(0);
    job.check_complete(300);
    assert_eq!(job.directory.read("out.csv").matches("127.0.0.1:").count() % 300, 0);
    assert_eq!(job.directory.names(), ["out.csv", "out.ndjson", "urls.txt"]);
}

#[test]
fn rows_that_failed_are_fetched_once_more() {
    let route = |row| match row % 3 {
        0 => format!("/flaky?fail=1&status=404&key={row}"),
        _ => format!("/row/{row}"),
    };
    for output in ["out.ndjson", "out.csv"] {
        let job = Job::new(300, route);
        let out = job.directory.path(output);
        let words = |more: &[&'static str]| [&["-s", "-o", &out], more, &[&job.list]].concat().join(" ");
        let go = |more| run(&words(more).split(' ').collect::<Vec<_>>());
        go(&[]).check_code(1);
        assert!(Path::new(&format!("{out}.run")).exists(), "failed rows may be asked for again");
        go(&["--resume"]).check_code(1);
        assert_eq!(job.server.requests(), 300, "a run that is done has nothing left");
        go(&["--retry-failed"]).check_code(0);
        assert_eq!(job.server.requests(), 400);
        let mut text = job.directory.read(output);
        if output == "out.csv" {
            assert_eq!(text.matches("row,").count(), 1, "one header");
            // Bodies have line ends; the rows are told by their URLs.
            let urls = text.matches("127.0.0.1:").count();
            assert_eq!(urls % 300, 0, "{urls}");
            text.clear();
        }
        if output == "out.ndjson" {
            job.check_complete(300);
        }
        assert!(!Path::new(&format!("{out}.run")).exists());
    }
}

#[test]
fn a_list_from_a_pipe_is_written_down() {
    let job = Job::new(400, slow);
    let list = fs::read(job.list.trim_start_matches('@')).unwrap();
    let words = ["-s", "-j", "8", "--durability", "each", "-o", &job.out, "-"];
    let mut child = command(&words).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &list).unwrap();
    drop(stdin);
    assert!(job.server.wait_for_requests(150, LONG));
    child.kill().unwrap();
    child.wait().unwrap();
    // All of it had been read: nothing need be given again.
    run(&["-s", "--resume", "-o", &job.out, "-"]).check_code(0);
    job.check_complete(400);
}

#[test]
fn a_run_that_is_refused_leaves_no_list() {
    let directory = Directory::new();
    let out = directory.write("out.ndjson", "of another day");
    run_with(&["-s", "-o", &out, "-"], b"http://127.0.0.1:1/\n").check_refused(2, "exists");
    run_with(&["-s", "--resume", "-o", &out, "-"], b"http://127.0.0.1:1/\n").check_refused(2, "exists");
    assert_eq!(directory.names(), ["out.ndjson"]);
}

#[test]
fn a_list_from_a_pipe_that_was_not_read_whole_is_given_again() {
    let job = Job::new(400, slow);
    let list = fs::read(job.list.trim_start_matches('@')).unwrap();
    let words = ["-s", "-j", "8", "--durability", "each", "-o", &job.out, "-"];
    let mut child = command(&words).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &list[..list.len() / 2]).unwrap();
    assert!(job.server.wait_for_requests(100, LONG));
    child.kill().unwrap();
    child.wait().unwrap();
    let resume = ["-s", "--resume", "-o", &job.out, "-"];
    run(&resume).check_refused(2, "give all of it again");
    run_with(&resume, b"http://127.0.0.1:1/\nhttp://127.0.0.1:1/\n").check_refused(2, "not the list");
    run_with(&resume, &list).check_code(0);
    job.check_complete(400);
}

#[test]
fn a_request_in_doubt_is_not_sent_twice() {
    let server = Server::builder().route("/silent-post", Script::response(200, &[], "done")).start();
    let job = Job::on(server, 40, |row| if row < 20 { format!("/row/{row}") } else { "/silent".to_owned() });
    job.killed_after(40, &["-j", "64", "-X", "POST", "--durability", "each"]);
    job.run(&["-X", "POST", "--resume"]).check_code(1);
    assert_eq!(job.server.requests(), 40, "no POST is sent twice");
    let rows = job.rows();
    assert_eq!(rows.len(), 40);
    let text = job.directory.read("out.ndjson");
    assert!(text.matches("run.unconfirmed").count() >= 20, "{text}");
}

/// Its record said GET and named no host, as that of a row that cannot be read.
#[test]
fn the_record_of_a_request_in_doubt_has_the_row() {
    const ROWS: u64 = 8;
    let server = Server::start();
    let directory = Directory::new();
    let method = |row: u64| ["POST", "PATCH"][(row % 2) as usize];
    let url = |row: u64| server.url(&format!("/silent?n={row}"));
    let line = |row: u64| match row {
        // The run's own method is that of the rows that name none.
        0 => format!("{{\"url\":\"{}\",\"id\":\"n{row}\",\"color\":\"red\"}}\n", url(row)),
        _ => format!(
            "{{\"url\":\"{}\",\"id\":\"n{row}\",\"method\":\"{}\",\"color\":\"red\"}}\n",
            url(row),
            method(row)
        ),
    };
    let list = format!("@{}", directory.write("list.ndjson", (0..ROWS).map(line).collect::<String>()));
    let urls: Vec<_> = (0..ROWS).map(url).collect();
    let out = directory.path("out.ndjson");
    let job = Job { directory, server, list, out, is_free: Arc::default() };
    job.killed_after(ROWS, &["-X", "POST", "--durability", "each"]);
    job.run(&["-X", "POST", "--resume"]).check_code(1);
    assert_eq!(job.server.requests(), ROWS, "no request is sent twice");
    let mut records = records(&job.directory.read("out.ndjson"));
    records.sort_by_key(|record| record["row"].as_u64());
    assert_eq!(records.len() as u64, ROWS);
    for (row, record) in (0..ROWS).zip(&records) {
        let of = |column: &str| record[column].as_str().unwrap_or_default().to_owned();
        let found = [of("error"), of("method"), of("url"), of("host"), of("id")];
        let expected = ["run.unconfirmed", method(row), &urls[row as usize], "127.0.0.1", &format!("n{row}")];
        assert_eq!(found, expected, "{record}");
        assert_eq!((&record["meta"]["color"], &record["attempts"]), (&"red".into(), &0.into()), "{record}");
    }
}

#[test]
fn a_damaged_journal_is_told_and_repaired() {
    let job = Job::new(600, slow);
    job.killed_after(300, &["-j", "8", "--durability", "each"]);
    run(&["journal", "verify", &job.state()]).check_code(0);
    let cat = run(&["journal", "cat", &job.state()]);
    assert!(cat.stdout.contains("snapshot") && cat.stdout.contains("done  ok 0"), "{cat:?}");
    let journal = Path::new(&job.state()).join("journal-1.log");
    let mut bytes = fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&journal, bytes).unwrap();
    run(&["journal", "verify", &job.state()]).check_refused(4, "damaged at byte");
    job.run(&["--resume"]).check_refused(4, "damaged at byte");
    let repaired = run(&["journal", "repair", &job.state()]);
    assert!(
        repaired.code == Some(0) && repaired.stdout.contains("journal-1.log: left out from byte"),
        "{repaired:?}"
    );
    job.run(&["-j", "64", "--resume"]).check_code(0);
    job.check_complete(600);
}

/// What a crash leaves between two generations: the files of both.
#[test]
fn the_later_of_two_generations_is_what_counts() {
    let job = Job::new(600, slow);
    let words = ["-j", "8", "--durability", "each", "--resume"];
    job.killed_after(200, &words);
    let state = |file: &str| Path::new(&job.state()).join(file);
    let earlier = ["snapshot-1", "journal-1.log", "intents-1.log"];
    let kept = earlier.map(|file| fs::read(state(file)).unwrap());
    job.killed_after(200, &words);
    let alone = run(&["journal", "verify", &job.state()]);
    assert!(alone.code == Some(0) && alone.stdout.contains("journal-2.log"), "{alone:?}");
    for (file, bytes) in earlier.iter().zip(&kept) {
        assert!(!state(file).exists(), "{file} is left");
        fs::write(state(file), bytes).unwrap();
    }
    let both = run(&["journal", "verify", &job.state()]);
    assert_eq!((both.code, &both.stdout), (Some(0), &alone.stdout));
    let cat = run(&["journal", "cat", &job.state()]);
    assert!(
        cat.stdout.starts_with("snapshot-2:36  snapshot") && !cat.stdout.contains("journal-1.log"),
        "{cat:?}"
    );
    job.run(&["-j", "64", "--resume"]).check_code(0);
    job.check_complete(600);
}

/// What the loss of power leaves: outputs that are longer than a journal whose end was not written whole.
#[test]
fn a_torn_journal_costs_its_tail_and_no_more() {
    let job = Job::new(500, slow);
    job.killed_after(250, &["-j", "8", "--durability", "each"]);
    let journal = fs::read(Path::new(&job.state()).join("journal-1.log")).unwrap();
    for part in 0..8 {
        let directory = Directory::new();
        let (out, state) = (directory.path("out.ndjson"), directory.path("out.ndjson.run"));
        fs::copy(&job.out, &out).unwrap();
        fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
        for file in fs::read_dir(job.state()).unwrap().map(|file| file.unwrap()) {
            fs::copy(file.path(), Path::new(&state).join(file.file_name())).unwrap();
        }
        // What a file begins with is on the disk before the run begins.
        let mut torn = journal[..(journal.len() * part / 8 + part).max(Head::BYTES)].to_vec();
        // Blocks that were allocated and not written.
        torn.resize(torn.len() + part % 2 * 512, 0);
        fs::write(Path::new(&state).join("journal-1.log"), torn).unwrap();
        run(&["-s", "-j", "64", "--resume", "-o", &out, &job.list]).check_code(0);
        let found = records(&fs::read_to_string(&out).unwrap());
        let mut rows: Vec<_> = found.iter().map(|record| record["row"].as_u64().unwrap()).collect();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..500), "cut at {part}/8");
    }
}

#[test]
fn a_full_disk_ends_the_run_and_it_goes_on() {
    let job = Job::new(2_000, |row| format!("/row/{row}"));
    // A limit on the size of a file: the write fails as on a full disk, and its signal does not end the program.
    let program = env!("CARGO_BIN_EXE_overlapped");
    let limited = format!("ulimit -f 600; exec {program} -s -o {} {}", job.out, job.list);
    let output = Command::new("sh").args(["-c", &limited]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("out.ndjson") && said.contains("--resume"), "{said}");
    run(&["journal", "verify", &job.state()]).check_code(0);
    job.run(&["--resume"]).check_code(0);
    job.check_complete(2_000);
}

#[test]
fn nothing_secret_is_in_the_state() {
    let job = Job::new(300, slow);
    let more = ["-j", "8", "-u", "me:s3cret", "-H", "X-Key: s3cret", "-d", "s3cret", "-X", "GET"];
    job.killed_after(50, &more);
    for file in fs::read_dir(job.state()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("s3cret"));
    }
}

#[test]
fn a_run_that_goes_on_needs_an_output() {
    run(&["--resume", "http://127.0.0.1:1/", "http://127.0.0.1:1/"]).check_refused(2, "-o FILE");
    run(&["journal", "look", "x"]).check_refused(2, "cat, verify, repair");
    run(&["journal", "verify", "/nowhere"]).check_refused(2, "/nowhere");
    run(&["--resume", "--durability", "none", "-o", "x.ndjson", "@x"]).check_refused(2, "keeps no state");
}

/// The run ended with exit code 3.
#[test]
fn a_directory_of_rows_that_is_swapped_for_a_link_or_removed() {
    for swap in ["link", "removed"] {
        let job = Job::new(300, slow);
        let (pages, elsewhere) = (job.directory.path("pages/"), job.directory.path("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        let words = ["-s", "-j", "8", "--name", "a/{row}", "-o", &pages, "-o", &job.out, &job.list];
        let child = command(&words).stderr(Stdio::piped()).spawn().unwrap();
        assert!(job.server.wait_for_requests(100, LONG));
        let inner = format!("{pages}a");
        fs::rename(&inner, job.directory.path("away")).unwrap();
        if swap == "link" {
            std::os::unix::fs::symlink(&elsewhere, &inner).unwrap();
        }
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{swap}: {ended:?}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{swap}: written outside");
        job.check_complete(300);
        let moved = fs::read_dir(job.directory.path("away")).unwrap().count();
        let there = records(&job.directory.read("out.ndjson"));
        let there =
            there.iter().filter(|record| Path::new(record["body_path"].as_str().unwrap()).exists()).count();
        assert_eq!(moved + there, 300, "{swap}: each file is where its record says, or was taken away");
    }
}

#[test]
fn nothing_is_left_of_an_empty_list() {
    let directory = Directory::new();
    let list = format!("@{}", directory.write("urls.txt", ""));
    for name in ["out.ndjson", "out.ndjson.gz", "out.csv", "out.csv.zst", "out.tsv.gz"] {
        let words = ["-s", "-o", &directory.path(name), "--resume", &list];
        for _ in 0..2 {
            run(&words).check_code(0);
        }
    }
}

/// A run without a state that replaces an output also replaces the state beside it, unless another process uses that.
#[test]
fn a_run_without_a_state_discards_the_one_that_is_there() {
    let server = Server::start();
    let directory = Directory::new();
    let urls: String = (0..300).map(|row| server.url(&format!("/row/{row}?delay_ms=5")) + "\n").collect();
    let long = format!("@{}", directory.write("long.txt", &urls));
    let short = format!("@{}", directory.write("short.txt", server.url("/row/1")));
    for name in ["r.ndjson", "r.parquet", "r.har"] {
        let path = directory.path(name);
        let words = ["-s", "-j", "4", "--durability", "each", "-o", &path, &long];
        let seen = server.count("/row/");
        let mut child = command(&words).spawn().unwrap();
        server.wait_for_requests(seen + 40, Duration::from_secs(60));
        let without = ["-s", "--durability", "none", "--overwrite", "-o", &path, &short];
        run(&without).check_refused(2, "uses this run");
        child.kill().unwrap();
        child.wait().unwrap();
        run(&without).check_code(0);
        assert!(!directory.names().contains(&format!("{name}.run")), "{name}: {:?}", directory.names());
        run(&["-s", "-o", &path, "--overwrite", &short]).check_code(0);
    }
}
