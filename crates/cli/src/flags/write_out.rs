//! `-w FORMAT`: a format with curl's `%{…}` variables, parsed once and rendered for each row.

use std::fmt::Write as _;

use overlapped_proto::record::column::Fields;
use overlapped_proto::record::{HttpVersion, Record, ndjson};
use overlapped_proto::sanitize::redact;
use overlapped_proto::time::Nanos;

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriteOut(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
    /// `%header{name}`: the first value of a header field; the name is in lower case.
    Header(String),
}

macro_rules! variables {
    ($($variant:ident = $($name:literal)|+;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Variable {
            $($variant,)+
        }

        impl Variable {
            const NAMES: &[&str] = &[$($($name,)+)+];

            fn named(name: &str) -> Option<Self> {
                match name {
                    $($($name)|+ => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

variables! {
    ContentType = "content_type";
    ErrorMessage = "errormsg";
    ExitCode = "exitcode";
    HttpCode = "http_code" | "response_code";
    HttpVersion = "http_version";
    Json = "json";
    Method = "method";
    Connects = "num_connects";
    Headers = "num_headers";
    Redirects = "num_redirects";
    Retries = "num_retries";
    RemoteIp = "remote_ip";
    RemotePort = "remote_port";
    Scheme = "scheme";
    Size = "size_download";
    Speed = "speed_download";
    TimeConnect = "time_connect";
    TimeTls = "time_appconnect";
    TimeDns = "time_namelookup";
    TimeRedirect = "time_redirect";
    TimeFirstByte = "time_starttransfer";
    TimeTotal = "time_total";
    Url = "url";
    UrlEffective = "url_effective";
    UrlNumber = "urlnum";
}

impl WriteOut {
    /// Parses a format. `\n`, `\t` and `\r` are escapes as in C; `%%` is a percent sign.
    ///
    /// # Errors
    ///
    /// A variable that is not supported.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let escaped = [("\\n", "\n"), ("\\t", "\t"), ("\\r", "\r"), ("\\\\", "\\"), ("%%", "%")];
            if let Some((written, meant)) = escaped.iter().find(|(written, _)| rest.starts_with(written)) {
                plain.push_str(meant);
                rest = rest.get(written.len()..).unwrap_or_default();
                continue;
            }
            let braced = |start: &str| rest.strip_prefix(start).and_then(|behind| behind.split_once('}'));
            let (piece, behind) = match (braced("%{"), braced("%header{")) {
                (Some((name, behind)), _) => (Piece::Variable(known(name)?), behind),
                (None, Some((name, behind))) => (Piece::Header(name.to_ascii_lowercase()), behind),
                (None, None) => {
                    plain.push(c);
                    rest = rest.get(c.len_utf8()..).unwrap_or_default();
                    continue;
                }
            };
            pieces.extend((!plain.is_empty()).then(|| Piece::Text(std::mem::take(&mut plain))));
            pieces.push(piece);
            rest = behind;
        }
        pieces.extend((!plain.is_empty()).then_some(Piece::Text(plain)));
        Ok(Self(pieces))
    }

    /// Renders a row.
    pub(crate) fn render(&self, record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Header(name) => {
                    out.extend_from_slice(record.headers.first(name).unwrap_or_default());
                }
                Piece::Variable(Variable::Json) => push_json(record, &mut out),
                Piece::Variable(variable) => out.extend_from_slice(value(*variable, record).as_bytes()),
            }
        }
        out
    }
}

fn known(name: &str) -> Result<Variable, String> {
    Variable::named(name).ok_or_else(|| {
        let known = Variable::NAMES.join(", ");
        format!("there is no %{{{name}}} here; there are {known}, and %header{{NAME}}")
    })
}

/// The record as `-o -` writes it, without its body and its line end.
fn push_json(record: &Record, out: &mut Vec<u8>) {
    ndjson::write(record, &Fields { body: false, ..Fields::default() }, out);
    out.pop();
}

fn value(variable: Variable, record: &Record) -> String {
    let effective = record.final_url.as_deref().unwrap_or(&record.url);
    let timing = &record.timing;
    let dns = timing.dns.unwrap_or_default();
    let connect = dns + timing.connect.unwrap_or_default();
    let tls = timing.tls.map(|tls| connect + tls);
    let first_byte =
        tls.unwrap_or(connect) + timing.send.unwrap_or_default() + timing.wait.unwrap_or_default();
    let redirects = record.chain.iter().fold(Nanos::ZERO, |sum, hop| sum + hop.total);
    let total = first_byte + timing.receive.unwrap_or_default() + redirects;
    match variable {
        Variable::ContentType => {
            String::from_utf8_lossy(record.headers.first("content-type").unwrap_or_default()).into_owned()
        }
        Variable::ErrorMessage => record.failure.as_ref().map(ToString::to_string).unwrap_or_default(),
        Variable::ExitCode => {
            record.failure.as_ref().map_or(0, |failure| failure.kind.curl_code()).to_string()
        }
        Variable::HttpCode => format!("{:03}", record.status.unwrap_or(0)),
        Variable::HttpVersion => record.connection.http_version.map_or("0", HttpVersion::as_str).to_owned(),
        Variable::Json => String::new(),
        Variable::Method => record.method.as_str().to_owned(),
        Variable::Connects => u8::from(record.connection.reused == Some(false)).to_string(),
        Variable::Headers => record.headers.iter().count().to_string(),
        Variable::Redirects => record.chain.len().to_string(),
        Variable::Retries => {
            let first = record.chain.len() + 1;
            usize::from(record.attempts).saturating_sub(first).to_string()
        }
        Variable::RemoteIp => {
            record.connection.remote.map(|remote| remote.ip().to_string()).unwrap_or_default()
        }
        Variable::RemotePort => record.connection.remote.map_or(0, |remote| remote.port()).to_string(),
        Variable::Scheme => effective.split_once(':').map_or(String::new(), |(scheme, _)| scheme.to_owned()),
        Variable::Size => record.bytes.to_string(),
        Variable::Speed => {
            let seconds = total.as_millis_f64() / 1_000.0;
            format!("{:.0}", if seconds > 0.0 { record.bytes as f64 / seconds } else { 0.0 })
        }
        Variable::TimeConnect => seconds(connect),
        Variable::TimeTls => seconds(tls.unwrap_or_default()),
        Variable::TimeDns => seconds(dns),
        Variable::TimeRedirect => seconds(redirects),
        Variable::TimeFirstByte => seconds(first_byte),
        Variable::TimeTotal => seconds(total),
        Variable::Url => redact(&record.url).into_owned(),
        Variable::UrlEffective => redact(effective).into_owned(),
        Variable::UrlNumber => record.row.0.to_string(),
    }
}

/// Seconds with six digits, as in curl.
fn seconds(span: Nanos) -> String {
    let mut text = String::new();
    let us = span.0 / 1_000;
    let _ = write!(text, "{}.{:06}", us / 1_000_000, us % 1_000_000);
    text
}

#[cfg(test)]
mod tests {
    use overlapped_proto::job::Row;

    use super::*;

    #[test]
    fn formats_are_filled_in() {
        let mut record = Record::new(Row(3), "https://me:secret@a/b");
        record.status = Some(204);
        record.headers.push("x-a", b"1");
        record.timing.wait = Some(Nanos::from_millis(1_500));
        let check = |format: &str, expected: &str| {
            let rendered = WriteOut::parse(format).unwrap().render(&record);
            assert_eq!(String::from_utf8(rendered).unwrap(), expected, "{format}");
        };
        check(r"%{http_code} %{response_code}\n", "204 204\n");
        check("%{time_total}|%{time_appconnect}", "1.500000|0.000000");
        check("100%% %header{X-A}%header{x-b}", "100% 1");
        check("%{scheme} %{urlnum} % %{", "https 3 % %{");
        assert!(
            !String::from_utf8(WriteOut::parse("%{url}").unwrap().render(&record))
                .unwrap()
                .contains("secret")
        );
        let json = WriteOut::parse("%{json}").unwrap().render(&record);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).unwrap()["status"], 204);
    }

    #[test]
    fn names_that_are_not_known_are_refused_with_those_that_are() {
        let refused = WriteOut::parse("%{certs}").unwrap_err();
        assert!(refused.contains("%{certs}") && refused.contains("time_total"), "{refused}");
    }
}
