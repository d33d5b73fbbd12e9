//! `-w FORMAT`: a format with curl's `%{…}` variables, parsed once and rendered for each row.

use std::fmt::Write as _;

use overlapped_proto::record::column::Fields;
use overlapped_proto::record::{HttpVersion, Record, header_text, ndjson};
use overlapped_proto::sanitize::redact;
use overlapped_proto::time::Nanos;
use serde_json::{Map, Value};
use url::Url;

use super::nearest::nearest;

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriteOut(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
    /// `%header{name}`: the first value of a header field; the name is in lower case.
    Header(String),
    /// `%{url.host}`: a part of the row's URL, and `%{urle.host}`: of that of its last request.
    Part(Whose, Part),
    /// `%{onerror}`: what follows is printed for failed rows alone.
    OnError,
}

/// The URL that a part is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Given,
    Effective,
}

/// A part of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Scheme,
    Host,
    Port,
    Path,
    Query,
    Fragment,
}

const PARTS: [(&str, Part); 6] = [
    ("scheme", Part::Scheme),
    ("host", Part::Host),
    ("port", Part::Port),
    ("path", Part::Path),
    ("query", Part::Query),
    ("fragment", Part::Fragment),
];

/// Variables that curl has and this program does not.
const OF_CURL: [&str; 24] = [
    "certs",
    "conn_id",
    "filename_effective",
    "ftp_entry_path",
    "http_connect",
    "local_ip",
    "local_port",
    "num_certs",
    "output",
    "proxy_ssl_verify_result",
    "proxy_used",
    "referer",
    "size_header",
    "size_request",
    "size_upload",
    "speed_upload",
    "ssl_verify_result",
    "stderr",
    "stdout",
    "time",
    "time_queue",
    "tls_earlydata",
    "url.user",
    "url.password",
];

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
    HeaderJson = "header_json";
    RedirectUrl = "redirect_url";
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
    TimePretransfer = "time_pretransfer";
    TimePosttransfer = "time_posttransfer";
    TimeRedirect = "time_redirect";
    TimeFirstByte = "time_starttransfer";
    TimeTotal = "time_total";
    Url = "url";
    UrlEffective = "url_effective";
    UrlNumber = "urlnum" | "xfer_id";
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
                (Some((name, behind)), _) => (known(name)?, behind),
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
                Piece::OnError if record.ok => break,
                Piece::OnError => {}
                Piece::Part(whose, part) => {
                    let url = match whose {
                        Whose::Given => &record.url,
                        Whose::Effective => record.final_url.as_deref().unwrap_or(&record.url),
                    };
                    out.extend_from_slice(part.of(&redact(url)).as_bytes());
                }
                Piece::Variable(variable) => out.extend_from_slice(value(*variable, record).as_bytes()),
            }
        }
        out
    }
}

impl Part {
    fn of(self, url: &str) -> String {
        let Ok(url) = Url::parse(url) else { return String::new() };
        match self {
            Self::Scheme => url.scheme().to_owned(),
            Self::Host => url.host_str().unwrap_or_default().to_owned(),
            Self::Port => url.port_or_known_default().map_or_else(String::new, |port| port.to_string()),
            Self::Path => url.path().to_owned(),
            Self::Query => url.query().unwrap_or_default().to_owned(),
            Self::Fragment => url.fragment().unwrap_or_default().to_owned(),
        }
    }
}

fn known(name: &str) -> Result<Piece, String> {
    if name == "onerror" {
        return Ok(Piece::OnError);
    }
    if let Some(variable) = Variable::named(name) {
        return Ok(Piece::Variable(variable));
    }
    let part = |name: &str| PARTS.iter().find(|(known, _)| *known == name).map(|(_, part)| *part);
    let prefixes = [("url.", Whose::Given), ("urle.", Whose::Effective)];
    let mut parts =
        prefixes.iter().filter_map(|(prefix, whose)| Some((*whose, part(name.strip_prefix(prefix)?)?)));
    if let Some((whose, part)) = parts.next() {
        return Ok(Piece::Part(whose, part));
    }
    let names = Variable::NAMES.iter().copied();
    let told = match nearest(name, names.clone().chain(["onerror"])) {
        Some(meant) if !OF_CURL.contains(&name) => format!("; perhaps %{{{meant}}} is meant"),
        Some(_) | None => String::new(),
    };
    let curl = if OF_CURL.contains(&name) { ", unlike in curl" } else { "" };
    let known = names.collect::<Vec<_>>().join(", ");
    Err(format!(
        "there is no %{{{name}}} here{curl}{told}; there are {known}, onerror, url.PART and urle.PART (scheme, host, port, \
         path, query, fragment), and %header{{NAME}}"
    ))
}

/// The header fields as curl writes them: each name once, in lower case, with all its values.
fn header_json(record: &Record) -> String {
    let mut fields: Vec<(String, Vec<Value>)> = Vec::new();
    for (name, value) in record.headers.iter() {
        let value = Value::from(header_text(value));
        match fields.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, values)) => values.push(value),
            None => fields.push((name.to_ascii_lowercase(), vec![value])),
        }
    }
    let fields: Map<String, Value> = fields.into_iter().map(|(name, values)| (name, values.into())).collect();
    Value::Object(fields).to_string()
}

/// Where a redirect that was not followed leads.
fn redirect_url(record: &Record, effective: &str) -> String {
    let is_redirect = matches!(record.status, Some(301 | 302 | 303 | 307 | 308));
    let location = record.headers.first("location").filter(|_| is_redirect);
    let location = location.and_then(|location| std::str::from_utf8(location).ok());
    let url = Url::parse(effective).ok().zip(location).and_then(|(base, location)| base.join(location).ok());
    url.map_or_else(String::new, |url| redact(url.as_str()).into_owned())
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
        Variable::HeaderJson => header_json(record),
        Variable::RedirectUrl => redirect_url(record, effective),
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
        Variable::Size => record.wire_bytes.to_string(),
        Variable::Speed => {
            let seconds = total.as_millis_f64() / 1_000.0;
            format!("{:.0}", if seconds > 0.0 { record.wire_bytes as f64 / seconds } else { 0.0 })
        }
        Variable::TimeConnect => seconds(connect),
        Variable::TimeTls => seconds(tls.unwrap_or_default()),
        Variable::TimeDns => seconds(dns),
        Variable::TimePretransfer => seconds(tls.unwrap_or(connect)),
        Variable::TimePosttransfer => seconds(tls.unwrap_or(connect) + timing.send.unwrap_or_default()),
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
        check("%{url.host}:%{url.port}%{url.path}?%{urle.query} %{urle.scheme}", "a:443/b? https");
        check("%{header_json}%{redirect_url}", "{\"x-a\":[\"1\"]}");
        check("a%{onerror}b", "ab");
        record.headers.push("location", b"/c?x");
        record.headers.push("X-A", b"2");
        (record.status, record.ok) = (Some(302), true);
        let check = |format: &str, expected: &str| {
            let rendered = WriteOut::parse(format).unwrap().render(&record);
            assert_eq!(String::from_utf8(rendered).unwrap(), expected, "{format}");
        };
        check("%{redirect_url} %{xfer_id}", "https://a/c?x 3");
        check("a%{onerror}b%{url}", "a");
        check("%{header_json}", "{\"x-a\":[\"1\",\"2\"],\"location\":[\"/c?x\"]}");
        check("%{time_pretransfer} %{time_posttransfer}", "0.000000 0.000000");
        let json = WriteOut::parse("%{json}").unwrap().render(&record);
        assert_eq!(serde_json::from_slice::<Value>(&json).unwrap()["status"], 302);
    }

    #[test]
    fn names_that_are_not_known_are_refused_with_those_that_are() {
        let refused = WriteOut::parse("%{certs}").unwrap_err();
        assert!(refused.contains("%{certs} here, unlike in curl; there are content_type"), "{refused}");
        let refused = WriteOut::parse("%{http_cod}").unwrap_err();
        assert!(refused.contains("perhaps %{http_code} is meant") && !refused.contains("curl"), "{refused}");
        assert!(WriteOut::parse("%{url.user}").is_err() && WriteOut::parse("%{url.}").is_err());
    }
}
