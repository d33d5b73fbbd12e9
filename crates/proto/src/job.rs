//! One row of the list, from the moment it is read until its record is written.

use std::fmt;
use std::num::NonZeroU64;

use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::cookie::Jar;
use crate::hold::Hold;
use crate::limits;
use crate::origin::Endpoint;
use crate::outcome::{Heads, Hop};
use crate::time::Nanos;

/// The number of a row in its list, from 0. State is kept by row, never by URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(pub u64);

/// The unit of politeness: a host name or address, without the port.
///
/// The xxh3 hash of its text, so that it is the same in every run, on every machine, and in every file written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey(pub u64);

impl HostKey {
    /// The key of a host name or address as in a parsed URL; a trailing dot is ignored.
    #[must_use]
    pub fn new(host: &str) -> Self {
        Self(xxh3_64(host.strip_suffix('.').unwrap_or(host).as_bytes()))
    }

    /// The key of a URL's host.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        Self::new(url.host_str().unwrap_or_default())
    }

    /// The index of the partition that has the host, when a list is split into `shards` partitions over machines.
    #[must_use]
    pub fn shard(self, shards: usize) -> usize {
        usize::try_from(self.0 % u64::try_from(shards.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// The index of the engine shard that owns the host, of `threads`. It uses other bits than [`HostKey::shard`]: with
    /// the same bits, a machine that has one of two partitions would leave one of its two threads idle.
    #[must_use]
    pub fn thread(self, threads: usize) -> usize {
        Self(self.0.rotate_left(32)).shard(threads)
    }
}

/// A partition of a list by host: what one of several machines fetches (`--shard K/N`).
///
/// ```
/// use overlapped_proto::job::{HostKey, Row, Shard};
///
/// let shard = Shard::parse("2/3").unwrap();
/// assert_eq!((shard.index, shard.of), (1, 3));
/// assert_eq!(shard.has(Row(0), Some(HostKey(7))), true);
/// assert_eq!(shard.has(Row(7), None), true); // a bad row has no host, and is in one partition all the same
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The index of the partition, from 0.
    pub index: u32,
    /// The number of partitions.
    pub of: u32,
}

impl Shard {
    /// Reads `1/4` to `4/4`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (index, of) = text.split_once('/')?;
        let whole =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
        let (index, of) = (whole(index)?.checked_sub(1)?, whole(of)?);
        (index < of).then_some(Self { index, of })
    }

    /// True if a row is in this partition. Each row of a list is in exactly one; a row without a host is assigned by its
    /// number.
    #[must_use]
    pub fn has(self, row: Row, host: Option<HostKey>) -> bool {
        let shard = HostKey(host.map_or(row.0, |host| host.0)).shard(self.of as usize);
        u32::try_from(shard) == Ok(self.index)
    }
}

/// The host and origin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host, which is the unit of politeness.
    pub host: HostKey,
    /// The scheme and port; with the host they are the origin, whose reachability is tracked.
    pub endpoint: Endpoint,
}

/// The method of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// Any other token.
    Other(Box<str>),
}

impl Method {
    /// Parses a method: any token of RFC 9110 but CONNECT, which would turn the connection into a tunnel. As in curl, the
    /// case is kept.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        Some(match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "CONNECT" => return None,
            _ if (1..=limits::METHOD_BYTES_MAX).contains(&text.len()) && text.bytes().all(token) => {
                Self::Other(text.into())
            }
            _ => return None,
        })
    }

    /// The method as in the request line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other(token) => token,
        }
    }

    /// True if sending it twice has the effect of sending it once (RFC 9110, section 9.2.2), so that a failure may
    /// be tried again.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        match self {
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options => true,
            Self::Post | Self::Patch | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a row asks for beyond its URL. Boxed in [`Job`], because most rows are a bare line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The row's own name, passed through to its record.
    pub id: Option<Box<str>>,
    /// Instead of the run's method.
    pub method: Option<Method>,
    /// Beside the run's headers; a header of the same name wins over the run's.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The body to send.
    pub body: Option<Box<[u8]>>,
    /// A file whose content is the body to send, beneath the directory that the run allows.
    pub body_file: Option<Box<str>>,
    /// Where the row's own file goes, relative to the output directory.
    pub out: Option<Box<str>>,
    /// Sent as `If-None-Match`.
    pub etag: Option<Box<str>>,
    /// Sent as `If-Modified-Since`.
    pub last_modified: Option<Box<str>>,
    /// The SHA-256 that the body must have.
    pub sha256: Option<[u8; 32]>,
    /// Instead of the run's limit for one attempt; [`Nanos::MAX`] is none.
    pub timeout: Option<Nanos>,
    /// The other columns of the row as one JSON object, passed through to its record.
    pub meta: Option<Box<str>>,
    /// The row had a `meta` of an earlier record that is no JSON object any more.
    pub meta_dropped: bool,
}

impl Ask {
    /// True if it has a body of its own, in the row or in a file.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.body.is_some() || self.body_file.is_some()
    }

    /// Bytes of its texts.
    fn bytes(&self) -> usize {
        let Self {
            id,
            method: _,
            headers,
            body,
            body_file,
            out,
            etag,
            last_modified,
            sha256: _,
            timeout: _,
            meta,
            ..
        } = self;
        let texts = [id, body_file, out, etag, last_modified, meta];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        texts + headers + body.as_ref().map_or(0, |body| body.len())
    }
}

/// The byte range of a row in its list. Packed into one word, because every waiting row has one: 46 bits for the offset,
/// 18 for the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(NonZeroU64);

impl Span {
    const LENGTH_BITS: u32 = 18;

    /// `None` for what cannot be a row (no byte, or 256 KiB) or lies beyond 64 TiB.
    ///
    /// ```
    /// use overlapped_proto::job::Span;
    ///
    /// let span = Span::new(1 << 40, 80).unwrap();
    /// assert_eq!((span.offset(), span.bytes(), span.end()), (1 << 40, 80, (1 << 40) + 80));
    /// assert_eq!(Span::new(7, 0), None);
    /// ```
    #[must_use]
    pub fn new(offset: u64, bytes: u64) -> Option<Self> {
        let fits = bytes > 0 && bytes >> Self::LENGTH_BITS == 0 && offset >> (64 - Self::LENGTH_BITS) == 0;
        NonZeroU64::new((offset << Self::LENGTH_BITS) | bytes).filter(|_| fits).map(Self)
    }

    /// The byte it begins at.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0.get() >> Self::LENGTH_BITS
    }

    /// Its length.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0.get() & ((1 << Self::LENGTH_BITS) - 1)
    }

    /// The byte behind it.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset() + self.bytes()
    }
}

/// One row on its way.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number in the list.
    pub row: Row,
    /// Where it can be read again, if the list allows that.
    pub span: Option<Span>,
    /// Where the next attempt goes: the row's URL, or where redirects led.
    pub url: Url,
    /// The host of `url`.
    pub host: HostKey,
    /// The URL as the list gave it, where that differs from `url`.
    pub given: Option<Box<str>>,
    /// What the row asks for beyond its URL.
    pub ask: Option<Box<Ask>>,
    /// A redirect has changed the method to GET, so the body of `ask` is not sent any more.
    pub became_get: bool,
    /// A redirect led to another origin: from now on no credential is sent (never restored on the way back).
    pub crossed_origin: bool,
    /// A URL of it was asked for over https instead of http (HSTS).
    pub upgraded: bool,
    /// A public address has redirected the row: from now on it may only be led to public ones.
    pub from_public: bool,
    /// Attempts started so far, over all hops.
    pub attempts: u16,
    /// Those of them that a scheduler has counted and that did not reach the origin.
    pub missed: u16,
    /// When the row was ready for the next attempt.
    pub ready: Nanos,
    /// When the row was ready for its first attempt.
    pub first_ready: Nanos,
    /// When the first attempt started.
    pub first_started: Option<Nanos>,
    /// The redirects so far.
    pub chain: Vec<Hop>,
    /// The cookies that they have set, where no jar of the run keeps them.
    pub cookies: Option<Box<Jar>>,
    /// A guard that goes on to the record: the engine's count of the bytes of a long row.
    pub hold: Hold,
}

impl Job {
    /// A bare row.
    #[must_use]
    pub fn new(row: Row, url: Url) -> Self {
        Self {
            row,
            span: None,
            host: HostKey::of(&url),
            url,
            given: None,
            ask: None,
            became_get: false,
            crossed_origin: false,
            upgraded: false,
            from_public: false,
            attempts: 0,
            missed: 0,
            ready: Nanos::ZERO,
            first_ready: Nanos::ZERO,
            first_started: None,
            chain: Vec::new(),
            cookies: None,
            hold: Hold::default(),
        }
    }

    /// The same row, with the URL as the list gave it.
    #[must_use]
    pub fn given_as(mut self, text: &str) -> Self {
        self.given = (text != self.url.as_str()).then(|| text.into());
        self
    }

    /// Where the next attempt goes.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { host: self.host, endpoint: Endpoint::of(&self.url) }
    }

    /// The duration of the redirects so far: the requests, without the time in queues.
    #[must_use]
    pub fn spent(&self) -> Nanos {
        self.chain.iter().fold(Nanos::ZERO, |sum, hop| sum + hop.total)
    }

    /// True if no attempt was made, so that the row has only the content of the list.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.first_started.is_none() && self.chain.is_empty()
    }

    /// The URL as the list gave it.
    #[must_use]
    pub fn given(&self) -> &str {
        self.given.as_deref().unwrap_or(self.url.as_str())
    }

    /// Bytes of its texts and cookies: what the list and the redirects say.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let given = self.given.as_ref().map_or(0, |given| given.len());
        let heads = |hop: &Hop| hop.heads.as_deref().map_or(0, Heads::bytes);
        let chain: usize = self.chain.iter().map(|hop| hop.url.len() + heads(hop)).sum();
        let cookies = self.cookies.as_deref().map_or(0, Jar::bytes);
        self.url.as_str().len() + given + chain + cookies + self.ask.as_deref().map_or(0, Ask::bytes)
    }

    /// Has the row asked for at `url`, which is that of https instead of http.
    pub fn upgrade(&mut self, url: Url) {
        if self.given.is_none() {
            self.given = Some(self.url.as_str().into());
        }
        (self.url, self.upgraded) = (url, true);
    }

    /// Redirects the row to `url`, and appends `hop` to its chain. The caller sets the consequences for method, body and
    /// credentials.
    pub fn redirect(&mut self, url: Url, hop: Hop) {
        if self.given.is_none() {
            self.given = Some(self.url.as_str().into());
        }
        self.host = HostKey::of(&url);
        self.url = url;
        self.chain.push(hop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_is_a_token() {
        assert_eq!(Method::parse("GET"), Some(Method::Get));
        assert_eq!(Method::parse("PURGE").unwrap().as_str(), "PURGE");
        assert_eq!(Method::parse("GET / HTTP/1.1\r\nX:"), None);
        assert_eq!(Method::parse(""), None);
        assert_eq!(Method::parse("CONNECT"), None);
    }

    #[test]
    fn host_key_ignores_case_port_and_trailing_dot() {
        let key = |url| HostKey::of(&Url::parse(url).unwrap());
        assert_eq!(key("http://Example.org:81/a"), key("https://example.org./b"));
        assert_ne!(key("http://example.org/"), key("http://example.com/"));
    }
}
