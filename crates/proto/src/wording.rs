//! How messages name settings: by the flags of the program, as its records do, or as another reader writes them.

use std::borrow::Cow;

/// Who reads a message, beside the users of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A program in Rust: fields of the configuration.
    Rust,
    /// A call of `fetch` in Python.
    Fetch,
    /// A session in Python.
    Session,
}

/// A flag, with a word for its value if it has one, and its names for each [`Reader`]; empty: there is no such setting.
/// In a name `{}` stands for the value.
type Setting = (&'static str, [&'static str; 3]);

/// Every flag that a message of the library names.
const SETTINGS: &[Setting] = &[
    ("--allow-address A", ["Network::allow_addresses with {}", "", ""]),
    ("--body-dir DIR", ["Request::body_dir", "body_dir=\"{}\"", ""]),
    ("--cacert FILE", ["Network::ca_pem", "ca_file=\"{}\"", "verify=\"{}\""]),
    ("--connect-timeout", ["Timeouts::connect", "connect_timeout", "timeout"]),
    ("--connect-to", ["Network::connect_to", "", ""]),
    ("--durability D", ["Durability::None", "", ""]),
    ("--first-byte-timeout", ["Timeouts::first_byte", "", "timeout"]),
    ("--host-down-after", ["Pace::host_down_after", "host_down_after", ""]),
    ("--input-format F", ["InputOptions::format", "", ""]),
    ("--insecure-host H", ["Network::insecure_hosts with {}", "insecure_hosts=[\"{}\"]", "verify=False"]),
    ("--interface I", ["Network::interface", "", ""]),
    ("--max-filesize", ["Response::max_bytes", "max_body", ""]),
    ("--no-adaptive", ["Pace::adaptive", "", ""]),
    ("--overwrite", ["Begin::Overwrite", "overwrite=True", ""]),
    ("--parallel-max", ["Pace::parallel_max", "limit", ""]),
    ("--parallel-max-host", ["Pace::parallel_max_host", "per_host", ""]),
    (
        "--proxy-user U",
        ["Proxies::user", "proxies=\"http://{}@HOST\"", "proxies={\"https\": \"http://{}@HOST\"}"],
    ),
    ("--public-only", ["Network::public_only", "public_only=True", ""]),
    ("--rate", ["Pace::rate", "rate", ""]),
    ("--rate-host", ["Pace::rate_host", "rate_per_host", ""]),
    ("--resolve R", ["Network::resolve", "", ""]),
    ("--resume", ["Begin::Resume", "resume=True", ""]),
    ("--speed-limit", ["Timeouts::speed", "", "timeout"]),
    ("--speed-time", ["Timeouts::speed", "", "timeout"]),
    ("--unix-socket S", ["Network::unix_socket", "", ""]),
    ("--url-col NAME", ["ColumnOptions::url_column", "", ""]),
    ("-m", ["Timeouts::total", "timeout", "timeout"]),
    ("-o", ["the output", "out", ""]),
];

/// A message that names settings as this reader does.
///
/// ```
/// use overlapped_proto::wording::{Reader, told};
///
/// let message = "the body is larger than 10 bytes (--max-filesize)";
/// assert_eq!(told(message, Reader::Fetch), "the body is larger than 10 bytes (max_body)");
/// ```
#[must_use]
pub fn told(message: &str, reader: Reader) -> Cow<'_, str> {
    let (mut told, mut rest) = (String::new(), message);
    let mut first = find(message);
    if first.is_none() {
        return Cow::Borrowed(message);
    }
    while let Some((before, named)) = first.take().or_else(|| find(rest)) {
        told.push_str(before);
        rest = named.rest;
        let is_list = before.ends_with('(');
        let mut names = vec![named.name(reader)];
        while is_list && let Some(next) = rest.strip_prefix(", ").and_then(Named::at) {
            rest = next.rest;
            names.push(next.name(reader));
        }
        names.retain(|name| !name.is_empty());
        names.dedup();
        if !names.is_empty() {
            told.push_str(&names.join(", "));
        } else if let Some((at, end)) = parenthesis(&told, rest) {
            // There is no such setting: the remark in parentheses is left out.
            told.truncate(at);
            rest = &rest[end..];
        } else {
            // Likewise the clause that advises it.
            let clause = told.rfind("; ").max(told.rfind(": ")).unwrap_or(told.len());
            told.truncate(clause);
            rest = rest.find("; ").map_or("", |end| &rest[end..]);
        }
    }
    Cow::Owned(told + rest)
}

/// Where the parenthesis around the place between these two texts begins in the first one, and ends in the second.
fn parenthesis(before: &str, after: &str) -> Option<(usize, usize)> {
    let at = before.rfind(" (").filter(|at| !before[*at..].contains(')'))?;
    Some((at, after.find(')')? + 1))
}

/// A setting in a message.
struct Named<'a> {
    names: [&'static str; 3],
    /// The value that follows the flag, if one does.
    value: Option<&'a str>,
    rest: &'a str,
}

impl<'a> Named<'a> {
    /// The setting whose flag this text begins with.
    fn at(text: &'a str) -> Option<Self> {
        let (flag, rest) =
            text.split_at(text.find(|c: char| !(c.is_alphanumeric() || c == '-')).unwrap_or(text.len()));
        let (names, has_value) = SETTINGS.iter().find_map(|(setting, names)| {
            let (known, value) = setting.split_once(' ').unwrap_or((setting, ""));
            (known == flag).then_some((names, !value.is_empty()))
        })?;
        let named = Self { names: *names, value: None, rest };
        let Some(text) = rest.strip_prefix(' ').filter(|_| has_value) else { return Some(named) };
        let end = text.find(|c: char| c.is_whitespace() || ",;)".contains(c)).unwrap_or(text.len());
        // A colon in a value is followed by more of it.
        let (value, rest) = text.split_at(text[..end].trim_end_matches(':').len());
        Some(Self { value: Some(value), rest, ..named })
    }

    fn name(&self, reader: Reader) -> String {
        let [rust, fetch, session] = self.names;
        let name = match reader {
            Reader::Rust => rust,
            Reader::Fetch => fetch,
            Reader::Session => session,
        };
        match self.value {
            Some(value) => name.replace("{}", value),
            // The setting, and not a value of it.
            None if name.contains("{}") => name.split(['=', ' ']).next().unwrap_or_default().to_owned(),
            None => name.to_owned(),
        }
    }
}

/// The first setting that a text names, and what is before it.
fn find(text: &str) -> Option<(&str, Named<'_>)> {
    let is_start = |at: usize| at == 0 || text[..at].ends_with([' ', '(']);
    let mut starts = text.match_indices('-').map(|(at, _)| at).filter(|at| is_start(*at));
    starts.find_map(|at| Some((&text[..at], Named::at(&text[at..])?)))
}

/// The flags that messages may name.
///
/// ```
/// assert!(overlapped_proto::wording::flags().any(|flag| flag == "--cacert"));
/// ```
pub fn flags() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|(setting, _)| setting.split(' ').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: &str = "the certificate of a.test comes from an authority that is not trusted here: \
                           --cacert FILE trusts those in FILE, --insecure-host a.test does not verify it";

    #[test]
    fn every_reader_has_names_of_his_own() {
        let cases = [
            (
                UNKNOWN,
                Reader::Rust,
                "Network::ca_pem trusts those in FILE, Network::insecure_hosts with a.test does not verify it",
            ),
            (
                UNKNOWN,
                Reader::Fetch,
                "ca_file=\"FILE\" trusts those in FILE, insecure_hosts=[\"a.test\"] does not verify it",
            ),
            (
                UNKNOWN,
                Reader::Session,
                "verify=\"FILE\" trusts those in FILE, verify=False does not verify it",
            ),
            (
                "0 bytes in 1 s (--speed-limit, --speed-time)",
                Reader::Rust,
                "0 bytes in 1 s (Timeouts::speed)",
            ),
            ("0 bytes in 1 s (--speed-limit, --speed-time)", Reader::Session, "0 bytes in 1 s (timeout)"),
            ("0 bytes in 1 s (--speed-limit, --speed-time)", Reader::Fetch, "0 bytes in 1 s"),
            ("no answer: 60s (-m)", Reader::Fetch, "no answer: 60s (timeout)"),
            ("--cacert: it has no certificate", Reader::Session, "verify: it has no certificate"),
            ("it is damaged: only --overwrite begins anew", Reader::Fetch, "only overwrite=True begins anew"),
            ("put it back; begin anew with --overwrite", Reader::Session, "put it back"),
            (
                "out: it is not a plain file (a named pipe takes lines only, and of a run with --durability none)",
                Reader::Fetch,
                "out: it is not a plain file",
            ),
            ("the table has: link; perhaps --url-col link is meant", Reader::Fetch, "the table has: link"),
            (
                "not for the host: --proxy-user NAME:PASSWORD sends it to the proxy",
                Reader::Fetch,
                "not for the host: proxies=\"http://NAME:PASSWORD@HOST\" sends it to the proxy",
            ),
            (
                "10.0.0.1 (private) may not be dialled; --allow-address 10.0.0.1 allows it",
                Reader::Session,
                "10.0.0.1 (private) may not be dialled",
            ),
        ];
        for (message, reader, wanted) in cases {
            let told = told(message, reader);
            assert!(told.ends_with(wanted), "{told}");
            assert!(!told.contains("--"), "{told}");
        }
    }

    #[test]
    fn what_names_no_setting_stays_as_it_is() {
        for message in [
            "",
            "refused",
            "use jq -c '.a' FILE",
            "iconv -f UTF-16 -t UTF-8",
            "a - b",
            "-",
            "(-",
            "x--overwrite",
            "--unknown",
        ] {
            assert!(
                matches!(told(message, Reader::Fetch), Cow::Borrowed(same) if same == message),
                "{message}"
            );
        }
    }
}
