//! The rules of a robots.txt (RFC 9309, with `Crawl-delay`).
//!
//! Only the rules for one robot are kept. Matching takes time proportional to the rules and the path, whatever the
//! wildcards, so a file cannot cause quadratic work.

use memchr::memmem;

use crate::limits;
use crate::time::Nanos;

/// The rules of one robots.txt for one robot.
///
/// ```
/// use overlapped_proto::robots::Rules;
/// use overlapped_proto::time::Nanos;
///
/// let text = b"User-agent: *\nDisallow: /private\nAllow: /private/but-this\nCrawl-delay: 2";
/// let rules = Rules::parse(text, "overlapped");
/// assert!(rules.allows("/") && rules.allows("/private/but-this?x=1"));
/// assert!(!rules.allows("/private/other"));
/// assert_eq!(rules.delay(), Some(Nanos::from_secs(2)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    patterns: String,
    rules: Vec<Rule>,
    delay: Option<Nanos>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// The end of its pattern in `patterns`; it begins at the end of the one before.
    end: usize,
    allow: bool,
}

/// The robots that a group of lines applies to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Us,
    Everybody,
    Others,
}

impl Rules {
    /// Parses a robots.txt, or its beginning, for the robot with this product token, such as `overlapped`. Unknown lines
    /// are ignored.
    #[must_use]
    pub fn parse(text: &[u8], agent: &str) -> Self {
        let text = text.get(..limits::ROBOTS_BYTES_MAX).unwrap_or(text);
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let (mut ours, mut everybodys) = (None, Self::default());
        // A group begins with one or more lines that name robots.
        let (mut group, mut naming) = (Group::Others, false);
        for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let Some((key, value)) = key_and_value(line) else { continue };
            if key.eq_ignore_ascii_case(b"user-agent") {
                let named = whom(value, agent);
                group = match (naming, group, named) {
                    (false, _, named) => named,
                    (true, Group::Us, _) | (true, _, Group::Us) => Group::Us,
                    (true, Group::Everybody, _) | (true, _, Group::Everybody) => Group::Everybody,
                    (true, Group::Others, Group::Others) => Group::Others,
                };
                naming = true;
                if group == Group::Us {
                    ours.get_or_insert_default();
                }
                continue;
            }
            let rules = match group {
                Group::Us => ours.get_or_insert_default(),
                Group::Everybody => &mut everybodys,
                Group::Others => &mut Self::default(),
            };
            naming &= !rules.take(key, value);
        }
        ours.unwrap_or(everybodys)
    }

    /// Reads a line of a group; false if it is not a rule.
    fn take(&mut self, key: &[u8], value: &[u8]) -> bool {
        let allow = key.eq_ignore_ascii_case(b"allow");
        if allow || key.eq_ignore_ascii_case(b"disallow") {
            // An empty pattern forbids nothing.
            if !value.is_empty() {
                self.patterns.push_str(&normal(value));
                self.rules.push(Rule { end: self.patterns.len(), allow });
            }
            return true;
        }
        if !key.eq_ignore_ascii_case(b"crawl-delay") {
            return false;
        }
        let seconds = std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok());
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) {
            let delay = Nanos((seconds * 1e9) as u64).min(limits::CRAWL_DELAY_MAX);
            self.delay = Some(self.delay.map_or(delay, |known| known.max(delay)));
        }
        true
    }

    /// True if the robot may fetch this path with its query. The longest matching rule decides; of two of the same length,
    /// the one that allows. robots.txt itself is always allowed.
    #[must_use]
    pub fn allows(&self, path_and_query: &str) -> bool {
        if path_and_query == "/robots.txt" {
            return true;
        }
        let path = normal(path_and_query.as_bytes());
        let (mut start, mut longest, mut allowed) = (0, 0, true);
        for rule in &self.rules {
            let pattern = self.patterns.get(start..rule.end).unwrap_or_default();
            start = rule.end;
            let decides = pattern.len() > longest || (pattern.len() == longest && rule.allow);
            if decides && matches(pattern.as_bytes(), path.as_bytes()) {
                (longest, allowed) = (pattern.len(), rule.allow);
            }
        }
        allowed
    }

    /// The time between two requests that it asks for.
    #[must_use]
    pub const fn delay(&self) -> Option<Nanos> {
        self.delay
    }

    /// The memory that the rules take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.patterns.capacity() + self.rules.capacity() * size_of::<Rule>()
    }
}

/// The product token that robots.txt files use for a client: the letters, `-` and `_` that its User-Agent begins with.
#[must_use]
pub fn product_token(user_agent: &str) -> &str {
    let end = user_agent.find(|c: char| !is_token(c)).unwrap_or(user_agent.len());
    user_agent.get(..end).unwrap_or_default()
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '-' | '_')
}

fn whom(value: &[u8], agent: &str) -> Group {
    if value.first() == Some(&b'*') {
        return Group::Everybody;
    }
    let named = std::str::from_utf8(value).map(product_token).unwrap_or_default();
    if !named.is_empty() && named.eq_ignore_ascii_case(agent) { Group::Us } else { Group::Others }
}

fn key_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    let colon = memchr::memchr(b':', line)?;
    let (key, value) = line.split_at(colon);
    Some((key.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii()))
}

/// The canonical form of a path: unreserved characters unescaped, other escapes in upper case, everything else escaped.
fn normal(text: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let escaped = match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        at += if escaped.is_some() { 3 } else { 1 };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        match escaped {
            Some(byte) if plain(byte) => out.push(char::from(byte)),
            None if byte.is_ascii_graphic() => out.push(char::from(byte)),
            _ => {
                let byte = escaped.unwrap_or(byte);
                let hex = |digit: u8| char::from(HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
                out.extend(['%', hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    out
}

/// Matches a pattern in which `*` matches any text, and `$` at the end the end of the path. Taking the first occurrence of
/// each piece is correct, because it leaves the longest rest for the pieces behind it; so there is no backtracking.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (pattern, ends) = match pattern.strip_suffix(b"$") {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let mut pieces = pattern.split(|byte| *byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    let pieces: Vec<&[u8]> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return !ends || rest.is_empty() };
    for piece in middle {
        let Some(at) = memmem::find(rest, piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
    }
    if ends { rest.ends_with(last) } else { memmem::find(rest, last).is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, path: &str, expected: bool) {
        let rules = Rules::parse(text.as_bytes(), "overlapped");
        assert_eq!(rules.allows(path), expected, "{path} under {text:?}");
    }

    #[test]
    fn the_group_is_ours_or_everybodys() {
        let text = "User-agent: other\nDisallow: /\n\nUser-agent: *\nDisallow: /all\n";
        check(text, "/x", true);
        check(text, "/all", false);
        let own = "User-agent: *\nDisallow: /\nUser-Agent: Overlapped/1.0 (x)\nDisallow: /own\n";
        check(own, "/x", true);
        check(own, "/own", false);
        check("User-agent: a\nUser-agent: overlapped\nUser-agent: b\nDisallow: /", "/x", false);
        check(
            "User-agent: overlapped\nDisallow: /a\nUser-agent: x\nDisallow: /\nUser-agent: overlapped\nDisallow: /b",
            "/b",
            false,
        );
        check("User-agent: overlapped\nUser-agent: x\nSitemap: y\nDisallow: /", "/b", false);
        check("User-agent: overlapped\n\nUser-agent: *\nDisallow: /", "/b", false);
        check("User-agent: overlapped\nDisallow:\nUser-agent: *\nDisallow: /", "/b", true);
        check("Disallow: /", "/b", true);
        check("User-agent: overlap\nDisallow: /", "/b", true);
    }

    #[test]
    fn the_longest_rule_decides() {
        let text =
            "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c\nAllow: /same\nDisallow: /same\n";
        for (path, allowed) in
            [("/", true), ("/a", false), ("/a/x", false), ("/a/b", true), ("/a/b/c", false), ("/same", true)]
        {
            check(text, path, allowed);
        }
        check("User-agent: *\nDisallow: /", "/robots.txt", true);
    }

    #[test]
    fn patterns_match_as_rfc_9309_says() {
        for (pattern, path, matched) in [
            ("/*.php", "/index.php?x", true),
            ("/*.php$", "/index.php?x", false),
            ("/*.php$", "/index.php", true),
            ("/*.php$", "/a.php.php", true),
            ("/fish*", "/fishheads/x", true),
            ("/fish*", "/Fish", false),
            ("/a*b*c$", "/a-b-b-c-c", true),
            ("/a*b*c$", "/a-c-b", false),
            ("/$", "/", true),
            ("/$", "/x", false),
            ("*", "/x", true),
            ("/a**b", "/axb", true),
            ("/%7Ejoe", "/~joe", true),
            ("/~joe", "/%7ejoe", true),
            ("/caf\u{e9}", "/caf%c3%a9", true),
            ("/a%2fb", "/a/b", false),
            ("/a%2fb", "/a%2Fb", true),
            ("/a%", "/a%", true),
        ] {
            check(&format!("User-agent: *\nDisallow: {pattern}"), path, !matched);
        }
    }

    #[test]
    fn what_a_stranger_wrote_does_no_harm() {
        let delay =
            |text: &str| Rules::parse(format!("User-agent: *\nCrawl-delay: {text}").as_bytes(), "x").delay();
        assert_eq!(delay("0.5"), Some(Nanos::from_millis(500)));
        assert_eq!(delay("1e300"), Some(limits::CRAWL_DELAY_MAX));
        assert_eq!([delay("-1"), delay("nan"), delay("0"), delay("x"), delay("")], [None; 5]);
        check("\u{feff}USER-AGENT : * # all\r\n disallow:/x # why\rnonsense\r\n:\r\n", "/x", false);
        let wild = format!("User-agent: *\nDisallow: /{}$", "*a".repeat(100_000));
        check(&wild, &format!("/{}", "a".repeat(50_000)), true);
        let long = format!("User-agent: *\n{}Disallow: /", "#\n".repeat(limits::ROBOTS_BYTES_MAX));
        check(&long, "/x", true);
        let _ = Rules::parse(&[0xff; 1_000], "x");
        assert_eq!(product_token("My-Bot/1.0 (+x)"), "My-Bot");
    }
}
