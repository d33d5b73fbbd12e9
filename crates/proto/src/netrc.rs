//! Netrc files: a user name and a password for each host, as ftp, curl and wget read them. Keywords have any case; a `#` in the place
//! of one begins a comment.

use std::fmt;

use url::Host;

/// User names and passwords by host. The entry `default`, which is for any host, is passed over: a list may name any host.
///
/// ```
/// use overlapped_proto::netrc::Netrc;
///
/// let netrc = Netrc::parse("machine a.test login me password secret")?;
/// assert_eq!(netrc.find("a.test", None), Some(("me", "secret")));
/// assert_eq!(netrc.find("a.test", Some("you")), None);
/// assert_eq!(netrc.find("www.a.test", None), None);
/// # Ok::<(), overlapped_proto::netrc::Invalid>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Netrc(Vec<Entry>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Entry {
    /// In the spelling of a URL.
    host: Box<str>,
    login: Box<str>,
    password: Box<str>,
}

/// A file that is no netrc file: the number of the line, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub usize);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is none of `machine NAME`, `login NAME`, `password WORD`", self.0)
    }
}

impl std::error::Error for Invalid {}

/// Hosts only.
impl fmt::Debug for Netrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| &entry.host)).finish()
    }
}

impl Netrc {
    /// Parses a file.
    ///
    /// # Errors
    ///
    /// It has a word that is none of the format. The error does not repeat it: it may be a password.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (mut entries, mut open) = (Vec::new(), false);
        let mut words = Words { lines: text.lines(), number: 0, rest: "" };
        while let Some(word) = words.next()? {
            let wrong = Invalid(words.number);
            let mut value = || words.next().and_then(|value| value.ok_or(wrong));
            match &*word.to_ascii_lowercase() {
                comment if comment.starts_with('#') => words.rest = "",
                "machine" => {
                    let host = value()?;
                    let host = Host::parse(host.strip_suffix('.').unwrap_or(&host))
                        .map_or(host, |host| host.to_string());
                    entries.push(Entry { host: host.into(), ..Entry::default() });
                    open = true;
                }
                "default" => open = false,
                keyword @ ("login" | "password" | "account") => {
                    let value = value()?;
                    if let Some(entry) = entries.last_mut().filter(|_| open) {
                        match keyword {
                            "login" => entry.login = value.into(),
                            "password" => entry.password = value.into(),
                            _ => {}
                        }
                    }
                }
                "macdef" => words.skip_macro(),
                _ => return Err(wrong),
            }
        }
        Ok(Self(entries))
    }

    /// The user name and password for a host, in the spelling of a URL; if a user is named, those of this user.
    #[must_use]
    pub fn find(&self, host: &str, user: Option<&str>) -> Option<(&str, &str)> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let fits = |entry: &&Entry| {
            let known = entry.host.trim_start_matches('[').trim_end_matches(']');
            known == host && user.is_none_or(|user| *entry.login == *user)
        };
        self.0.iter().find(fits).map(|entry| (&*entry.login, &*entry.password))
    }
}

/// The words of a file, without comments.
struct Words<'a> {
    lines: std::str::Lines<'a>,
    number: usize,
    rest: &'a str,
}

impl Words<'_> {
    fn next(&mut self) -> Result<Option<String>, Invalid> {
        loop {
            self.rest = self.rest.trim_start();
            // A password may begin with a `#`, unless it is the first word of its line.
            if self.rest.is_empty() {
                let Some(line) = self.lines.next() else { return Ok(None) };
                self.number += 1;
                self.rest = if line.trim_start().starts_with('#') { "" } else { line };
                continue;
            }
            return match self.rest.strip_prefix('"') {
                Some(quoted) => self.quoted(quoted).map(Some),
                None => {
                    let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
                    let (word, rest) = self.rest.split_at(end);
                    self.rest = rest;
                    Ok(Some(word.to_owned()))
                }
            };
        }
    }
}

impl<'a> Words<'a> {
    /// A word in quotes, with the escapes of curl.
    fn quoted(&mut self, text: &'a str) -> Result<String, Invalid> {
        let (mut word, mut chars) = (String::new(), text.char_indices());
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = text.get(at + 1..).unwrap_or_default();
                    return Ok(word);
                }
                '\\' => match chars.next().ok_or(Invalid(self.number))?.1 {
                    'n' => word.push('\n'),
                    'r' => word.push('\r'),
                    't' => word.push('\t'),
                    other => word.push(other),
                },
                _ => word.push(c),
            }
        }
        Err(Invalid(self.number))
    }

    /// A macro ends with an empty line.
    fn skip_macro(&mut self) {
        self.rest = "";
        for line in self.lines.by_ref() {
            self.number += 1;
            if line.trim().is_empty() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let check = |text: &str, host: &str, user: Option<&str>, expected: Option<(&str, &str)>| {
            assert_eq!(Netrc::parse(text).unwrap().find(host, user), expected, "{text:?}: {host}");
        };
        let two = "machine a.test\n\tlogin me\n\tpassword one\n# machine c.test login x password y\nmachine b.test login you password two machine a.test login she password three";
        check(two, "a.test", None, Some(("me", "one")));
        check(two, "a.test", Some("she"), Some(("she", "three")));
        check(two, "a.test", Some("it"), None);
        check(two, "b.test.", None, Some(("you", "two")));
        check(two, "c.test", None, None);
        check(two, "x.a.test", None, None);
        check("machine A.Test. login me password x", "a.test", None, Some(("me", "x")));
        check("machine b\u{fc}cher.test login me password x", "xn--bcher-kva.test", None, Some(("me", "x")));
        check("machine 127.1 login me password x", "127.0.0.1", None, Some(("me", "x")));
        check("machine ::1 login me password x", "[::1]", None, Some(("me", "x")));
        check("machine a login \"m e\" password \"a\\\"b\\\\c#\"", "a", None, Some(("m e", "a\"b\\c#")));
        check("machine a login me password #x", "a", None, Some(("me", "#x")));
        check("machine a login me password x # one\nmachine b", "a", None, Some(("me", "x")));
        check("machine a login me #x password y\nmachine b", "a", None, Some(("me", "")));
        check("MACHINE a Login me PASSWORD X", "a", None, Some(("me", "X")));
        check("\u{feff}machine a login me password x", "a", None, Some(("me", "x")));
        check("machine a password x account y login me", "a", None, Some(("me", "x")));
        check("machine a login me password x\ndefault login any password y", "b", None, None);
        check("machine a login me\ndefault password y", "a", None, Some(("me", "")));
        check("macdef init\ncd /\nmachine no\n\nmachine a login me password x", "a", None, Some(("me", "x")));
        check("", "a", None, None);
        check("machine a", "a", None, Some(("", "")));
    }

    #[test]
    fn what_is_no_netrc_file() {
        let check = |text: &str, line| assert_eq!(Netrc::parse(text), Err(Invalid(line)), "{text:?}");
        check("hidden", 1);
        check("machine", 1);
        check("machine a login me\npassword", 2);
        check("machine a login \"me", 1);
        check("machine a\n\nport 80", 3);
        let netrc = Netrc::parse("machine a login me password hidden").unwrap();
        assert!(!format!("{netrc:?}").contains("hidden"));
    }
}
