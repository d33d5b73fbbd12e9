//! How a run ends before its list does, or with its sinks or its list broken: always, soon, and with what is finished
//! written out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use overlapped_fetch::{Bulk, Config, Error, ErrorClass, Input, Sink, Summary, sink};
use overlapped_proto::record::Record;
use overlapped_testkit::{Script, Server};
use support::{LONG, Scratch, config, wait, within_long};

/// A script that waits until it is opened.
fn gate() -> (Arc<AtomicBool>, Script) {
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    (open, Script::new().until(move || is_open.load(Ordering::SeqCst)))
}

/// Waits until the server has this number of requests; then nothing else comes.
fn wait_for(server: &Server, requests: u64) {
    assert!(server.wait_for_requests(requests, LONG), "only {} requests came", server.requests());
}

fn bulk(config: Config, urls: Vec<String>) -> Bulk {
    Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls.into_iter())))
}

/// Starts, waits until the server has seen this number of requests, does something, and waits for the end.
fn ended_by(
    bulk: Bulk,
    server: &Server,
    requests: u64,
    act: impl FnOnce(&overlapped_fetch::Control),
) -> (Vec<Record>, Result<Summary, Error>) {
    let (sink, collected) = sink::collect();
    let run = bulk.sink(sink).start().unwrap();
    let control = run.control();
    wait_for(server, requests);
    act(&control);
    let result = wait(run);
    (collected.take(), result)
}

fn rows(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.row.0).collect()
}

#[test]
fn a_stop_lets_what_is_in_flight_end_and_starts_nothing_new() {
    for ordered in [false, true] {
        let (open, gate) = gate();
        let server = Server::builder().route("/gated", gate.send("HTTP/1.1 204 No\r\n\r\n")).start();
        let mut config = Config { ordered, ..config() };
        config.pace.parallel_max = 4;
        let urls = (0..1_000).map(|row| server.url(&format!("/gated?{row}"))).collect();
        let (mut records, result) = ended_by(bulk(config, urls), &server, 4, |control| {
            control.stop();
            open.store(true, Ordering::SeqCst);
        });
        let summary = result.unwrap();
        assert_eq!((summary.finished, server.requests(), summary.progress.rows_done), (false, 4, 4));
        records.sort_unstable_by_key(|record| record.row.0);
        assert_eq!(rows(&records), [0, 1, 2, 3]);
        assert!(records.iter().all(|record| record.ok));
    }
}

#[test]
fn a_stop_in_ordered_mode_writes_what_is_finished_behind_a_gap() {
    let server = Server::start();
    let urls = std::iter::once("/silent".to_owned()).chain((1..20).map(|row| format!("/row/{row}")));
    let urls = urls.map(|path| server.url(&path)).collect();
    for_each_end(|end| {
        server.forget();
        let (records, result) = ended_by(bulk(config(), Vec::clone(&urls)), &server, 20, |control| {
            // Long enough for the finished rows to have come back; the first one never does.
            let done = || control.progress().rows_done == 19;
            assert!(server.wait_until(LONG, |_| done()));
            end(control);
        });
        assert!(!result.unwrap().finished);
        assert_eq!(rows(&records), (1..20).collect::<Vec<_>>());
    });
}

/// Both ways to end a run.
fn for_each_end(check: impl Fn(&dyn Fn(&overlapped_fetch::Control))) {
    check(&|control| control.abort());
    check(&|control| control.stop());
}

#[test]
fn an_abort_gives_up_what_is_in_flight() {
    for ordered in [false, true] {
        let server = Server::start();
        let urls = (0..100).map(|row| server.url(&format!("/silent?{row}"))).collect();
        let (records, result) =
            ended_by(bulk(Config { ordered, ..config() }, urls), &server, 100, |control| control.abort());
        assert_eq!((records.len(), result.unwrap().finished), (0, false));
        assert!(server.wait_until(LONG, |server| server.in_flight() == 0 && server.open_connections() == 0));
    }
}

#[test]
fn a_run_that_is_dropped_ends_at_once() {
    let server = Server::start();
    let urls = (0..100).map(|row| server.url(&format!("/silent?{row}"))).collect();
    let run = bulk(config(), urls).start().unwrap();
    wait_for(&server, 100);
    within_long(move || drop(run));
    assert!(server.wait_until(LONG, |server| server.open_connections() == 0));
}

#[test]
fn ending_twice_or_too_late_does_no_harm() {
    let server = Server::start();
    let run = bulk(config(), vec![server.url("/ok")]).start().unwrap();
    let control = run.control();
    assert!(wait(run).unwrap().finished);
    control.stop();
    control.abort();
    control.stop();
    assert_eq!(control.progress().rows_done, 1);
}

#[test]
fn a_stop_before_anything_came_ends_too() {
    let (_held, reader) = blocked_reader();
    let run = Bulk::new(config()).unwrap().input(Input::Read(reader, "of the test".into())).start().unwrap();
    run.control().stop();
    assert!(!wait(run).unwrap().finished);
}

/// A reader that gives these bytes and then blocks for as long as the sender lives.
struct Blocked(io::Cursor<Vec<u8>>, mpsc::Receiver<()>);

impl Read for Blocked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count == 0 {
            let _ = self.1.recv();
        }
        Ok(count)
    }
}

fn blocked_reader_after(list: &str) -> (mpsc::Sender<()>, Box<Blocked>) {
    let (sender, receiver) = mpsc::channel();
    (sender, Box::new(Blocked(io::Cursor::new(list.into()), receiver)))
}

fn blocked_reader() -> (mpsc::Sender<()>, Box<Blocked>) {
    blocked_reader_after("")
}

#[test]
fn a_list_that_blocks_for_ever_keeps_no_run_from_ending() {
    let server = Server::start();
    let list = format!("{}\n{}\n", server.url("/row/0"), server.url("/row/1"));
    for_each_end(|end| {
        server.forget();
        let (held, reader) = blocked_reader_after(&list);
        let bulk = Bulk::new(config()).unwrap().input(Input::Read(reader, "of the test".into()));
        let (records, result) = ended_by(bulk, &server, 2, |control| {
            assert!(
                server.wait_until(LONG, |_| control.progress().rows_done == 2),
                "{:?}",
                control.progress()
            );
            end(control);
        });
        assert_eq!((rows(&records), result.unwrap().finished), (vec![0, 1], false));
        drop(held);
    });
}

#[test]
fn rows_are_fetched_while_the_list_still_comes() {
    let server = Server::start();
    let (held, reader) = blocked_reader_after(&format!("{}\n", server.url("/ok")));
    let run = Bulk::new(config()).unwrap().input(Input::Read(reader, "of the test".into())).start().unwrap();
    wait_for(&server, 1);
    drop(held);
    assert_eq!(wait(run).unwrap().progress.rows_done, 1);
}

#[test]
fn rows_are_fetched_while_an_iterator_still_thinks() {
    let server = Arc::new(Server::start());
    let asked = Arc::clone(&server);
    // The second URL is known only when the first was asked for, as in a program that follows what it finds.
    let urls = (0..2).map(move |row| {
        wait_for(&asked, row);
        asked.url(&format!("/row/{row}"))
    });
    let run = Bulk::new(config()).unwrap().input(Input::Urls(Box::new(urls))).start().unwrap();
    assert_eq!(wait(run).unwrap().progress.rows_done, 2);
}

/// A sink that fails at its n-th record, or at a commit.
struct Failing {
    taken: Arc<AtomicUsize>,
    at: usize,
    kind: io::ErrorKind,
    in_commit: bool,
}

impl Sink for Failing {
    fn accept(&mut self, _: &mut Record) -> io::Result<()> {
        let taken = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        if taken >= self.at && !self.in_commit { Err(self.kind.into()) } else { Ok(()) }
    }

    fn commit(&mut self) -> io::Result<()> {
        if self.in_commit && self.taken.load(Ordering::SeqCst) >= self.at {
            Err(self.kind.into())
        } else {
            Ok(())
        }
    }
}

#[test]
fn a_sink_that_fails_ends_the_run() {
    let cases = [
        (io::ErrorKind::StorageFull, ErrorClass::Output),
        (io::ErrorKind::PermissionDenied, ErrorClass::Output),
        (io::ErrorKind::BrokenPipe, ErrorClass::OutputClosed),
    ];
    for (kind, class) in cases {
        for (at, in_commit) in [(1, false), (700, false), (1, true)] {
            let server = Server::start();
            let urls = (0..2_000)
                .map(|row| server.url(&format!("/row/{row}")))
                .chain([server.url("/silent")])
                .collect();
            let taken = Arc::new(AtomicUsize::new(0));
            let failing = Failing { taken: taken.clone(), at, kind, in_commit };
            let bulk = bulk(Config { ordered: false, ..config() }, urls).sink(Box::new(failing));
            let error = wait(bulk.start().unwrap()).unwrap_err();
            assert_eq!(error.class(), class, "{error}");
            assert!(in_commit || taken.load(Ordering::SeqCst) == at, "nothing is written after a failure");
        }
    }
}

#[test]
fn a_sink_that_panics_ends_the_run() {
    struct Panicking;
    impl Sink for Panicking {
        fn accept(&mut self, _: &mut Record) -> io::Result<()> {
            panic!("a sink of the test panics")
        }
        fn commit(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let server = Server::start();
    let bulk = bulk(config(), vec![server.url("/ok"), server.url("/silent")]).sink(Box::new(Panicking));
    assert_eq!(wait(bulk.start().unwrap()).unwrap_err().class(), ErrorClass::Internal);
}

/// Gives the list, then fails.
struct Broken(io::Cursor<Vec<u8>>);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the disk is gone")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_list_that_fails_half_way_is_an_error_after_the_rows_before() {
    let server = Server::start();
    let list: String = (0..3_000).map(|row| server.url(&format!("/row/{row}\n"))).collect();
    let (sink, collected) = sink::collect();
    let input = Input::Read(Box::new(Broken(io::Cursor::new(list.into()))), "of the test".into());
    let run = Bulk::new(config()).unwrap().input(input).sink(sink).start().unwrap();
    let error = wait(run).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Input);
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    let rows = rows(&collected.take());
    assert!(rows.iter().copied().eq(0..3_000), "{} of 3,000 rows were written", rows.len());
}

#[test]
fn a_list_that_panics_ends_the_run() {
    let server = Server::start();
    let good = server.url("/ok");
    let urls = (0..2_000)
        .map(move |row| if row == 1_500 { panic!("a list of the test panics") } else { good.clone() });
    let run = Bulk::new(config()).unwrap().input(Input::Urls(Box::new(urls))).start().unwrap();
    assert_eq!(wait(run).unwrap_err().class(), ErrorClass::Internal);
}

#[test]
fn a_list_that_cannot_be_opened_starts_no_run() {
    let scratch = Scratch::new();
    for path in [scratch.path().join("nothing"), scratch.path().to_owned()] {
        let started = Bulk::new(config()).unwrap().input(Input::File(path.clone())).start();
        let Err(error) = started else { panic!("{path:?} was opened") };
        assert_eq!(error.class(), ErrorClass::Input);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_list_in_the_wrong_encoding_is_refused() {
    let utf16: Vec<u8> = "http://127.0.0.1/".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let input = Input::Read(Box::new(io::Cursor::new(utf16)), "of the test".into());
    let run = Bulk::new(config()).unwrap().input(input).start().unwrap();
    assert_eq!(wait(run).unwrap_err().class(), ErrorClass::Input);
}

/// A sink that is slow to take anything at all.
#[test]
fn a_slow_sink_holds_back_the_fetching() {
    struct Gate(mpsc::Receiver<()>, Arc<AtomicBool>);
    impl Sink for Gate {
        fn accept(&mut self, _: &mut Record) -> io::Result<()> {
            if !self.1.load(Ordering::SeqCst) {
                let _ = self.0.recv();
                self.1.store(true, Ordering::SeqCst);
            }
            Ok(())
        }
        fn commit(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let server = Server::start();
    let (open, gate) = mpsc::channel();
    let urls = (0..20_000).map(|row| server.url(&format!("/row/{row}"))).collect();
    let bulk = bulk(Config { ordered: false, ..config() }, urls);
    let run = bulk.sink(Box::new(Gate(gate, Arc::default()))).start().unwrap();
    // Until no further request has come for a while.
    let mut last = 0;
    while last == 0 || server.requests() != last {
        last = server.requests();
        std::thread::sleep(Duration::from_millis(300));
    }
    // Two times eight batches of 256 may wait, one is with the sink, and 256 requests may be in flight.
    assert!(last <= 18 * 256 + 2 * 256, "{last} rows were fetched for a sink that takes none");
    drop(open);
    assert_eq!(wait(run).unwrap().progress.rows_done, 20_000);
}
