//! Run directories with wrong or planted content: none of it is trusted, and no file that it names is touched.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use overlapped_proto::job::Row;
use overlapped_proto::journal::{Checkpoint, Frame, Group, Head, Listed, SinkId, State, read};
use overlapped_proto::row_set::RowSet;
use overlapped_testkit::{Script, Server};
use program::{Directory, Ran, command, records, run, run_with};

const LONG: Duration = Duration::from_secs(60);
const ROWS: u64 = 120;

/// A server that answers the last row only once it is told to, so that no run ends before it is killed.
fn holding() -> (Server, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&released);
    let held = move |_: &_| match answers.load(Ordering::SeqCst) {
        true => Script::response(200, &[], "released"),
        false => Script::new().silence(),
    };
    (Server::builder().handler("/held", held).start(), released)
}

/// A list of `ROWS` rows, the last of which is held.
fn urls(server: &Server) -> String {
    let rows = (0..ROWS - 1).map(|row| server.url(&format!("/row/{row}?delay_ms=20&n={row}\n")));
    rows.chain([server.url("/held\n")]).collect()
}

/// A run that was killed in its midst.
struct Stopped {
    directory: Directory,
    server: Server,
    outputs: Vec<String>,
    list: String,
    words: Vec<&'static str>,
}

impl Stopped {
    fn new(outputs: &[&str], words: &[&'static str]) -> Self {
        let (directory, (server, released)) = (Directory::new(), holding());
        let list = format!("@{}", directory.write("urls.txt", urls(&server)));
        let outputs = outputs.iter().flat_map(|output| ["-o".to_owned(), directory.path(output)]).collect();
        let stopped = Self { directory, server, outputs, list, words: words.to_vec() };
        let mut child = command(&stopped.all(&["-j", "8"])).stderr(Stdio::null()).spawn().unwrap();
        assert!(stopped.server.wait_for_requests(60, LONG));
        child.kill().unwrap();
        child.wait().unwrap();
        released.store(true, Ordering::SeqCst);
        // Until then the server may still count what the run has sent.
        assert!(stopped.server.wait_until(LONG, |server| server.open_connections() == 0));
        stopped
    }

    fn all<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let outputs: Vec<_> = self.outputs.iter().map(String::as_str).collect();
        [&["-s", "--durability", "each"], &self.words[..], &outputs[..], more, &[self.list.as_str()]].concat()
    }

    fn resume(&self) -> Ran {
        run(&self.all(&["-j", "64", "--resume"]))
    }

    fn state(&self, file: &str) -> PathBuf {
        let mut directory = PathBuf::from(self.outputs[1].trim_end_matches('/')).into_os_string();
        directory.push(".run");
        Path::new(&directory).join(file)
    }

    fn change(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(file).unwrap();
        change(&mut bytes);
        fs::write(file, bytes).unwrap();
    }

    /// What the journal says last.
    fn last(&self) -> (State, Group) {
        let (mut state, mut last) = (State::default(), Group::default());
        read(&fs::read(self.state("journal-1.log")).unwrap(), |_, frame| {
            if let Frame::Done(group) = &frame {
                last = group.clone();
            }
            state.apply(frame);
        })
        .unwrap();
        (state, last)
    }

    /// Appends an entry to the journal as if the run had.
    fn forge(&self, frame: &Frame) {
        self.change(&self.state("journal-1.log"), |bytes| frame.encode(bytes));
    }

    /// It is refused, says what to do, and sends nothing.
    #[track_caller]
    fn check_refused(&self, what: &str) {
        let before = self.server.requests();
        let refused = self.resume();
        refused.check_refused(4, what);
        let advice = ["--overwrite", "journal repair", "is not reliable"];
        assert!(advice.iter().any(|advice| refused.stderr.contains(advice)), "{refused:?}");
        assert_eq!(self.server.requests(), before);
    }

    #[track_caller]
    fn check_goes_on(&self) {
        self.resume().check_code(0);
        let text = self.directory.read("out.ndjson");
        let mut rows: Vec<_> = records(&text).iter().map(|record| record["row"].as_u64().unwrap()).collect();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..ROWS));
    }
}

#[test]
fn an_output_that_was_changed_is_refused() {
    let run = Stopped::new(&["out.ndjson"], &[]);
    let out = PathBuf::from(run.directory.path("out.ndjson"));
    let whole = fs::read(&out).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    let last_block = text.len() - 4_096;
    assert!(text.find("127").is_some_and(|at| at < last_block), "the change is far from the end");
    let changes = [
        // Its length and its last bytes alone were compared.
        text.replacen("127", "126", 1),
        rest.to_owned(),
        format!("{rest}{first}\n{first}\n"),
        text.replace('\n', "\r\n"),
        text[..text.len() / 2].to_owned(),
        String::new(),
    ];
    for changed in changes {
        fs::write(&out, changed).unwrap();
        run.check_refused("out.ndjson");
    }
    fs::remove_file(&out).unwrap();
    run.check_refused("out.ndjson");
    fs::write(&out, whole).unwrap();
    run.check_goes_on();
}

#[test]
fn an_entry_that_says_too_much_is_refused() {
    let run = Stopped::new(&["out.ndjson"], &[]);
    let journal = run.state("journal-1.log");
    let whole = fs::read(&journal).unwrap();
    let (state, last) = run.last();
    let group = |ok: std::ops::Range<u64>| Group {
        ok: ok.map(Row).filter(|row| !state.done.contains(*row)).collect(),
        failed: Vec::new(),
        ..last.clone()
    };
    let sink = SinkId::new("out.ndjson");
    let at = last.checkpoints.of(&sink).unwrap().clone();
    let mut beyond = group(ROWS..ROWS + 1);
    beyond.checkpoints.set(sink.clone(), Checkpoint { position: at.position + (1 << 20), ..at.clone() });
    let mut other = group(ROWS..ROWS + 1);
    other.checkpoints.set(sink.clone(), Checkpoint { data: [at.data[0] ^ 1, 0, 0, 0].into(), ..at.clone() });
    let mut foreign = group(ROWS..ROWS + 1);
    foreign.checkpoints.set(sink, Checkpoint { data: b"of a table".as_slice().into(), ..at });
    let mut list = group(ROWS..ROWS + 1);
    list.listed = Some(Listed { bytes: 1 << 30, sum: 0 });
    let many = group(0..(1 << 24) - 1);
    for (frame, what) in [
        (many, "rows are done"),
        (beyond, "bytes"),
        (other, "changed"),
        (foreign, "the state has no length of it"),
    ] {
        run.forge(&Frame::Done(frame));
        run.check_refused(what);
        fs::write(&journal, &whole).unwrap();
    }
    run.forge(&Frame::Done(list));
    run.resume().check_refused(2, "content has changed");
    fs::write(&journal, &whole).unwrap();
    let twice = Group { ok: vec![state.done.low()], ..group(0..0) };
    run.forge(&Frame::Done(Group { ok: vec![Row(ROWS), Row(ROWS + 1)], ..group(0..0) }));
    run.forge(&Frame::Done(Group { ok: vec![Row(ROWS)], ..twice }));
    run.check_refused("is malformed");
    fs::write(&journal, &whole).unwrap();
    run.check_goes_on();
}

/// The sum is checked at the end, whatever the rows are that the state has invented.
#[test]
fn rows_beyond_the_list_are_told_at_the_end() {
    let run = Stopped::new(&["out.ndjson"], &[]);
    let (_, last) = run.last();
    let (ok, failed) = (vec![Row(ROWS), Row(ROWS + 7)], Vec::new());
    run.forge(&Frame::Done(Group { ok, failed, ..last }));
    let ran = run.resume();
    ran.check_refused(4, &format!("{} rows are done, but the list has {ROWS}", ROWS + 2));
}

#[test]
fn files_of_another_run_are_refused() {
    let run = Stopped::new(&["out.ndjson"], &[]);
    for file in ["snapshot-1", "journal-1.log", "intents-1.log"] {
        let whole = fs::read(run.state(file)).unwrap();
        let head = Head { run: 7, generation: 1, process: 1 }.encode();
        run.change(&run.state(file), |bytes| bytes[..Head::BYTES].copy_from_slice(&head));
        run.resume().check_refused(4, file);
        fs::remove_file(run.state(file)).unwrap();
        run.resume().check_refused(4, if file == "snapshot-1" { "snapshot" } else { file });
        fs::write(run.state(file), whole).unwrap();
    }
    let manifest = run.state("job.json");
    let whole = fs::read(&manifest).unwrap();
    run.change(&manifest, |bytes| {
        let at = bytes.windows(5).position(|word| word == b"\"GET\"").unwrap();
        bytes[at + 1] = b'P';
    });
    run.check_refused("changed by hand");
    fs::write(&manifest, whole).unwrap();
    run.check_goes_on();
}

/// The directory of the bodies, or some of them: their rows are done, and would not be fetched again.
#[test]
fn files_that_are_gone_are_noticed() {
    let run = Stopped::new(&["pages/", "out.ndjson"], &[]);
    let pages = PathBuf::from(run.directory.path("pages"));
    let away = PathBuf::from(run.directory.path("away"));
    fs::rename(&pages, &away).unwrap();
    run.check_refused("pages");
    assert!(!pages.exists(), "nothing is made in its place");
    fs::create_dir(&pages).unwrap();
    run.check_refused("is missing");
    fs::remove_dir(&pages).unwrap();
    fs::rename(&away, &pages).unwrap();
    run.check_goes_on();
}

/// What comes through a pipe is there once, in the state.
#[test]
fn a_piped_list_that_was_damaged_is_refused() {
    let (directory, (server, released)) = (Directory::new(), holding());
    let list = urls(&server);
    let out = directory.path("out.ndjson");
    let words = ["-s", "-j", "8", "--durability", "each", "-o", &out, "-"];
    let mut child = command(&words).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), list.as_bytes()).unwrap();
    assert!(server.wait_for_requests(60, LONG));
    child.kill().unwrap();
    child.wait().unwrap();
    released.store(true, Ordering::SeqCst);
    let whole = PathBuf::from(format!("{out}.run/list.whole"));
    let resume = ["-s", "-j", "64", "--resume", "-o", &out, "-"];
    for damaged in [&list[..list.len() - 40], &list.replace("/row/100", "/row/101"), "", &list.repeat(2)] {
        fs::write(&whole, damaged).unwrap();
        run(&resume).check_refused(4, "list.whole");
    }
    fs::write(&whole, &list).unwrap();
    run(&resume).check_code(0);
    assert_eq!(records(&directory.read("out.ndjson")).len() as u64, ROWS);
}

#[test]
fn no_post_is_sent_again_without_its_intents() {
    for damage in ["missing", "empty", "flipped", "cut"] {
        let run = Stopped::new(&["out.ndjson"], &["-X", "POST"]);
        let intents = run.state("intents-1.log");
        match damage {
            "missing" => fs::remove_file(&intents).unwrap(),
            "empty" => run.change(&intents, Vec::clear),
            "flipped" => run.change(&intents, |bytes| {
                let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
                bytes[last] ^= 1;
            }),
            _ => run.change(&intents, |bytes| bytes.truncate(Head::BYTES + 24)),
        }
        run.check_refused("intents-1.log");
        let sent = run.server.requests();
        let done = run.last().0.done.len();
        program::run(&["journal", "repair", run.state("").to_str().unwrap()]).check_code(0);
        run.resume().check_code(1);
        assert_eq!(run.server.requests(), sent, "{damage}");
        let text = run.directory.read("out.ndjson");
        assert_eq!(text.lines().count() as u64, ROWS);
        assert_eq!(text.matches("run.unconfirmed").count() as u64, ROWS - done);
        // When it is asked for they are.
        program::run(&run.all(&["-j", "64", "--retry-failed"])).check_code(0);
        assert_eq!(run.server.requests(), sent + ROWS - done);
    }
}

/// A GET may be sent as often as one likes.
#[test]
fn without_intents_what_may_be_sent_twice_goes_on() {
    let run = Stopped::new(&["out.ndjson"], &[]);
    fs::remove_file(run.state("intents-1.log")).unwrap();
    run.check_refused("intents-1.log");
    program::run(&["journal", "repair", run.state("").to_str().unwrap()]).check_code(0);
    run.check_goes_on();
}

// --- what others have planted --------------------------------------------------------------------------------

/// A list of five rows, and where its results go: a directory that others may write to.
fn shared() -> (Directory, Server, String, String) {
    let (directory, server) = (Directory::new(), Server::start());
    let urls: String = (0..5).map(|row| server.url(&format!("/row/{row}\n"))).collect();
    let list = format!("@{}", directory.write("urls.txt", urls));
    let out = directory.path("out.ndjson");
    (directory, server, list, out)
}

fn make_state(out: &str, mode: u32) -> PathBuf {
    let state = PathBuf::from(format!("{out}.run"));
    fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
    state
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    for mode in [0o777, 0o770, 0o702, 0o1777] {
        let (directory, server, list, out) = shared();
        let state = make_state(&out, mode);
        for words in [&["-s"][..], &["-s", "--resume"], &["-s", "--overwrite"]] {
            let ran = run(&[words, &["-o", &out, &list]].concat());
            ran.check_refused(2, "can be written to by other users");
            assert!(ran.stderr.contains("remove it"), "{ran:?}");
        }
        assert_eq!((server.requests(), fs::read_dir(&state).unwrap().count()), (0, 0));
        assert_eq!(directory.names(), ["out.ndjson.run", "urls.txt"]);
    }
}

#[test]
fn a_state_that_is_a_link_is_refused() {
    let (directory, server, list, out) = shared();
    let theirs = directory.path("theirs");
    fs::DirBuilder::new().mode(0o700).create(&theirs).unwrap();
    symlink(&theirs, format!("{out}.run")).unwrap();
    for begin in ["--resume", "--overwrite"] {
        run(&["-s", begin, "-o", &out, &list]).check_refused(2, "is a link");
    }
    assert_eq!((server.requests(), fs::read_dir(&theirs).unwrap().count()), (0, 0));
}

/// It was emptied, without any flag.
#[test]
fn a_lock_that_is_a_link_leads_nowhere() {
    let (directory, server, list, out) = shared();
    let theirs = directory.write("theirs", "what the user has written, which is longer than a number");
    let before = directory.read("theirs");
    let state = make_state(&out, 0o700);
    symlink(&theirs, state.join("lock")).unwrap();
    assert_eq!(run(&["-s", "-o", &out, &list]).code, Some(3));
    fs::remove_file(state.join("lock")).unwrap();
    fs::hard_link(&theirs, state.join("lock")).unwrap();
    run(&["-s", "-o", &out, &list]).check_refused(2, "lock");
    assert_eq!((server.requests(), directory.read("theirs")), (0, before));
    fs::remove_file(state.join("lock")).unwrap();
    // Whatever else has a name that the run uses is no way out of the directory either.
    for name in ["job.json.new", "snapshot-1.new", "journal-1.log", "intents-1.log"] {
        symlink(&theirs, state.join(name)).unwrap();
    }
    run(&["-s", "-o", &out, &list]).check_code(0);
    assert_eq!(directory.read("theirs").len(), 56);
}

/// The journal names files that are removed: only those of rows, below the directory of the rows.
#[test]
fn a_journal_removes_no_file_of_the_user() {
    use std::os::unix::fs::MetadataExt;
    let run = Stopped::new(&["pages/", "out.ndjson"], &[]);
    let theirs = run.directory.write("theirs", "theirs");
    let hidden = run.directory.write("pages/.theirs", "theirs");
    symlink(run.directory.path(""), run.directory.path("pages/link")).unwrap();
    let journal = run.state("journal-1.log");
    let whole = fs::read(&journal).unwrap();
    let meta = fs::metadata(&theirs).unwrap();
    let hidden_meta = fs::metadata(&hidden).unwrap();
    for (path, meta) in
        [("../theirs", &meta), (&theirs, &meta), ("link/theirs", &meta), (".theirs", &hidden_meta)]
    {
        let named = overlapped_proto::journal::Named {
            path: path.as_bytes().to_vec(),
            device: meta.dev(),
            inode: meta.ino(),
        };
        fs::write(&journal, &whole).unwrap();
        run.forge(&Frame::Names(vec![named]));
        let code = run.resume().code;
        assert_eq!(code, Some(if path == "link/theirs" { 0 } else { 4 }), "{path}");
        assert_eq!(
            (fs::read(&theirs).unwrap(), fs::read(&hidden).unwrap()),
            (b"theirs".into(), b"theirs".into())
        );
        if code == Some(0) {
            return;
        }
    }
}

#[test]
fn a_planted_snapshot_does_not_make_rows_done() {
    let run = Stopped::new(&["out.ndjson"], &[]);
    let mut done = RowSet::default();
    done.insert_range(0..ROWS);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(run.state("job.json")).unwrap()).unwrap();
    let number = u64::from_str_radix(manifest["run"].as_str().unwrap(), 16).unwrap();
    let mut bytes = Head { run: number, generation: 1, process: 1 }.encode();
    State { done, ..State::default() }.encode(&mut bytes);
    fs::write(run.state("snapshot-1"), bytes).unwrap();
    run.change(&run.state("journal-1.log"), |bytes| bytes.truncate(Head::BYTES));
    fs::write(run.directory.path("out.ndjson"), "").unwrap();
    run.check_refused("rows are done");
}

/// While failed rows are removed from an output, the new file is beside it.
#[test]
fn a_link_in_the_place_of_a_rewritten_output_is_not_followed() {
    let (directory, server) = (Directory::new(), Server::start());
    let urls = [server.url("/row/0\n"), server.url("/flaky?fail=1&status=404\n")].concat();
    let list = format!("@{}", directory.write("urls.txt", urls));
    let (out, theirs) = (directory.path("out.ndjson"), directory.write("theirs", "theirs"));
    run(&["-s", "-o", &out, &list]).check_code(1);
    symlink(&theirs, format!("{out}.retry")).unwrap();
    run(&["-s", "--retry-failed", "-o", &out, &list]).check_code(0);
    assert_eq!(
        (directory.read("theirs").as_str(), records(&directory.read("out.ndjson")).len()),
        ("theirs", 2)
    );
}

// --- what was put in the place of an output -------------------------------------------------------------------

/// What can be planted at the path of an output: how it is refused, and what plants it, given another file and the path.
type Plant = (&'static str, fn(&str, &str));

fn plants() -> [Plant; 5] {
    [
        ("a symbolic link", |theirs, out| symlink(theirs, out).unwrap()),
        ("a symbolic link", |theirs, out| symlink(format!("{theirs}.none"), out).unwrap()),
        ("a hard link", |theirs, out| fs::hard_link(theirs, out).unwrap()),
        ("not a plain file", |_, out| assert!(Command::new("mkfifo").arg(out).status().unwrap().success())),
        ("", |_, out| fs::create_dir(out).unwrap()),
    ]
}

/// A link was written through, and a pipe was waited for.
#[test]
fn what_is_planted_in_the_place_of_an_output_is_refused() {
    let begins: [&[&str]; 4] =
        [&["--overwrite"], &["--resume"], &["--retry-failed"], &["--overwrite", "--durability=none"]];
    for (what, plant) in plants() {
        for begin in begins {
            let (directory, server, list, out) = shared();
            let theirs = directory.write("theirs", "theirs");
            plant(&theirs, &out);
            // A pipe is what a run without state may write to.
            if begin.len() == 2 && what == "not a plain file" {
                continue;
            }
            let before = directory.names();
            let refused = run(&[&["-s", "-o", &out], begin, &[&list]].concat());
            // A hard link is found as an output that exists, if nothing says that it goes.
            let code = if begin[0] != "--overwrite" && what == "a hard link" { 2 } else { 3 };
            refused.check_refused(code, if code == 2 { "exists" } else { what });
            assert_eq!((directory.read("theirs").as_str(), server.requests()), ("theirs", 0), "{what}");
            assert_eq!(directory.names(), before, "{what} {begin:?}");
        }
    }
}

/// The same between two runs of one list, with what the first has written as the other file.
#[test]
fn what_is_planted_in_the_place_of_an_output_ends_a_run_that_goes_on() {
    let run = Stopped::new(&["out.ndjson"], &[]);
    let [out, theirs] = ["out.ndjson", "theirs"].map(|name| run.directory.path(name));
    for (what, plant) in plants() {
        fs::rename(&out, &theirs).unwrap();
        plant(&theirs, &out);
        let before = fs::read(&theirs).unwrap();
        for begin in ["--resume", "--retry-failed"] {
            program::run(&run.all(&[begin])).check_refused(4, what);
        }
        assert_eq!(fs::read(&theirs).unwrap(), before, "{what}");
        fs::remove_file(&out).or_else(|_| fs::remove_dir(&out)).unwrap();
        fs::rename(&theirs, &out).unwrap();
    }
    run.check_goes_on();
}

#[test]
fn a_run_without_state_writes_to_a_pipe() {
    let (directory, _server, list, out) = shared();
    assert!(Command::new("mkfifo").arg(&out).status().unwrap().success());
    for more in ["--retry=0", "--overwrite"] {
        let words = ["-s", "--durability=none", "-o", &out, more, &list];
        let mut child = command(&words).stderr(Stdio::null()).spawn().unwrap();
        assert!(!records(&directory.read("out.ndjson")).is_empty());
        assert!(child.wait().unwrap().success());
    }
}

/// The run ended with exit code 0, and no record named a file that was there.
#[test]
fn a_directory_of_outputs_that_is_moved_away_ends_the_run() {
    for durability in ["each", "group", "none"] {
        let directory = Directory::new();
        let [pages, away, to] = ["pages", "away", "elsewhere"].map(|name| directory.path(name));
        fs::create_dir(&to).unwrap();
        let (from, link) = (pages.clone(), to.clone());
        let moved = std::sync::Once::new();
        let server = Server::builder()
            .handler("/moves", move |_| {
                moved.call_once(|| {
                    fs::rename(&from, &away).unwrap();
                    symlink(&link, &from).unwrap();
                });
                Script::response(200, &[], "after")
            })
            .start();
        let urls: String = ["/row/0\n", "/moves\n", "/row/2\n"].map(|path| server.url(path)).concat();
        let list = format!("@{}", directory.write("urls.txt", urls));
        let (pages, out) = (format!("{pages}/"), directory.path("out.ndjson"));
        let words = ["-s", "-j", "1", "--durability", durability, "-o", &pages, "-o", &out, &list];
        run(&words).check_refused(3, "put it back");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0, "{durability}");
    }
}

// --- a refused command leaves nothing behind -----------------------------------------------------------------

#[test]
fn a_command_that_is_refused_leaves_nothing_behind() {
    let (directory, server) = (Directory::new(), Server::start());
    let table = format!("@{}", directory.write("a.csv", format!("name,link\nx,{}\n", server.url("/row/0"))));
    let utf16: Vec<u8> = server.url("/row/0\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = format!("@{}", directory.write("b.txt", [&[0xff, 0xfe], &utf16[..]].concat()));
    let broken = format!("@{}", directory.write("c.txt.gz", "no gzip"));
    let there = directory.write("there.csv", "of another day");
    let missing = format!("@{}", directory.path("none.txt"));
    let before = directory.names();
    let [out, pages, csv] = ["new/out.ndjson", "new/deep/pages/", "out.csv"].map(|name| directory.path(name));
    let out = out.replace("new/", "");
    let places: [&[&str]; 4] =
        [&["-o", &out], &["-o", &pages], &["-o", &csv, "-o", &pages], &["-o", &out, "-o", &there]];
    for begin in ["", "--resume", "--durability=none"] {
        for place in places {
            for list in [&table, &utf16, &broken, &missing] {
                let mut words = [&["-s", "--url-col", "url"], place, &[list.as_str()]].concat();
                words.extend(Some(begin).filter(|begin| !begin.is_empty()));
                run(&words).check_code(2);
                assert_eq!(directory.names(), before, "{words:?}");
            }
        }
    }
    // A later output that cannot be made, and a pipe.
    let words = ["-s", "--url-col", "link", "-o", &out, "-o", &there, &table];
    run(&words).check_refused(2, "exists");
    run_with(&["-s", "--input-format", "csv", "--url-col", "url", "-o", &out, "-"], b"name,link\nx,y\n")
        .check_code(2);
    assert_eq!((directory.names(), directory.read("there.csv")), (before, "of another day".to_owned()));
    assert_eq!(server.requests(), 0);
    // The command that is right is not refused.
    run(&["-s", "--url-col", "link", "-o", &out, &table]).check_code(0);
}

/// What an earlier run has left was gone, though the one that was to replace it never began.
#[test]
fn a_command_that_is_refused_overwrites_nothing() {
    let run = Stopped::new(&["out.ndjson"], &[]);
    let before = run.directory.read("out.ndjson");
    for (list, col) in [("none.txt", "url"), ("a.csv", "url")] {
        run.directory.write("a.csv", "name,link\nx,y\n");
        let list = format!("@{}", run.directory.path(list));
        let out = run.directory.path("out.ndjson");
        program::run(&["-s", "--overwrite", "--url-col", col, "-o", &out, &list]).check_code(2);
    }
    assert_eq!(run.directory.read("out.ndjson"), before);
    run.check_goes_on();
}

#[test]
fn two_things_in_one_file_are_refused() {
    let (directory, server, list, out) = shared();
    fs::create_dir(directory.path("sub")).unwrap();
    let here = directory.path("sub/../out.ndjson");
    let words: [(&[&str], &str); 5] = [
        (&["-o", &out, "-o", &here], "out.ndjson"),
        (&["-o", &out, "--summary", &here], "--summary"),
        (&["--summary", &out, "--waterfall", &here, "-o", "/dev/null"], "--waterfall"),
        (&["-o", &directory.path("urls.ndjson"), "--overwrite"], "the list"),
        (&["--summary", &directory.path("urls.txt"), "-o", &out], "the list"),
    ];
    symlink("urls.txt", directory.path("urls.ndjson")).unwrap();
    let before = directory.read("urls.txt");
    for (words, what) in words {
        run(&[&["-s"], words, &[&list]].concat()).check_refused(2, what);
    }
    assert_eq!((server.requests(), directory.read("urls.txt")), (0, before));
    run(&["-s", "-o", "/dev/null", "--summary", "/dev/null", &list]).check_code(0);
}

/// Rows were called like the records, the list, the summary or the state, and replaced them.
#[test]
fn no_row_has_the_name_of_the_runs_own_files() {
    let (directory, server) = (Directory::new(), Server::start());
    let root = directory.path("root/");
    let outs = ["r.ndjson", "R.NDJSON", "a/../r.ndjson", "list.ndjson", "s.json", "w.svg", "other", "other"];
    let rows = (0..).zip(outs).map(|(row, out)| {
        format!("{{\"url\":\"{}\",\"out\":\"{out}\"}}\n", server.url(&format!("/row/{row}")))
    });
    fs::create_dir(&root).unwrap();
    let list = directory.write("root/list.ndjson", rows.collect::<String>());
    let before = directory.read("root/list.ndjson");
    let [r, s, w] = ["r.ndjson", "s.json", "w.svg"].map(|name| format!("{root}{name}"));
    fs::write(&r, "of another day").unwrap();
    let words =
        ["-s", "--overwrite", "-o", &r, "-o", &root, "--summary", &s, "--waterfall", &w, &format!("@{list}")];
    for _ in 0..2 {
        run(&words).check_code(0);
        let found = records(&directory.read("root/r.ndjson"));
        assert_eq!(found.len(), outs.len());
        for record in &found {
            let body = fs::read(record["body_path"].as_str().unwrap()).unwrap();
            assert_eq!(body, overlapped_testkit::row_of(record["row"].as_u64().unwrap()), "{record}");
        }
        assert_eq!(directory.read("root/list.ndjson"), before);
        assert!(
            directory.read("root/s.json").starts_with('{')
                && directory.read("root/w.svg").starts_with("<svg")
        );
    }
}
