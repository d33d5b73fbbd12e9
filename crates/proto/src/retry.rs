//! The retry policy of one row: which failures and methods are retried, `Retry-After`, exponential back-off with full
//! jitter, and the retry budget.
//!
//! The consequences of a failure for other rows of the host (parking, a lower concurrency limit, giving the host up) are
//! in `schedule`.

use crate::calendar::days_since_1970;
use crate::error::{Blame, ErrorKind, Phase};
use crate::job::{Job, Method};
use crate::limits;
use crate::outcome::Ending;
use crate::time::Nanos;

/// Which failures are retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Further attempts after the first.
    pub retries: u16,
    /// Also retry what is not transient, and methods that are not idempotent (`--retry-all-errors`).
    pub all_errors: bool,
    /// No retry starts later than this after the row's first attempt. `None`: no limit.
    pub max_time: Option<Nanos>,
    /// The method of rows that name none.
    pub method: Method,
}

impl Default for Policy {
    fn default() -> Self {
        Self { retries: limits::RETRIES, all_errors: false, max_time: None, method: Method::Get }
    }
}

impl Policy {
    /// True if a row that ended so may be tried again.
    ///
    /// A response is worth another attempt with status 408, 429, 500, 502, 503, 504 or 522 and 524 (Cloudflare's
    /// timeouts); a failure if its kind is transient. A method that is not idempotent is repeated only if the request
    /// was not carried out: the failure came before the connection was established, or the server says so, as it does
    /// with status 429, and with 503 and `Retry-After`.
    ///
    /// Attempts that did not reach the origin do not count against the retries of a request that did: an origin that
    /// restarts refuses connections first, and may break the first request that it takes.
    #[must_use]
    pub fn allows(&self, job: &Job, ending: Ending) -> bool {
        let used = if is_missed(ending) { retries(job) } else { answered_retries(job) };
        used < self.retries && self.may_repeat(job, ending)
    }

    /// True if a retry that starts at `due` is still within the time of the row.
    #[must_use]
    pub fn in_time(&self, job: &Job, due: Nanos) -> bool {
        let first = job.first_started.unwrap_or(due);
        self.max_time.is_none_or(|max| due - first <= max)
    }

    /// True if a row that ended so may be repeated at all, whatever the number of its attempts.
    #[must_use]
    pub fn may_repeat(&self, job: &Job, ending: Ending) -> bool {
        self.retries > 0 && self.is_worth_it(ending) && (self.all_errors || self.is_safe(job, ending))
    }

    fn is_worth_it(&self, ending: Ending) -> bool {
        match ending {
            Ending::Response { status, .. } => is_transient(status) || (self.all_errors && status >= 400),
            Ending::Failed(kind) => kind.is_transient() || (self.all_errors && kind.blame() != Blame::Us),
        }
    }

    fn is_safe(&self, job: &Job, ending: Ending) -> bool {
        let method = job.ask.as_ref().and_then(|ask| ask.method.as_ref()).unwrap_or(&self.method);
        job.became_get || method.is_idempotent() || is_undone(ending)
    }
}

/// Retries so far. Each redirect that was followed has counted as an attempt, and is not a retry.
#[must_use]
pub fn retries(job: &Job) -> u16 {
    let hops = u16::try_from(job.chain.len()).unwrap_or(u16::MAX);
    job.attempts.saturating_sub(hops).saturating_sub(1)
}

/// Retries so far, of the attempts that reached the origin.
#[must_use]
pub fn answered_retries(job: &Job) -> u16 {
    retries(job).saturating_sub(job.missed)
}

/// True if an attempt that ended so did not reach the origin.
#[must_use]
pub fn is_missed(ending: Ending) -> bool {
    matches!(ending, Ending::Failed(kind) if kind.reached() == Some(false))
}

/// True for a status that another attempt may not get.
#[must_use]
pub const fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 522 | 524)
}

/// True for a status with which a host, or a proxy before it, refuses for now: too many requests, or no backend. It may
/// also concern one page; the scheduler decides by what other rows get.
#[must_use]
pub const fn is_refusal(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504 | 522 | 524)
}

/// True if an attempt that ended so has changed nothing at the server. A status 503 alone may come from a proxy whose server has
/// processed the request; with `Retry-After` it asks for the same request again (RFC 9110, section 15.6.4).
fn is_undone(ending: Ending) -> bool {
    match ending {
        Ending::Response { status, retry_after } => status == 429 || status == 503 && retry_after.is_some(),
        Ending::Failed(kind) => {
            kind == ErrorKind::H2Refused || matches!(kind.phase(), Phase::Dns | Phase::Connect | Phase::Tls)
        }
    }
}

/// How long to wait before retry number `retry`, counted from 0: anything up to 0.5 s · 2^retry, at most 60 s.
///
/// Full jitter, so that rows that failed together are not retried together (Brooker, "Exponential Backoff And
/// Jitter", 2015). `draw` is any random number.
#[must_use]
pub fn back_off(retry: u16, draw: u64) -> Nanos {
    let ceiling = doubled(limits::RETRY_BASE, u32::from(retry), limits::RETRY_MAX);
    fraction(ceiling, draw)
}

/// `base · 2^times`, at most `max`.
#[must_use]
pub fn doubled(base: Nanos, times: u32, max: Nanos) -> Nanos {
    let factor = 1_u64.checked_shl(times).unwrap_or(u64::MAX);
    Nanos(base.0.saturating_mul(factor)).min(max)
}

/// A fraction of `span` that `draw` selects, uniform in `[0, span)`.
#[must_use]
pub fn fraction(span: Nanos, draw: u64) -> Nanos {
    let part = (u128::from(span.0) * u128::from(draw)) >> 64;
    Nanos(u64::try_from(part).expect("a fraction of a span is below the span"))
}

/// The retry budget, a token bucket: a tenth of the requests, so that retries do not double the load on a failing
/// service. It starts with a floor that a small run does not exhaust. A row's first retry after a lost connection needs none.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// In hundredths of a retry.
    hundredths: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { hundredths: limits::RETRY_BUDGET_FLOOR * 100 }
    }
}

impl Budget {
    /// Adds the share of a row that starts for the first time, up to the capacity of the bucket.
    pub fn earn(&mut self) {
        let most = limits::RETRY_BUDGET_MAX * 100;
        self.hundredths = (self.hundredths + limits::RETRY_BUDGET_PERCENT).min(most);
    }

    /// Takes one retry from the budget; false if it is exhausted.
    #[must_use = "a retry without budget must not start"]
    pub fn spend(&mut self) -> bool {
        let rest = self.hundredths.checked_sub(100);
        self.hundredths = rest.unwrap_or(self.hundredths);
        rest.is_some()
    }
}

/// Reads a `Retry-After` header: how long from now. Seconds, or any of the three dates of RFC 9110, section 5.6.7.
///
/// `unix_now_s` is the time now in seconds since 1970. A date that is past means no wait; more than ten minutes are
/// cut to ten minutes; anything else is ignored.
///
/// ```
/// use overlapped_proto::retry;
/// use overlapped_proto::time::Nanos;
///
/// assert_eq!(retry::after(b"120", 0), Some(Nanos::from_secs(120)));
/// assert_eq!(retry::after(b"Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770), Some(Nanos::from_secs(7)));
/// assert_eq!(retry::after(b"soon", 0), None);
/// ```
#[must_use]
pub fn after(value: &[u8], unix_now_s: i64) -> Option<Nanos> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let seconds = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().unwrap_or(u64::MAX) // Digits alone fail only by being too many.
    } else {
        let date = date(text, unix_now_s)?;
        u64::try_from(date.saturating_sub(unix_now_s)).unwrap_or(0)
    };
    Some(Nanos::from_secs(seconds).min(limits::RETRY_AFTER_MAX))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or
/// `Sun Nov  6 08:49:37 1994`. The name of the day is not compared with the date, as no other reader does.
fn date(text: &str, unix_now_s: i64) -> Option<i64> {
    let mut words = text.split([' ', ',', '-']).filter(|word| !word.is_empty());
    let mut word = || words.next();
    let _day_name = word()?;
    let second = word()?;
    let (day, month, year, time) = if second.starts_with(|c: char| c.is_ascii_digit()) {
        let (month, year, time) = (word()?, word()?, word()?);
        (word()? == "GMT").then_some((second, month, year, time))?
    } else {
        let (day, time, year) = (word()?, word()?, word()?);
        (day, second, year, time)
    };
    if word().is_some() {
        return None;
    }
    let month = month_number(month)?;
    let day = number(day, 1..=2).filter(|day| (1..=31).contains(day))?;
    let year = match year.len() {
        2 => nearest_century(number(year, 2..=2)?, unix_now_s),
        _ => number(year, 4..=4)?,
    };
    Some(days_since_1970(year, month, day) * 86_400 + time_of_day(time)?)
}

/// Seconds since midnight of `08:49:37`; a leap second is allowed.
fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|part| number(part, 2..=2));
    let (h, m, s) = (parts.next()??, parts.next()??, parts.next()??);
    (parts.next().is_none() && h < 24 && m < 60 && s <= 60).then_some(h * 3_600 + m * 60 + s)
}

fn month_number(name: &str) -> Option<i64> {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..).zip(NAMES).find(|(_, month)| *month == name).map(|(number, _)| number)
}

/// A number of exactly `digits` digits.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let plain = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// The year of two digits: one that seems more than 50 years ahead is the past one (RFC 9110, section 5.6.7).
fn nearest_century(year: i64, unix_now_s: i64) -> i64 {
    let now = 1970 + unix_now_s / 31_556_952;
    let year = now - now.rem_euclid(100) + year;
    if year > now + 50 { year - 100 } else { year }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::job::{Ask, Row};
    use crate::outcome::Hop;

    fn job(attempts: u16, method: Option<Method>) -> Job {
        let mut job = Job::new(Row(0), Url::parse("http://example.org/").unwrap());
        job.attempts = attempts;
        job.ask = method.map(|method| Box::new(Ask { method: Some(method), ..Ask::default() }));
        job
    }

    #[test]
    fn attempts_that_did_not_reach_the_origin_use_no_retry_of_one_that_did() {
        let check = |attempts, missed, ending, expected: bool| {
            let job = Job { missed, ..job(attempts, None) };
            assert_eq!(Policy::default().allows(&job, ending), expected, "{attempts} {missed} {ending:?}");
        };
        let (reset, refused) =
            (Ending::Failed(ErrorKind::HttpReset), Ending::Failed(ErrorKind::ConnectRefused));
        check(3, 2, reset, true);
        check(4, 2, reset, true);
        check(5, 2, reset, false);
        check(3, 2, status(500), true);
        check(5, 2, status(500), false);
        // A row whose origin cannot be reached is for the state of the origin to save.
        check(2, 1, refused, true);
        check(3, 2, refused, false);
    }

    fn status(status: u16) -> Ending {
        Ending::Response { status, retry_after: None }
    }

    #[test]
    fn only_what_may_go_better_is_tried_again() {
        let check = |ending, normally, with_all_errors| {
            let policy = Policy::default();
            assert_eq!(policy.allows(&job(1, None), ending), normally, "{ending:?}");
            let policy = Policy { all_errors: true, ..policy };
            assert_eq!(policy.allows(&job(1, None), ending), with_all_errors, "{ending:?}");
        };
        for code in [408, 429, 500, 502, 503, 504, 522, 524] {
            check(status(code), true, true);
        }
        for code in [400, 401, 404, 410, 501, 505, 520] {
            check(status(code), false, true);
        }
        for code in [200, 204, 301, 304] {
            check(status(code), false, false);
        }
        check(Ending::Failed(ErrorKind::ConnectTimeout), true, true);
        check(Ending::Failed(ErrorKind::BodyTruncated), true, true);
        check(Ending::Failed(ErrorKind::Resource), true, true);
        check(Ending::Failed(ErrorKind::TlsCertificate), false, true);
        check(Ending::Failed(ErrorKind::DecodeCorrupt), false, true);
        check(Ending::Failed(ErrorKind::RunUnconfirmed), false, false);
        check(Ending::Failed(ErrorKind::PolicyAddress), false, false);
        check(Ending::Failed(ErrorKind::SinkIo), false, false);
        check(Ending::Failed(ErrorKind::HostDown), false, false);
    }

    #[test]
    fn unsafe_methods_are_sent_once() {
        let check = |method: Method, ending, expected| {
            assert_eq!(Policy::default().allows(&job(1, Some(method.clone())), ending), expected, "{method}");
        };
        for code in [408, 500, 502, 503, 504, 522, 524] {
            check(Method::Post, status(code), false);
        }
        let asks = |status| Ending::Response { status, retry_after: Some(Nanos::ZERO) };
        for ending in [status(429), asks(429), asks(503)] {
            check(Method::Post, ending, true); // it was not carried out
        }
        for code in [500, 502, 504] {
            check(Method::Post, asks(code), false);
        }
        check(Method::Patch, Ending::Failed(ErrorKind::HttpReset), false);
        check(Method::Other("MERGE".into()), status(500), false);
        check(Method::Post, Ending::Failed(ErrorKind::ConnectRefused), true); // nothing was sent
        check(Method::Post, Ending::Failed(ErrorKind::DnsTimeout), true);
        check(Method::Put, status(503), true);
        check(Method::Delete, Ending::Failed(ErrorKind::HttpNoResponse), true);

        let run = Policy { method: Method::Post, ..Policy::default() };
        assert!(!run.allows(&job(1, None), status(503)));
        assert!(run.allows(&job(1, Some(Method::Get)), status(503)));
        let mut redirected = job(1, None);
        redirected.became_get = true;
        assert!(run.allows(&redirected, status(503)));
        assert!(Policy { all_errors: true, ..run }.allows(&job(1, None), status(503)));
    }

    #[test]
    fn attempts_are_counted_without_redirects() {
        let check = |attempts, hops: usize, expected| {
            let mut job = job(attempts, None);
            job.chain =
                vec![
                    Hop { url: "".into(), status: 302, total: Nanos::ZERO, remote: None, heads: None };
                    hops
                ];
            assert_eq!(Policy::default().allows(&job, status(503)), expected, "{attempts} {hops}");
        };
        check(1, 0, true);
        check(2, 0, true);
        check(3, 0, false);
        check(3, 1, true);
        check(12, 10, true);
        check(13, 10, false);
    }

    #[test]
    fn retries_end_with_the_time_of_the_row() {
        let policy = Policy { max_time: Some(Nanos(100)), ..Policy::default() };
        let mut job = job(1, None);
        job.first_started = Some(Nanos(50));
        assert!(policy.in_time(&job, Nanos(150)));
        assert!(!policy.in_time(&job, Nanos(151)));
    }

    #[test]
    fn back_off_doubles_and_ends() {
        let check = |retry, draw, expected_ms| {
            assert_eq!(back_off(retry, draw).0 / 1_000_000, expected_ms, "{retry} {draw}");
        };
        check(0, 0, 0);
        check(0, u64::MAX, 499);
        check(0, u64::MAX / 2, 249);
        check(3, u64::MAX, 3_999);
        check(7, u64::MAX, 59_999);
        check(u16::MAX, u64::MAX, 59_999);
    }

    #[test]
    fn the_budget_is_a_tenth_of_the_requests() {
        let mut budget = Budget::default();
        while budget.spend() {}
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!((0..1_000).filter(|_| budget.spend()).count(), 100);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        const NOW: i64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(after(value.as_bytes(), NOW), expected.map(Nanos::from_secs), "{value:?}");
        };
        check("0", Some(0));
        check("  7\t", Some(7));
        check("600", Some(600));
        check("601", Some(600));
        check("99999999999999999999999999", Some(600));
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10));
        check("Sunday, 06-Nov-94 08:50:37 GMT", Some(60));
        check("Sun Nov  6 08:49:38 1994", Some(1));
        check("Mon, 07 Nov 1994 08:49:37 GMT", Some(600));
        check("Sun, 06 Nov 1994 08:49:36 GMT", Some(0));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Monday, 01-Jan-70 00:00:00 GMT", Some(0)); // 1970, not 2070
        for garbage in [
            "",
            " ",
            "-1",
            "+5",
            "1.5",
            "5s",
            "soon",
            "1e3",
            "0x10",
            "5, 7",
            "٣",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nox 1994 08:49:37 GMT",
            "Sun, 06 Nov 199 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
        ] {
            check(garbage, None);
        }
        assert_eq!(after(b"\xff\xfe", NOW), None);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let check = |year, month, day, expected| assert_eq!(days_since_1970(year, month, day), expected);
        check(1970, 1, 1, 0);
        check(1969, 12, 31, -1);
        check(2000, 2, 29, 11_016);
        check(2000, 3, 1, 11_017);
        check(2026, 11, 22, 20_779);
        check(2100, 3, 1, 47_541);
    }
}
