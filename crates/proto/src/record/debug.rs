//! The `Debug` output of a record: the fields that are set, shortened, without credentials.

use std::fmt;

use super::{Body, Headers, Record};
use crate::sanitize::{quote, shown};

/// Bytes of a body or of a header's value that are shown.
const SHOWN_BYTES: usize = 80;

/// What is not known, or did not happen, is left out.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("Record");
        told.field("row", &self.row.0).field("url", &shown(&self.url)).field("method", &self.method);
        let mut known = |name: &str, value: Option<&dyn fmt::Debug>| {
            value.map(|value| told.field(name, value));
        };
        known("id", self.id.as_ref().map(|id| id as _));
        known("final_url", self.final_url.as_deref().map(shown).as_ref().map(|url| url as _));
        known("host", self.host.as_ref().map(|host| host as _));
        known("status", self.status.as_ref().map(|status| status as _));
        known("ok", Some(&self.ok));
        known("failure", self.failure.as_ref().map(|failure| failure as _));
        known("attempts", Some(&self.attempts));
        known("chain", (!self.chain.is_empty()).then_some(&self.chain));
        known("connection", (self.connection != Default::default()).then_some(&self.connection));
        known("headers", (!self.headers.is_empty()).then_some(&self.headers));
        known("bytes", Some(&self.bytes));
        known("wire_bytes", Some(&self.wire_bytes));
        known("body", (self.body != Body::None).then_some(&self.body));
        known("notes", (self.notes != Default::default()).then_some(&self.notes));
        let sha256 =
            self.sha256.map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        known("sha256", sha256.as_ref().map(|digest| digest as _));
        known("truncated", self.truncated.as_ref().map(|truncated| truncated as _));
        known("started_unix_us", self.started_unix_us.as_ref().map(|started| started as _));
        known("total", self.started_unix_us.is_some().then_some(&format_args!("{}", self.timing.total())));
        known("elapsed", Some(&format_args!("{}", self.elapsed)));
        known("out", self.out.as_ref().map(|out| out as _));
        known("meta", self.meta.as_ref().map(|meta| meta as _));
        told.finish_non_exhaustive()
    }
}

/// Name and value of each field, in the order of the wire; long values are cut.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, quote(value, SHOWN_BYTES)))).finish()
    }
}

/// The length of a body and its beginning, or its file.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Inline(bytes) => write!(f, "{} bytes, {:?}", bytes.len(), quote(bytes, SHOWN_BYTES)),
            Self::Spooled(body) => write!(f, "{} bytes, on disk", body.len()),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Row;

    #[test]
    fn a_record_is_readable_and_tells_no_password() {
        let nested = Record::new(Row(7), "http://a.example/?to=http%3A%2F%2Fme%3As3cret%40b%2F&key=s3cret");
        assert!(!format!("{nested:?}").contains("s3cret"), "{nested:?}");
        let mut record = Record::new(Row(7), "http://me:s3cret@a.example/");
        assert_eq!(
            format!("{record:?}"),
            "Record { row: 7, url: \"http://a.example/\", method: Get, ok: false, attempts: 0, bytes: 0, \
             wire_bytes: 0, elapsed: \"0.000 s\", .. }"
                .replace("\"0.000 s\"", "0.000 s")
        );
        record.headers.push("content-type", b"text/html");
        record.headers.push("x-long", &[b'x'; 1_000]);
        record.body = Body::Inline(vec![b'y'; 1_000_000].into());
        record.sha256 = Some([0xab; 32]);
        let told = format!("{record:?}");
        assert!(told.contains("{\"content-type\": \"text/html\", \"x-long\": \"xxx"), "{told}");
        assert!(told.contains("body: 1000000 bytes, \"yyy"), "{told}");
        assert!(told.contains(&"ab".repeat(32)), "{told}");
        assert!(told.len() < 1_000, "{told}");
    }
}
