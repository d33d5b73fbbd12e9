//! The scheduler's rules, each as a script that reads like a log.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test")]

use overlapped_proto::bucket::Rate;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{HostKey, Job, Row};
use overlapped_proto::outcome::{Ending, Hop};
use overlapped_proto::schedule::{Finish, Held, Next, Pace, Scheduler};
use overlapped_proto::time::Nanos;

/// Plays a script and compares what comes out. Times are in milliseconds, draws are 0.
///
/// In: `a` submits a row for the host a, `a'` for its https origin, `?` polls, `*` polls until nothing starts, `+5` lets time pass, `200:3`
/// ends row 3 with that status, `429=7:3` with a `Retry-After` of 7 s, `refused:3` and the like with a failure,
/// `>b:3` redirects row 3 to host b, `out:3` to another scheduler, `back:3` puts it back, `up:3` says that it got a
/// connection, `max=2` sets the limit, `crawl=3:a` the interval of host a in seconds, `drain` drains.
///
/// Out: `a0` row 0 starts on host a, `!a0` it fails for its host being down, `=0` it is delivered, `~5:0` it is
/// tried again at 5, `^0` it goes back as if it had not been tried, `@5` wait until 5, `.` wait for an event, `idle`.
fn check(pace: Pace, script: &str, expected: &str) {
    let mut play = Play { scheduler: Scheduler::new(pace), now: Nanos::ZERO, rows: 0, running: Vec::new() };
    let out: Vec<String> = script.split_whitespace().map(|step| play.step(step)).collect();
    let out = out.join(" ");
    let out: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(out.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "), "{script}");
}

struct Play {
    scheduler: Scheduler,
    now: Nanos,
    rows: u64,
    running: Vec<Job>,
}

impl Play {
    fn new(pace: Pace) -> Self {
        Self { scheduler: Scheduler::new(pace), now: Nanos::ZERO, rows: 0, running: Vec::new() }
    }

    fn step(&mut self, step: &str) -> String {
        let now = self.now;
        let (verb, row) = step.split_once(':').unwrap_or((step, ""));
        match verb {
            "?" => return self.poll(),
            "*" => {
                let mut out = self.poll();
                while !out.ends_with("idle") && !out.ends_with('.') && !out.contains('@') {
                    out = format!("{out} {}", self.poll());
                }
                return out;
            }
            "drain" => {
                let mut rows: Vec<u64> = self.scheduler.drain().map(|job| job.row.0).collect();
                rows.sort_unstable();
                return format!("{rows:?}").replace(' ', "");
            }
            "out" => {
                let job = self.take(row);
                self.scheduler.release(job.target(), now);
            }
            "back" => {
                let job = self.take(row);
                self.scheduler.put_back(job, now);
            }
            "up" => {
                let row = Row(row.parse().unwrap());
                let job = self.running.iter().find(|job| job.row == row).unwrap();
                self.scheduler.accepted(job.target(), now);
            }
            _ if verb.starts_with('+') => self.now = now + Nanos::from_millis(verb[1..].parse().unwrap()),
            _ if verb.starts_with("max=") => self.scheduler.set_parallel_max(verb[4..].parse().unwrap()),
            _ if verb.starts_with("crawl=") => {
                let interval = Nanos::from_secs(verb[6..].parse().unwrap());
                self.scheduler.set_host_interval(HostKey::new(row), interval, now);
            }
            _ if verb.starts_with('>') => {
                let mut job = self.take(row);
                let from = job.target();
                job.redirect(
                    url(&verb[1..]),
                    Hop { url: "".into(), status: 302, total: Nanos::ZERO, remote: None, heads: None },
                );
                self.scheduler.redirect(from, job, now);
            }
            host if row.is_empty() => {
                let job = Job::new(Row(self.rows), url(host));
                self.scheduler.submit(job, now);
                self.rows += 1;
            }
            ending => {
                let job = self.take(row);
                return match self.scheduler.finish(job, how(ending), now, 0) {
                    Finish::Deliver(job) => format!("={}", job.row.0),
                    Finish::RetryAt(due) => format!("~{}:{row}", due.0 / 1_000_000),
                    Finish::PutBack => format!("^{row}"),
                };
            }
        }
        String::new()
    }

    fn poll(&mut self) -> String {
        let name = |job: &Job| {
            let mark = if job.url.scheme() == "https" { "'" } else { "" };
            format!("{}{mark}{}", job.url.host_str().unwrap(), job.row.0)
        };
        match self.scheduler.poll(self.now) {
            Next::Start(job) => {
                let text = name(&job);
                self.running.push(job);
                text
            }
            Next::Fail(job, _) => format!("!{}", name(&job)),
            Next::WaitUntil(due) => format!("@{}", due.0 / 1_000_000),
            Next::WaitForEvent => ".".into(),
            Next::Idle => "idle".into(),
        }
    }

    fn take(&mut self, row: &str) -> Job {
        let row = Row(row.parse().unwrap());
        let at = self.running.iter().position(|job| job.row == row).unwrap();
        self.running.remove(at)
    }
}

fn url(host: &str) -> url::Url {
    let text = match host.strip_suffix('\'') {
        Some(host) => format!("https://{host}/"),
        None => format!("http://{host}/"),
    };
    url::Url::parse(&text).unwrap()
}

fn how(text: &str) -> Ending {
    match text {
        "refused" => Ending::Failed(ErrorKind::ConnectRefused),
        "unknown" => Ending::Failed(ErrorKind::DnsNotFound),
        "slow" => Ending::Failed(ErrorKind::TimeoutFirstByte),
        "reset" => Ending::Failed(ErrorKind::HttpReset),
        "unreachable" => Ending::Failed(ErrorKind::ConnectUnreachable),
        "cut" => Ending::Failed(ErrorKind::RunUnconfirmed),
        status => {
            let (status, after) = status.split_once('=').unwrap_or((status, ""));
            let retry_after = after.parse().ok().map(Nanos::from_secs);
            Ending::Response { status: status.parse().unwrap(), retry_after }
        }
    }
}

fn each(parallel_max_host: usize) -> Pace {
    Pace { parallel_max_host: Some(parallel_max_host), ..Pace::default() }
}

fn rate(text: &str) -> Option<Rate> {
    Some(Rate::parse(text).unwrap())
}

#[test]
fn hosts_take_turns() {
    check(each(9), "a a a b b c *", "a0 b3 c5 a1 b4 a2 .");
    check(each(1), "a a a b b *  200:3 200:0 *", "a0 b3 . =3 =0 b4 a1 .");
    check(each(1), "? a ? ? 200:0 ?", "idle a0 . =0 idle");
}

#[test]
fn slots_are_limited() {
    check(each(2), "a a a b * 200:1 ? ?", "a0 b3 a1 . =1 a2 .");
    let two = Pace { parallel_max: 2, ..each(9) };
    check(two, "a b c * 200:0 * max=3 a *", "a0 b1 . =0 c2 . a3 .");
    check(
        each(1),
        "localhost localhost 127.0.0.1 127.0.0.1 *",
        "localhost0 127.0.0.12 localhost1 127.0.0.13 .",
    );
    let given = Pace { local_unlimited: false, ..each(1) };
    check(given, "localhost localhost *", "localhost0 .");
}

#[test]
fn rates_hold_over_everything() {
    let pace = || Pace { rate_host: rate("1/s"), ..each(9) };
    check(pace(), "a a b * +1009 ? +1 *", "a0 b2 @1010 @1010 a1 .");
    check(pace(), "a * 500:0 * +1010 *", "a0 . ~0:0 @1010 a0 .");
    check(pace(), "a b * +1 >b:0 * +1009 *", "a0 b1 . @1010 b0 .");
    let pace = || Pace { rate: rate("1/s"), ..each(9) };
    check(pace(), "a b * +1010 *", "a0 @1010 b1 .");
    check(each(9), "crawl=2:a a a b * +2020 *", "a0 b2 @2020 a1 .");
    check(each(9), "crawl=2:a a a * crawl=0:a +2020 *", "a0 @2020 a1 .");
}

#[test]
fn failures_are_tried_again() {
    check(each(1), "a * 500:0 * 500:0 * 500:0 *", "a0 . ~0:0 a0 . ~0:0 a0 . =0 idle");
    check(each(1), "a * 404:0 a * reset:1 * cut:1 *", "a0 . =0 a1 . ~0:1 a1 . =1 idle");
    check(each(1), "a a * 500:0 *", "a0 . ~0:0 a0 ."); // a retry goes before new rows
}

#[test]
fn retry_after_parks_the_host() {
    // After 429 it is no attempt, nor when other rows are refused as well.
    check(each(1), "a a b * 429=7:0 * +7000 * 200:0 *", "a0 b2 . ^0 @7000 a0 . =0 a1 .");
    check(each(2), "a a a * 503=7:0 429=2:1 * +7000 *", "a0 a1 . ~7000:0 ^1 @7000 a0 .");
    check(each(1), "a a * 404=7:0 *", "a0 . =0 a1 ."); // not tried again, so not meant so
    check(each(1), "a a * 503=0:0 *", "a0 . ~0:0 a0 .");
    check(each(1), "a * 503=99999:0 *", "a0 . ~600000:0 @600000");
    // With --no-adaptive the pause is kept, and the attempt counts.
    let dull = Pace { adaptive: false, ..each(1) };
    check(dull, "a a * 429=7:0 * +7000 * 200:0 *", "a0 . ~7000:0 @7000 a0 . =0 a1 .");
}

#[test]
fn a_host_that_refuses_all_its_rows_loses_none() {
    let span = |s| Pace { host_down_after: Some(Nanos::from_secs(s)), ..each(1) };
    // One row uses its attempts, then waits by itself for the span.
    check(
        span(2),
        "a * 503:0 * 503:0 * 503:0 * +1000 * 503:0 * +1000 * 503:0 *",
        "a0 . ~0:0 a0 . ~0:0 a0 . ^0 @1000 a0 . ^0 @2000 a0 . =0 idle",
    );
    check(
        span(2),
        "a * 502:0 * 502:0 * 502:0 * +1000 * 200:0 *",
        "a0 . ~0:0 a0 . ~0:0 a0 . ^0 @1000 a0 . =0 idle",
    );
    // Of two rows the second parks the host, for 1 s and then twice as long. From then on no attempt is used, and
    // the first and the last row try it in turn.
    let two = Pace { parallel_max_host: Some(2), ..span(60) };
    check(
        two,
        "a a a * 503:0 504:1 ? +1000 * 502:0 ? +2000 * 200:2 *",
        "a0 a1 . ~0:0 ^1 @1000 a0 @1125 ^0 @1125 a2 @3125 =2 @3125",
    );
    // Too many requests, says even the first 429.
    check(each(1), "a a * 429:0 ? +1000 * 200:0 *", "a0 . ^0 @1000 a0 . =0 @3000");
    // A host that refuses for longer is given up; the row that tried it last has its own answer.
    check(
        span(2),
        "a a a * 429:0 * +1000 * 429:0 * +1000 * +1000 * 429:0 * a *",
        "a0 . ^0 @1000 a0 . ^0 @2000 @3000 a0 . =0 !a1 !a2 idle !a3 idle",
    );
    // Pauses that it asked for do not count, but only so many of them.
    check(
        span(2),
        "a a * 429=5:0 * +5000 * 429=5:0 * +5000 * 429:0 * +2000 * 200:0",
        "a0 . ^0 @5000 a0 . ~10000:0 @10000 a0 . ~12000:0 @12000 a0 . =0",
    );
}

#[test]
fn a_page_that_is_refused_alone_fails_after_its_attempts() {
    // Another page of its host was served since its first attempt.
    check(each(2), "a a a ? ? +1 200:1 503:0 ? 503:0 ? 503:0 ?", "a0 a1 =1 ~1:0 a0 ~1:0 a0 =0 a2");
    // With --no-adaptive, and without a limit of failures, each row uses its own attempts.
    let dull = Pace { adaptive: false, ..each(1) };
    check(dull, "a a ? 503:0 ? 503:0 ? 429:0 ? 503:1 ?", "a0 ~0:0 a0 ~0:0 a0 =0 a1 ~0:1 a1");
    let never = Pace { host_errors_max: 0, ..each(1) };
    check(never, "a ? 503:0 ? 503:0 ? 503:0 ?", "a0 ~0:0 a0 ~0:0 a0 =0 idle");
    // Nor does anything wait without retries.
    let policy = overlapped_proto::retry::Policy { retries: 0, ..Default::default() };
    check(Pace { retry: policy, ..each(1) }, "a a * 429:0 +1000 *", "a0 . =0 a1 .");
}

/// No more than three failures in a row.
fn three() -> Pace {
    Pace { host_errors_max: 3, ..each(9) }
}

#[test]
fn a_name_that_does_not_exist_is_given_up() {
    // Three at once and no more; its queue fails, another host goes on.
    check(
        three(),
        "a a a a b * unknown:0 ? unknown:1 ? unknown:2 * a ? 200:4 ?",
        "a0 b4 a1 a2 . =0 . =1 . =2 !a3 . !a5 =4 idle",
    );
    // An answer of any kind begins the count anew.
    check(three(), "a a * unknown:0 404:1 a a a a *", "a0 a1 . =0 =1 a2 a3 a4 a5 .");
    // It answers after all: rows that have not failed yet are tried.
    check(
        three(),
        "a a a a a a a ? 200:0 ? ? ? ? unknown:1 unknown:2 unknown:3 ? 200:4 *",
        "a0 =0 a1 a2 a3 a4 =1 =2 =3 !a5 =4 a6 .",
    );
    // A redirect to it fails too.
    check(three(), "a a a b * unknown:0 unknown:1 unknown:2 >a:3 *", "a0 b3 a1 a2 . =0 =1 =2 !a3 idle");
    let never = Pace { host_errors_max: 0, ..each(1) };
    check(never, "a a a a ? unknown:0 ? unknown:1 ? unknown:2 ?", "a0 =0 a1 =1 a2 =2 a3");
}

#[test]
fn an_origin_that_cannot_be_reached_is_parked_and_probed() {
    // The third failure parks it for 1 s. It was no attempt, and those that were in flight lose none either.
    check(
        Pace { parallel_max_host: Some(3), ..three() },
        "a a a a ? up:0 ? ? refused:0 refused:1 refused:2 * +1000 * 500:0 * 500:0 * 500:0 *",
        "a0 a1 a2 ~0:0 ~0:1 ^2 @1000 a0 . ~1000:0 a0 a1 . ~1000:0 a0 a2 . =0 a3 .",
    );
    // A probe that fails is no attempt, and the next one comes later: after 1, 2, 4 s.
    check(
        three(),
        "a a a a * refused:0 refused:1 refused:2 * +1000 * refused:0 * +2000 * refused:0 * +4000 * 200:0 *",
        "a0 a1 a2 . ~0:0 ~0:1 ^2 @1000 a0 . ^0 @3000 a0 . ^0 @7000 a0 . =0 a1 a2 .",
    );
    // What was in flight when it was parked, on a connection that stood, ends the parking when it answers.
    check(
        three(),
        "a a a a a ? up:0 * refused:1 refused:2 refused:3 * refused:4 404:0 *",
        "a0 a1 a2 a3 a4 . ~0:1 ~0:2 ^3 @1000 ^4 =0 a1 a2 .",
    );
    // Another host, and another origin of the same host, go on.
    check(
        three(),
        "a a' a a' a b * refused:0 refused:2 refused:4 200:1 200:3 200:5 a a' *",
        "a0 b5 a'1 a2 a'3 a4 . ~0:0 ~0:2 ^4 =1 =3 =5 a'7 @1000",
    );
    // Rows that come later wait as well, in their order; so does a redirect to it.
    check(
        three(),
        "a a a b * refused:0 refused:1 refused:2 >a:3 a * +1000 * 200:0 *",
        "a0 b3 a1 a2 . ~0:0 ~0:1 ^2 @1000 a0 . =0 a1 a2 .",
    );
    check(
        three(),
        "a a a * refused:0 refused:1 refused:2 drain * +1000 *",
        "a0 a1 a2 . ~0:0 ~0:1 ^2 [0,1,2] idle idle",
    );
    let never = Pace { host_errors_max: 0, ..each(1) };
    check(never, "a ? refused:0 ? refused:0 ? refused:0 ?", "a0 ~0:0 a0 ~0:0 a0 =0 idle");
}

#[test]
fn only_an_origin_without_any_answer_for_its_span_is_given_up() {
    let span = |s| Pace { host_down_after: Some(Nanos::from_secs(s)), ..three() };
    let parked = "a a a a * refused:0 refused:1 refused:2 *";
    let parked_out = "a0 a1 a2 . ~0:0 ~0:1 ^2 @1000";
    // The last probe comes when its time is over; its row has its own failure, the others have none.
    check(
        span(2),
        &format!("{parked} +1000 * refused:0 * +1000 * refused:0 * a *"),
        &format!("{parked_out} a0 . ^0 @2000 a0 . =0 !a1 !a2 !a3 idle !a4 idle"),
    );
    // Its span begins with the first failure since its last answer.
    check(
        span(2),
        &format!("{parked} +1000 * refused:0 * +1000 * 404:0 * refused:1 refused:2 +1000 * refused:2 *"),
        &format!("{parked_out} a0 . ^0 @2000 a0 . =0 a1 a2 . ~2000:1 ~2000:2 a2 . ^2 @4000"),
    );
    // Two failures may be chance, however long they took.
    check(span(2), "a * refused:0 +3000 * refused:0 * refused:0 *", "a0 . ~0:0 a0 . ~3000:0 a0 . =0 idle");
    // One row, by itself: it waits for the whole span as well, and has its own failure in the end.
    check(
        Pace { host_errors_max: 20, ..span(2) },
        "a * refused:0 * refused:0 * refused:0 * +1000 * refused:0 * +1000 * refused:0 *",
        "a0 . ~0:0 a0 . ~0:0 a0 . ^0 @1000 a0 . ^0 @2000 a0 . =0 idle",
    );
    // The same with one retry only: it waits by itself until the third failure in a row parks its origin.
    let policy = overlapped_proto::retry::Policy { retries: 1, ..Default::default() };
    check(
        Pace { host_errors_max: 20, retry: policy, ..span(2) },
        "a * refused:0 * refused:0 * +1000 * refused:0 * +1000 * refused:0 *",
        "a0 . ~0:0 a0 . ^0 @1000 a0 . ^0 @2000 a0 . =0 idle",
    );
    // Without retries nothing is tried again.
    let policy = overlapped_proto::retry::Policy { retries: 0, ..Default::default() };
    check(Pace { retry: policy, ..span(2) }, "a * refused:0 *", "a0 . =0 idle");
    // One that accepts every connection and never answers has given no answer either. Its rows use their attempts.
    check(
        Pace { adaptive: false, ..span(2) },
        "a a a a * slow:0 slow:1 slow:2 * +1000 * slow:0 * +1000 * slow:0 *",
        "a0 a1 a2 . ~0:0 ~0:1 ~0:2 @1000 a0 . ~1000:0 @2000 a0 . =0 !a1 !a2 !a3 idle",
    );
    let ever = Pace { host_down_after: None, ..three() };
    check(
        ever,
        &format!("{parked} +90000 * refused:0 * +90000 * refused:0 *"),
        &format!("{parked_out} a0 . ^0 @92000 a0 . ^0 @184000"),
    );
}

#[test]
fn a_row_that_would_be_lost_parks_its_origin() {
    let pace = || Pace { host_errors_max: 9, ..each(1) };
    // It has answered before: the row that would have been lost waits for it.
    check(
        pace(),
        "a a a * 200:0 * refused:1 * refused:1 * refused:1 * +1000 * 200:1 *",
        "a0 . =0 a1 . ~0:1 a1 . ~0:1 a1 . ^1 @1000 a1 . =1 a2 .",
    );
    // So does one of few rows, of an origin that was away from the start.
    check(
        pace(),
        "a a * refused:0 * refused:0 * refused:0 * +1000 * 200:0 *",
        "a0 . ~0:0 a0 . ~0:0 a0 . ^0 @1000 a0 . =0 a1 .",
    );
    // It answers others in between, on open connections: the row waits, the others go on.
    check(
        Pace { host_errors_max: 9, ..each(2) },
        "a a a a a ? 200:0 * refused:1 200:2 * refused:1 200:3 * refused:1 *",
        "a0 =0 a1 a2 . ~0:1 =2 a1 a3 . ~0:1 =3 a1 a4 . ^1 @1000",
    );
}

#[test]
fn an_origin_that_restarts_and_breaks_a_request_loses_no_row() {
    let pace = || Pace { host_errors_max: 9, ..each(1) };
    // Two attempts did not reach it, the third did: that is the row's first loss.
    check(
        pace(),
        "a * refused:0 * refused:0 * reset:0 * reset:0 * reset:0 *",
        "a0 . ~0:0 a0 . ~0:0 a0 . ~0:0 a0 . ~0:0 a0 . =0 idle",
    );
    // The same with an error of a server that is not ready yet.
    check(
        pace(),
        "a * refused:0 * refused:0 * 500:0 * 200:0 *",
        "a0 . ~0:0 a0 . ~0:0 a0 . ~0:0 a0 . =0 idle",
    );
}

#[test]
fn a_network_that_is_down_burns_no_row() {
    let hosts = "a b c d e f g h i j k l";
    let starts = "a1 b2 c3 d4 e5 f6 g7 h8 i9 j10 k11 l12 .";
    let fail = (1..=11).map(|row| format!("unreachable:{row} ")).collect::<String>();
    let nine = (1..=9).map(|row| format!("~0:{row} ")).collect::<String>();
    let down = format!("{nine} ^10 ^11");
    // One probe at a time, the next one later; what answers a probe lifts the pause.
    check(
        each(1),
        &format!("x ? 200:0 {hosts} * {fail} 200:12 * +1000 * 200:10 *"),
        &format!("x0 =0 {starts} {down} =12 @1000 j10 @3000 =10 k11 i9 h8 g7 f6 e5 d4 c3 b2 a1 ."),
    );
    check(
        each(1),
        &format!("x ? 200:0 {hosts} * {fail} unreachable:12 +1000 * unreachable:10 * +2000 * 200:11 *"),
        &format!(
            "x0 =0 {starts} {nine} ^10 ^11 ^12 j10 @3000 ^10 @3000 k11 @7000 =11 l12 i9 h8 g7 f6 e5 d4 c3 b2 a1 j10 . "
        ),
    );
}

#[test]
fn slots_shrink_and_grow() {
    // Eight in flight and a timeout: four. The endings that were under way say nothing new.
    let a = "a ".repeat(40);
    let run = "? ? ? ? ? ? ? ? slow:0 200:1 200:2 200:3 ? 200:4 ?";
    let out = "a0 a1 a2 a3 a4 a5 a6 a7 ~0:0 =1 =2 =3 . =4 a0";
    check(each(8), &format!("{a} {run}"), out);
    // From then on each round of good answers brings one back.
    let more = "200:5 200:6 200:7 ? ? ? 200:0 200:8 200:9 200:10 * 200:11 ? ?";
    let more_out = "=5 =6 =7 a8 a9 a10 =0 =8 =9 =10 a11 a12 a13 a14 a15 . =11 a16 .";
    check(each(8), &format!("{a} {run} {more}"), &format!("{out} {more_out}"));
}

#[test]
fn what_could_not_run_goes_back() {
    check(each(1), "a a * back:0 * 500:0 * 500:0 * 500:0", "a0 . a0 . ~0:0 a0 . ~0:0 a0 . =0");
    check(each(1), "a b * out:0 a *", "a0 b1 . a2 .");
    check(each(1), "a a b ? ? 500:0 drain * 200:2 ?", "a0 b2 ~0:0 [0,1] . =2 idle");
}

#[test]
fn the_longest_queues_make_room() {
    let pace = Pace { window_rows_host: 2, parallel_max_host: Some(1), ..Pace::default() };
    let mut scheduler = Scheduler::new(pace);
    for (row, host) in (0..).zip("aaaaabbbbccb".chars()) {
        scheduler.submit(Job::new(Row(row), url(&host.to_string())), Nanos::ZERO);
    }
    let evict = |scheduler: &mut Scheduler, count, spare: &str| -> Vec<u64> {
        let spare = HostKey::new(spare);
        let evicted = scheduler.evict(count, |host| host == spare, Nanos::ZERO);
        evicted.into_iter().map(|job| job.row.0).collect()
    };
    assert!(evict(&mut scheduler, 9, "").is_empty(), "a host could start");
    let started = [(); 3].map(|()| match scheduler.poll(Nanos::ZERO) {
        Next::Start(job) => job,
        other @ (Next::Fail(..) | Next::WaitUntil(_) | Next::WaitForEvent | Next::Idle) => {
            panic!("{other:?}")
        }
    });
    assert_eq!(evict(&mut scheduler, 3, ""), [3, 4, 11]);
    assert!(evict(&mut scheduler, 9, "b").is_empty());
    assert_eq!(evict(&mut scheduler, 9, "a"), [8]);
    assert_eq!(["a", "b", "c"].map(|host| scheduler.queued_of(HostKey::new(host))), [2, 2, 1]);
    // A row that was tried or redirected here stays; the rows before it are evicted.
    let [mut first, ..] = started;
    scheduler.release(first.target(), Nanos::ZERO);
    let hop = Hop { url: "".into(), status: 302, total: Nanos::ZERO, remote: None, heads: None };
    first.redirect(url("b"), hop);
    scheduler.submit(first, Nanos::ZERO);
    assert!(matches!(scheduler.poll(Nanos::ZERO), Next::Start(job) if job.row == Row(1)));
    assert_eq!(evict(&mut scheduler, 9, ""), [7]);
}

#[test]
fn the_limit_that_holds_is_named() {
    let check = |pace: Pace, script: &str, expected: Held| {
        let mut play =
            Play { scheduler: Scheduler::new(pace), now: Nanos::ZERO, rows: 0, running: Vec::new() };
        script.split_whitespace().for_each(|step| drop(play.step(step)));
        assert_eq!(play.scheduler.held(play.now), expected, "{script}");
    };
    check(each(1), "a *", Held::Nothing);
    check(each(1), "a a *", Held::ParallelMaxHost);
    check(Pace { parallel_max: 1, ..each(1) }, "a b *", Held::ParallelMax);
    check(Pace { rate: rate("1/s"), ..each(1) }, "a b *", Held::Rate);
    check(Pace { rate_host: rate("1/s"), ..each(2) }, "a a *", Held::RateHost);
    check(each(2), "a a a * slow:0 *", Held::Adaptive);
    check(each(1), "a a * 429=5:0 *", Held::Parked);
    check(each(1), "a a b b * 200:0 ? 429=5:2", Held::Parked);
    check(each(1), "a a * 429:0 ? +1000 ? 200:0 *", Held::Adaptive);
    check(three(), "a a a b * refused:0 refused:1 refused:2 *", Held::Away);
}

#[test]
fn idle_hosts_are_forgotten_and_those_in_trouble_last() {
    let check = |script: &str, remembered: usize, expected: &str| {
        let pace = Pace { hosts_max: 2, host_errors_max: 2, ..each(1) };
        check(pace.clone(), script, expected);
        let mut play = Play::new(pace);
        script.split_whitespace().for_each(|step| drop(play.step(step)));
        assert_eq!(play.scheduler.hosts_remembered(), remembered, "{script}");
    };
    check("a ? 200:0 b ? 200:1 c ? 200:2 d ? 200:3", 2, "a0 =0 b1 =1 c2 =2 d3 =3");
    // The failure of a is remembered, so that the next one is its second.
    check(
        "a ? unknown:0 b ? 200:1 c ? 200:2 d ? 200:3 a a ? unknown:4 ?",
        2,
        "a0 =0 b1 =1 c2 =2 d3 =3 a4 =4 !a5",
    );
    // Only when all are in trouble is one of them forgotten.
    check(
        "a ? unknown:0 b ? unknown:1 c ? unknown:2 a ? unknown:3 a ? unknown:4 a ?",
        2,
        "a0 =0 b1 =1 c2 =2 a3 =3 a4 =4 !a5",
    );
    check("a b c d e *", 5, "a0 b1 c2 d3 e4 .");
}
