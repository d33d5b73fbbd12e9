//! Records as a stream: on any executor, at the consumer's pace.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::{self, Read};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use overlapped_fetch::{Bulk, Config, ErrorClass, Input};
use overlapped_testkit::{Server, row_of};
use support::{LONG, body, config, within_long};

fn bulk(config: Config, urls: Vec<String>) -> Bulk {
    Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls.into_iter())))
}

fn rows(server: &Server, count: u64) -> Vec<String> {
    (0..count).map(|row| server.url(&format!("/row/{row}"))).collect()
}

#[test]
fn a_stream_gives_every_record_and_then_the_summary() {
    let server = Server::start();
    let mut records = bulk(config(), rows(&server, 3_000)).stream().unwrap();
    within_long(move || {
        overlapped::block_on(async {
            assert!(records.summary().is_none());
            let mut count = 0;
            while let Some(record) = records.next().await {
                let record = record.unwrap();
                assert_eq!((record.row.0, body(&record)), (count, &row_of(count)[..]));
                count += 1;
            }
            assert_eq!(count, 3_000);
            assert!(records.next().await.is_none());
            let summary = records.summary().unwrap();
            assert_eq!((summary.progress.ok, summary.finished), (3_000, true));
        });
    });
}

#[test]
fn a_stream_runs_under_tokio() {
    let server = Server::start();
    let records = bulk(Config { ordered: false, ..config() }, rows(&server, 2_000)).stream().unwrap();
    let count = within_long(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::spawn(async { records.filter(|r| std::future::ready(r.is_ok())).count().await }).await
        })
    });
    assert_eq!(count.unwrap(), 2_000);
}

#[test]
fn a_stream_can_be_sent() {
    fn check<T: Stream + Send + Unpin + 'static>() {}
    check::<overlapped_fetch::Records>();
}

#[test]
fn whoever_takes_slowly_slows_the_fetching() {
    let server = Server::start();
    let mut records = bulk(config(), rows(&server, 30_000)).stream().unwrap();
    let mut last = 0;
    while last == 0 || server.requests() != last {
        last = server.requests();
        std::thread::sleep(Duration::from_millis(300));
    }
    // A thousand wait in the stream, two times eight batches of 256 before it, one batch is on its way, and 256
    // requests may be in flight.
    assert!(last <= 1_024 + 18 * 256 + 512, "{last} rows were fetched although none is taken");
    let count = within_long(move || overlapped::block_on(async { records.by_ref().count().await }));
    assert_eq!((count, server.requests()), (30_000, 30_000));
}

#[test]
fn a_stream_that_is_dropped_ends_the_run() {
    let server = Server::start();
    for taken in [0, 1, 500] {
        server.forget();
        let mut records = bulk(config(), rows(&server, 30_000)).stream().unwrap();
        within_long(move || {
            overlapped::block_on(async {
                for _ in 0..taken {
                    records.next().await.unwrap().unwrap();
                }
            });
            drop(records);
        });
        assert!(server.wait_until(LONG, |server| server.open_connections() == 0), "{taken}");
        assert!(server.requests() < 30_000);
    }
}

#[test]
fn an_error_is_the_last_item_after_all_records() {
    struct Broken(io::Cursor<Vec<u8>>);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk is gone")),
                count => Ok(count),
            }
        }
    }
    for _ in 0..20 {
        let server = Server::start();
        let list = Broken(io::Cursor::new((rows(&server, 500).join("\n") + "\n").into_bytes()));
        let input = Input::Read(Box::new(list), "of the test".into());
        let records = Bulk::new(config()).unwrap().input(input).stream().unwrap();
        let items: Vec<_> = within_long(move || overlapped::block_on(records.collect()));
        assert_eq!(items.len(), 501);
        assert!(items[..500].iter().all(Result::is_ok));
        assert_eq!(items[500].as_ref().unwrap_err().class(), ErrorClass::Input);
    }
}

#[test]
fn a_run_is_a_future_of_its_summary() {
    let server = Server::start();
    let run = bulk(config(), rows(&server, 100)).start().unwrap();
    let summary = within_long(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run)
    });
    assert_eq!(summary.unwrap().progress.ok, 100);
}
