//! Parsers of flag values: durations, sizes, status ranges and others.
//!
//! Each value is parsed once, into a type that only holds valid values. The error of a parser shows the expected syntax.
//! Nothing here reads a file.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use overlapped_fetch::HostPort;
use overlapped_proto::address::Network;
use overlapped_proto::input::Keep;
use overlapped_proto::job::Shard;
use overlapped_proto::limits;
use overlapped_proto::max_errors::MaxErrors;
use overlapped_proto::time::Nanos;

/// A span of time: `10`, `2.5`, `500ms`, `30s`, `2m`, `1h`; `0` is "no limit".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Option<Duration>);

impl From<Nanos> for Span {
    fn from(nanos: Nanos) -> Self {
        Self(Some(nanos.into()))
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "a time is written like 10, 500ms, 30s, 2m or 1h; 0 means no limit";
        let (number, unit) = number_and_unit(text);
        let seconds = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(WANTED),
        };
        let seconds = number.parse::<f64>().map_err(|_| WANTED)? * seconds;
        let span = Duration::try_from_secs_f64(seconds).map_err(|_| WANTED)?;
        Ok(Self((!span.is_zero()).then_some(span)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("0"),
            Some(span) => write!(f, "{}", span.as_secs_f64()),
        }
    }
}

/// A number of bytes: `4096`, `64k`, `10M`, `1G`, in powers of 1024 as in curl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// The units of [`Size`], largest first.
const SIZES: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('k', 10)];

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "a size is written like 4096, 64k, 10M or 1G";
        let (number, unit) = number_and_unit(text);
        let mut letters = unit.chars();
        let shift = match (letters.next(), letters.as_str()) {
            (None, _) => 0,
            (Some(letter), "" | "B" | "iB") => {
                SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&letter)).ok_or(WANTED)?.1
            }
            (Some(_), _) => return Err(WANTED),
        };
        let bytes = number.parse::<f64>().map_err(|_| WANTED)? * (1_u64 << shift) as f64;
        if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(WANTED) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZES.iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((letter, shift)) => write!(f, "{}{letter}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Statuses that count as failures: `400-599`, `404,500-599`, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges(pub(crate) Vec<RangeInclusive<u16>>);

impl FromStr for Ranges {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str =
            "statuses are written like 404, 500-599 or 404,500-599; none means that none fails";
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let status = |text: &str| match text.parse() {
            Ok(status @ 100..=999) => Ok(status),
            _ => Err(WANTED),
        };
        let range = |part: &str| {
            let (from, to) = part.split_once("..=").or_else(|| part.split_once('-')).unwrap_or((part, part));
            let range = status(from)?..=status(to)?;
            if range.is_empty() { Err(WANTED) } else { Ok(range) }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

/// One header field: `Name: value`; `Name:` removes a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header(pub(crate) String, pub(crate) String);

impl FromStr for Header {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            // A line end at either side is not removed: the field is refused for it, as for one within the value.
            Some((name, value)) if !name.is_empty() => {
                Ok(Self(name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
            }
            // The value is not printed: it may be a token that was given without a field name.
            _ => Err("a header is written like 'Name: value', or @FILE, or $NAME for a variable"),
        }
    }
}

/// User name and password: `name:password`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct User(pub(crate) String, pub(crate) String);

impl FromStr for User {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, password) = text
            .split_once(':')
            .ok_or("a user is written like name:password, or @FILE, or $NAME for a variable")?;
        Ok(Self(name.to_owned(), password.to_owned()))
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("User").field(&self.0).finish_non_exhaustive()
    }
}

/// A host or a domain and a number of shards: `big.example=4`.
pub(crate) fn split(text: &str) -> Result<(Box<str>, u32), &'static str> {
    const WANTED: &str = "a host is split as in big.example=4, into 2 shards or more";
    let (name, parts) = text.split_once('=').ok_or(WANTED)?;
    let parts = parts.parse().ok().filter(|parts| *parts >= 2).ok_or(WANTED)?;
    let url = url::Url::parse(&format!("http://{name}/")).map_err(|_| WANTED)?;
    // No more than a host, in the spelling that URLs have.
    let host =
        url.host_str().filter(|_| url.port().is_none() && url.path() == "/" && url.username().is_empty());
    host.map(|host| (host.into(), parts)).ok_or(WANTED)
}

/// Which columns of a list are kept: `all`, `none`, or names with commas.
pub(crate) fn keep(text: &str) -> Result<Keep, &'static str> {
    match text {
        "all" => Ok(Keep::All),
        "none" => Ok(Keep::None),
        names if names.split(',').any(|name| name.trim().is_empty()) => {
            Err("it is all, none, or names of columns with commas: id,title")
        }
        names => Ok(Keep::Columns(names.split(',').map(|name| name.trim().into()).collect())),
    }
}

/// User name and password, or the source of both, which is resolved when files are read.
pub(crate) fn user(text: &str) -> Result<String, &'static str> {
    if !text.starts_with('@') && variable(text).is_none() {
        text.parse::<User>()?;
    }
    Ok(text.to_owned())
}

/// The name of the environment variable in a value like `$NAME`.
pub(crate) fn variable(value: &str) -> Option<&str> {
    let name = value.strip_prefix('$')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(plain))
        .then_some(name)
}

/// The value of `--connect-to`: a host and a port, and those that are dialled instead.
pub(crate) type ConnectTo = (HostPort, HostPort);

/// `HOST1:PORT1:HOST2:PORT2`, each of which may be empty; an IPv6 address is in brackets.
pub(crate) fn connect_to(text: &str) -> Result<ConnectTo, &'static str> {
    const WANTED: &str = "it is written as HOST1:PORT1:HOST2:PORT2, as in example.org:443:127.0.0.1:8443";
    let mut rest = text;
    let mut part = || {
        let end = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.find(']').map(|end| end + 2),
            None => Some(rest.find(':').unwrap_or(rest.len())),
        };
        let (part, behind) = rest.split_at_checked(end?)?;
        rest = if behind.is_empty() { behind } else { behind.strip_prefix(':')? };
        Some(part)
    };
    let mut pair = || {
        let (host, port) = (part()?, part()?);
        let port = if port.is_empty() { None } else { Some(port.parse().ok()?) };
        Some((host.to_owned(), port))
    };
    let both = pair().zip(pair()).filter(|_| text.matches(':').count() >= 3);
    both.filter(|_| rest.is_empty()).ok_or(WANTED)
}

/// A range of bytes: `0-99`, `500-`, `-500`, several with commas.
pub(crate) fn range(text: &str) -> Result<String, &'static str> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_range = |part: &str| {
        part.trim()
            .split_once('-')
            .is_some_and(|(from, to)| is_number(from) && is_number(to) && !(from.is_empty() && to.is_empty()))
    };
    // As numbers of any length.
    let key = |number: &str| {
        let digits = number.trim_start_matches('0');
        (digits.len(), digits.to_owned())
    };
    let is_backwards = |part: &str| {
        part.trim()
            .split_once('-')
            .is_some_and(|(from, to)| !from.is_empty() && !to.is_empty() && key(from) > key(to))
    };
    if !text.split(',').all(is_range) {
        return Err("a range is written as 0-99, 500- or -500, counted in bytes from 0");
    }
    if text.split(',').any(is_backwards) {
        return Err("a range ends before it begins: its last byte comes second, as in 0-99");
    }
    Ok(text.to_owned())
}

/// Where `-C` goes on: only where an earlier run has stopped.
pub(crate) fn continue_at(text: &str) -> Result<String, &'static str> {
    match text {
        "-" => Ok(text.to_owned()),
        _ => Err("-C - goes on where an earlier -C - has stopped; -r 1000- asks for what follows an offset"),
    }
}

/// Addresses to dial instead of a name's own: `host:port:address[,address]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolve {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<IpAddr>,
}

impl FromStr for Resolve {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str =
            "it is written like example.org:443:192.0.2.1 or example.org:443:192.0.2.1,[2001:db8::1]";
        // An address of IPv6 is in brackets, since it has colons of its own.
        let (host, rest) = match text.strip_prefix('[').and_then(|text| text.find(']')) {
            Some(end) => text.split_at(end + 2),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let rest = rest.strip_prefix(':').and_then(|rest| rest.split_once(':'));
        let Some((port, addresses)) = rest else { return Err(WANTED) };
        // curl's `*:443:…`, `+host` and `-host` are not supported.
        if host.is_empty() || host.starts_with(['*', '+', '-']) {
            return Err(WANTED);
        }
        let address =
            |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| WANTED);
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| WANTED)?,
            addresses: addresses.split(',').map(address).collect::<Result<_, _>>()?,
        })
    }
}

/// A network, checked here so that its message names the flag.
pub(crate) fn network(text: &str) -> Result<String, String> {
    text.parse::<Network>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// The file of a picture.
pub(crate) fn picture(text: &str) -> Result<PathBuf, &'static str> {
    let is_svg = text.to_ascii_lowercase().ends_with(".svg") || text.starts_with("/dev/");
    is_svg.then(|| text.into()).ok_or("a picture is written as SVG only: give a name that ends with .svg")
}

/// A page, written as HTML.
pub(crate) fn page(text: &str) -> Result<PathBuf, &'static str> {
    let lower = text.to_ascii_lowercase();
    let is_html = lower.ends_with(".html") || lower.ends_with(".htm") || text.starts_with("/dev/");
    is_html.then(|| text.into()).ok_or("a report is written as HTML: give a name that ends with .html")
}

/// Requests at once.
pub(crate) fn requests(text: &str) -> Result<usize, String> {
    at_least_one(text, limits::PARALLEL_MAX_MAX)
        .ok_or_else(|| format!("a whole number is wanted, from 1 to {}", limits::PARALLEL_MAX_MAX))
}

/// Rows in memory.
pub(crate) fn rows(text: &str) -> Result<usize, &'static str> {
    at_least_one(text, usize::MAX).ok_or("a whole number is wanted, at least 1")
}

fn at_least_one(text: &str, most: usize) -> Option<usize> {
    text.parse().ok().filter(|count| (1..=most).contains(count))
}

/// A part of a list: `1/4` to `4/4`.
pub(crate) fn shard(text: &str) -> Result<Shard, &'static str> {
    Shard::parse(text).ok_or("a part is written like 1/4: the first of four, and the last is 4/4")
}

/// Failed rows: `10`, `5%`.
pub(crate) fn max_errors(text: &str) -> Result<MaxErrors, &'static str> {
    MaxErrors::parse(text)
        .ok_or("it is written like 10, for a number of rows, or 5%, for a share of the rows done")
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr + fmt::Debug + PartialEq>(input: &str, expected: Option<T>) {
        assert_eq!(input.parse::<T>().ok(), expected, "{input:?}");
    }

    #[test]
    fn spans() {
        let ms = |ms| Some(Span(Some(Duration::from_millis(ms))));
        for (text, expected) in [
            ("10", ms(10_000)),
            ("2.5", ms(2_500)),
            ("500ms", ms(500)),
            ("2m", ms(120_000)),
            ("1h", ms(3_600_000)),
            ("0", Some(Span(None))),
            ("0s", Some(Span(None))),
            ("", None),
            ("ms", None),
            ("-1", None),
            ("1 week", None),
            ("1e3", None),
            ("inf", None),
            (".", None),
            ("99999999999999999999", None),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64k", Some(65_536)),
            ("1.5K", Some(1_536)),
            ("10MB", Some(10 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1X", None),
            ("", None),
            ("-1", None),
            ("99999999999T", None),
        ] {
            check(text, bytes.map(Size));
        }
        assert_eq!([Size(0), Size(100), Size(1 << 30)].map(|size| size.to_string()), ["0", "100", "1G"]);
    }

    #[test]
    fn ranges() {
        check("400-599", Some(Ranges(vec![400..=599])));
        check("404,500..=503", Some(Ranges(vec![404..=404, 500..=503])));
        check("none", Some(Ranges(vec![])));
        for wrong in ["", "4xx", "99", "400-", "1000", "400,", "599-400"] {
            check::<Ranges>(wrong, None);
        }
    }

    #[test]
    fn ranges_of_bytes() {
        for good in ["0-99", "5-5", "500-", "-500", "0-0, 7-7", "9-10", "007-8", "5-99999999999999999999999"]
        {
            assert_eq!(range(good).as_deref(), Ok(good));
        }
        for (bad, why) in [
            ("5", "written as"),
            ("-", "written as"),
            ("a-b", "written as"),
            ("5-2", "ends before"),
            ("0-1,10-9", "ends before"),
        ] {
            assert!(range(bad).is_err_and(|what| what.contains(why)), "{bad}");
        }
    }

    #[test]
    fn headers_users_and_addresses() {
        check("Accept:  a b ", Some(Header("Accept".into(), "a b".into())));
        check("Accept:", Some(Header("Accept".into(), String::new())));
        check("X: \r\nY: z\n", Some(Header("X".into(), "\r\nY: z\n".into())));
        check::<Header>("Accept", None);
        check::<Header>(": x", None);
        check("me:a:b", Some(User("me".into(), "a:b".into())));
        check::<User>("me", None);
        let to = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
            Some(Resolve { host: "a.org".into(), port: 443, addresses })
        };
        check("a.org:443:192.0.2.1,[2001:db8::1]", to(&["192.0.2.1", "2001:db8::1"]));
        check("a.org:443:2001:db8::1", to(&["2001:db8::1"]));
        let six = Resolve { host: "[::1]".into(), port: 443, addresses: vec!["192.0.2.1".parse().unwrap()] };
        check("[::1]:443:192.0.2.1", Some(six));
        for wrong in [
            "[::1]443:192.0.2.1",
            "[::1",
            "a.org",
            "a.org:443",
            "a.org:443:",
            "a.org:x:192.0.2.1",
            "*:443:192.0.2.1",
            ":443:192.0.2.1",
        ] {
            check::<Resolve>(wrong, None);
        }
        assert_eq!(format!("{:?}", User("me".into(), "secret".into())), r#"User("me", ..)"#);
    }
}
