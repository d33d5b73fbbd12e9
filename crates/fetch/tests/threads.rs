//! How many threads a run has. Alone in its file, because whatever runs beside it would be counted too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod support;

use overlapped_fetch::{Bulk, Input, sink};
use overlapped_testkit::Server;
use support::{LONG, config, wait};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_run_has_a_handful_of_threads_and_takes_them_with_it() {
    let server = Server::builder().hosts(40).start();
    let before = threads();
    let urls: Vec<_> = (0..400).map(|row| server.url_on(row, &format!("/delay/100?{row}"))).collect();
    let (sink, collected) = sink::collect();
    let bulk = Bulk::new(config()).unwrap().input(Input::Urls(Box::new(urls.into_iter()))).sink(sink);
    let run = bulk.start().unwrap();
    assert!(server.wait_for_requests(300, LONG));
    // Two shards and the conductor; one or two that read and write, now and then one that stands in for another.
    let peak = threads();
    assert!(peak <= before + 8, "{before} threads became {peak}");
    wait(run).unwrap();
    assert_eq!(collected.take().len(), 400);
    assert!(server.wait_until(LONG, |_| threads() <= before + 1), "{} threads are left", threads());
}
