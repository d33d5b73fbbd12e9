//! A well-formed response, and its encoding as bytes.
//!
//! What all responses have in common (framing, HEAD, closing the connection) is decided here and not in the routes.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::oracle::Pattern;
use crate::request::Request;
use crate::script::{Delivery, Script, Step, reason};

/// A response before it is encoded.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lines of the head, each with its CRLF.
    pub(crate) headers: String,
    pub(crate) before: Duration,
    pub(crate) length: Length,
    pub(crate) body: Vec<Step>,
}

/// The framing of the body.
pub(crate) enum Length {
    Known(u64),
    Chunked,
    /// No body and no framing header, for statuses without a body.
    None,
}

impl Answer {
    pub(crate) fn body(status: u16, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        Answer {
            status,
            headers: String::new(),
            before: Duration::ZERO,
            length: Length::Known(body.len() as u64),
            body: vec![Step::Send(body)],
        }
    }

    pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Answer {
        Answer::body(status, body).header("Content-Type", "text/plain")
    }

    pub(crate) fn pattern(pattern: Pattern, bytes: u64, content_type: &str) -> Answer {
        match usize::try_from(bytes) {
            Ok(length) if length <= 1 << 16 => Answer::body(200, pattern.prefix(length)),
            _ => Answer {
                length: Length::Known(bytes),
                body: vec![Step::Fill(pattern, bytes)],
                ..Answer::body(200, Bytes::new())
            },
        }
        .header("Content-Type", content_type)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Answer {
        write!(self.headers, "{name}: {value}\r\n").expect("a String takes all");
        self
    }

    /// Head and first part of the body go out in one write.
    pub(crate) fn script(self, request: &Request, delivery: Delivery, gap: Duration) -> Script {
        let mut head = Vec::with_capacity(1024);
        let mut line = format!("HTTP/1.1 {} {}\r\n{}", self.status, reason(self.status), self.headers);
        match self.length {
            Length::Known(bytes) => write!(line, "Content-Length: {bytes}\r\n"),
            Length::Chunked => write!(line, "Transfer-Encoding: chunked\r\n"),
            Length::None => Ok(()),
        }
        .expect("a String takes all");
        let close = !request.keep_alive();
        line.push_str(if close { "Connection: close\r\n\r\n" } else { "\r\n" });
        head.extend_from_slice(line.as_bytes());

        let mut script = Script::new().delivered(delivery).gap(gap);
        if !self.before.is_zero() {
            script = script.pause(self.before);
        }
        let bodiless = request.method == "HEAD" || matches!(self.length, Length::None);
        let mut body = if bodiless { Vec::new() } else { self.body }.into_iter().peekable();
        if let Some(Step::Send(bytes)) = body.next_if(|step| matches!(step, Step::Send(_))) {
            head.extend_from_slice(&bytes);
        }
        script = body.fold(script.send(head), Script::step);
        if close { script.close() } else { script }
    }
}

/// An HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
pub(crate) fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let mut day = days;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = "Dec";
    for (name, length) in MONTHS.into_iter().zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if day < length {
            month = name;
            break;
        }
        day -= length;
    }
    let weekday = DAYS.into_iter().nth((days % 7) as usize).unwrap_or("Thu");
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |seconds: u64, date: &str| {
            assert_eq!(http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), date);
        };
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
        check(1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT");
    }
}
