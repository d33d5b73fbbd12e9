//! `-K FILE`: flags of `fetch` from a file in TOML, and settings of single hosts (`[host."name"]`).
//!
//! The keys are the long names of the flags. They become arguments before those of the command line, except for flags that
//! the command line has too: so both are checked by the same declaration.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::net::Ipv6Addr;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::ArgMatches;
use clap::parser::ValueSource;
use overlapped_fetch::HostConfig;
use overlapped_proto::limits::HOST_CONFIGS_MAX;
use overlapped_proto::proxy::Proxy;
use overlapped_proto::redirect;
use overlapped_proto::sanitize::{escape, shown};
use toml_edit::{Document, Item, Key, TableLike, Value};
use url::Host;

use super::nearest::nearest;
use super::request::{elsewhere, header_fields, user_of};
use super::values::variable;
use crate::exit::Error;

/// The most bytes of such a file.
const BYTES_MAX: u64 = 1 << 20;

/// Keys of a host.
const HOST_KEYS: [&str; 6] = ["parallel-max", "rate", "header", "user", "oauth2-bearer", "proxy"];

/// Flags that have no meaning in a file.
const NOT_HERE: [&str; 2] = ["config", "help"];

/// What a file says.
#[derive(Debug)]
pub(super) struct Settings {
    name: String,
    /// Arguments of `fetch`, each with the name of its flag and its line.
    words: Vec<(OsString, String, usize)>,
    pub(super) hosts: Vec<HostConfig>,
    /// The line of a secret, if others can read the file.
    pub(super) exposed: Option<String>,
}

impl Settings {
    /// Reads a file. `flags`: the declaration of `fetch`.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no TOML, or says what cannot be: the message has the line.
    pub(super) fn read(path: &Path, flags: &clap::Command) -> Result<Self, Error> {
        let name = escape(&path.display().to_string()).into_owned();
        let (text, mode) = content(path).map_err(|error| Error::reading(path, &error))?;
        let document = Document::parse(&*text).map_err(|error| {
            let line = line_of(&text, error.span());
            Error::Usage(format!("{name} line {line}: {}", escape(&one_line(error.message()))))
        })?;
        let mut file = File { text: &text, name, flags, secret: None };
        let (mut words, mut hosts) = (Vec::new(), Vec::new());
        for (key, item) in entries(document.as_table()) {
            match (key.get(), item.as_table_like()) {
                ("host", Some(sections)) => {
                    for (key, item) in entries(sections) {
                        let host = file.host(key, item)?;
                        if hosts.iter().any(|known: &HostConfig| known.name == host.name) {
                            return Err(file.wrong(key, "the host is there twice"));
                        }
                        hosts.push(host);
                    }
                }
                ("host", None) => return Err(file.wrong(key, "it is a section: [host.\"example.org\"]")),
                (_, Some(_)) => {
                    return Err(file.wrong(key, "there are sections of hosts alone: [host.\"example.org\"]"));
                }
                (_, None) => file.flag(key, item, &mut words)?,
            }
        }
        if hosts.len() > HOST_CONFIGS_MAX {
            let what = format!("it has {} sections of hosts; the most is {HOST_CONFIGS_MAX}", hosts.len());
            return Err(Error::Usage(format!("{}: {what}", file.name)));
        }
        let exposed = file.secret.filter(|_| mode & 0o044 != 0);
        let exposed = exposed.map(|line| {
            format!(
                "{} line {line} may have a credential, and other users can read the file: chmod 600, or '$NAME' for a variable",
                file.name
            )
        });
        Ok(Self { name: file.name, words, hosts, exposed })
    }

    /// The arguments of the command line with those of the file before them. `given`: the command line as parsed.
    pub(super) fn merged(
        &self,
        words: &[OsString],
        given: &ArgMatches,
        flags: &clap::Command,
    ) -> Vec<OsString> {
        let is_given = |name: &str| {
            let arg = flags.get_arguments().find(|arg| arg.get_long() == Some(name));
            let source = arg.and_then(|arg| given.value_source(arg.get_id().as_str()));
            source == Some(ValueSource::CommandLine)
        };
        let own = self.words.iter().filter(|(_, flag, _)| !is_given(flag)).map(|(word, ..)| word.clone());
        let (command, rest) = words.split_at(words.len().min(1));
        command.iter().cloned().chain(own).chain(rest.iter().cloned()).collect()
    }

    /// An error message about a flag that is in the file, with the place of it.
    pub(super) fn placed(&self, message: String) -> String {
        let is_in = |flag: &str| {
            let flag = format!("--{flag}");
            let whole = |at: usize| {
                let behind = message.get(at + flag.len()..).and_then(|rest| rest.chars().next());
                !behind.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
            };
            message.match_indices(&flag).any(|(at, _)| whole(at))
        };
        match self.words.iter().find(|(_, flag, _)| is_in(flag)) {
            Some((.., line)) => format!("{} line {line}: {message}", self.name),
            None => message,
        }
    }
}

/// A file that is being read.
struct File<'a> {
    text: &'a str,
    name: String,
    flags: &'a clap::Command,
    /// The line of the first secret.
    secret: Option<usize>,
}

impl File<'_> {
    fn line(&self, key: &Key) -> usize {
        line_of(self.text, key.span())
    }

    fn wrong(&self, key: &Key, what: &str) -> Error {
        let (line, key) = (self.line(key), shown(key.get()));
        Error::Usage(format!("{} line {line}: {key}: {what}", self.name))
    }

    /// A flag as arguments.
    fn flag(
        &mut self,
        key: &Key,
        item: &Item,
        words: &mut Vec<(OsString, String, usize)>,
    ) -> Result<(), Error> {
        let name = key.get();
        let known = |arg: &&clap::Arg| arg.get_long() == Some(name) && !NOT_HERE.contains(&name);
        let Some(arg) = self.flags.get_arguments().find(known) else {
            let names = self.flags.get_arguments().filter(|arg| !arg.is_hide_set());
            let names = names.filter_map(clap::Arg::get_long).filter(|name| !NOT_HERE.contains(name));
            return Err(self.unknown(key, names.chain(["host"]), "no flag of fetch"));
        };
        let line = self.line(key);
        let secret = &mut self.secret;
        let mut add = |text: String| words.push((text.into(), name.to_owned(), line));
        let mut note = |text: &str| {
            if is_secret(name, text) {
                secret.get_or_insert(line);
            }
        };
        let takes_value = arg.get_action().takes_values();
        let is_repeated = matches!(arg.get_action(), clap::ArgAction::Append);
        match item.as_value() {
            Some(Value::Boolean(on)) if !takes_value || arg.is_require_equals_set() => {
                if *on.value() {
                    add(format!("--{name}"));
                }
            }
            Some(_) if !takes_value => return Err(self.wrong(key, "it is true or false")),
            Some(Value::Array(values)) if is_repeated => {
                for value in values {
                    let Some(text) = scalar(value) else {
                        return Err(self.wrong(key, "its elements are texts or numbers"));
                    };
                    note(&text);
                    add(format!("--{name}={text}"));
                }
            }
            Some(Value::Array(_)) => return Err(self.wrong(key, "it has one value, and no array of them")),
            value => {
                let Some(text) = value.and_then(scalar) else {
                    return Err(self.wrong(key, "its value is a text or a number"));
                };
                note(&text);
                add(format!("--{name}={text}"));
            }
        }
        Ok(())
    }

    fn unknown<'b>(&self, key: &Key, names: impl Iterator<Item = &'b str>, what: &str) -> Error {
        let given = key.get().replace('_', "-");
        let meant = nearest(&given, names);
        let meant = meant.map_or_else(String::new, |name| format!("; perhaps {name} is meant"));
        let (line, key) = (self.line(key), shown(key.get()));
        Error::Usage(format!("{} line {line}: {key} is {what}{meant}", self.name))
    }
}

impl File<'_> {
    /// A section `[host."name"]`.
    fn host(&mut self, key: &Key, item: &Item) -> Result<HostConfig, Error> {
        let Some(table) = item.as_table_like() else {
            return Err(self.wrong(key, "a host is a section: [host.\"example.org\"]"));
        };
        let mut host = HostConfig { name: self.host_name(key)?, ..HostConfig::default() };
        for (key, item) in entries(table) {
            let texts = self.texts(key, item).unwrap_or_default();
            if texts.iter().any(|text| is_secret(key.get(), text)) {
                let line = self.line(key);
                self.secret.get_or_insert(line);
            }
            let wrong = |what: &str| self.wrong(key, what);
            let text = || {
                let text = item.as_str().map(str::to_owned);
                text.ok_or_else(|| wrong("its value is a text, in quotes"))
            };
            // What is in a file or in a variable is told as it is for the flag of the same name.
            let placed = |error: Error| match error {
                Error::Usage(what) => wrong(&what),
                Error::Output(_) | Error::Journal(_) | Error::OutputClosed => error,
            };
            match key.get() {
                "parallel-max" => {
                    let number = item.as_integer().and_then(|number| usize::try_from(number).ok());
                    host.parallel_max =
                        Some(number.ok_or_else(|| wrong("a whole number is wanted; 0: no limit"))?);
                }
                "rate" => {
                    host.rate = Some(text()?.parse().map_err(|error| wrong(&format!("{error}")))?);
                }
                "header" => {
                    let fields = header_fields(&self.texts(key, item)?).map_err(placed)?;
                    host.headers = fields.into_iter().map(|field| (field.0, field.1)).collect();
                }
                "user" => host.user = Some(user_of("user", &text()?).map_err(placed)?),
                "oauth2-bearer" => {
                    host.bearer = Some(elsewhere("oauth2-bearer", &text()?).map_err(placed)?);
                }
                "proxy" => {
                    let proxy = elsewhere("proxy", &text()?).map_err(placed)?.trim().to_owned();
                    let proxy = Some(proxy).filter(|proxy| !proxy.is_empty());
                    // The message does not repeat what was given, which may hold a password.
                    let parsed = proxy.as_deref().map(Proxy::parse).transpose();
                    parsed.map_err(|invalid| wrong(&invalid.to_string()))?;
                    host.proxy = Some(proxy);
                }
                name if self.flags.get_arguments().any(|arg| arg.get_long() == Some(name)) => {
                    let known = HOST_KEYS.join(", ");
                    return Err(wrong(&format!("it is not for single hosts, unlike {known}")));
                }
                _ => return Err(self.unknown(key, HOST_KEYS.into_iter(), "no setting of a host")),
            }
        }
        if host.user.is_some() && host.bearer.is_some() {
            return Err(self.wrong(key, "user and oauth2-bearer: give one of them"));
        }
        Ok(host)
    }

    /// A host as URLs have it.
    fn host_name(&self, key: &Key) -> Result<String, Error> {
        let given = key.get().strip_suffix('.').unwrap_or(key.get());
        let address = given.parse::<Ipv6Addr>().map(|address| format!("[{address}]"));
        let host = Host::parse(&address.unwrap_or_else(|_| given.to_owned()));
        let host = host.map_err(|_| {
            self.wrong(key, "it is no host: a name or an address, without scheme, port and path; all names below it have sections of their own")
        })?;
        Ok(host.to_string())
    }

    /// A text, or an array of them.
    fn texts(&self, key: &Key, item: &Item) -> Result<Vec<String>, Error> {
        let wrong = || self.wrong(key, "its value is a text or an array of texts");
        match item.as_value() {
            Some(Value::Array(values)) => {
                values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(value) => Ok(vec![value.as_str().ok_or_else(wrong)?.to_owned()]),
            None => Err(wrong()),
        }
    }
}

/// True if a value of a flag is a credential itself, not the name of a file or a variable that holds one.
fn is_secret(flag: &str, value: &str) -> bool {
    let is_elsewhere = variable(value).is_some() || value.starts_with('@');
    let is_credential = match flag {
        "user" | "proxy-user" | "oauth2-bearer" => true,
        "cookie" => value.contains('='),
        "proxy" => value.contains('@'),
        "header" => {
            let field = value.split_once(':').filter(|(_, value)| !value.trim().is_empty());
            field.is_some_and(|(name, _)| !redirect::harmless(&name.trim().to_ascii_lowercase()))
        }
        _ => false,
    };
    is_credential && !is_elsewhere
}

fn content(path: &Path) -> io::Result<(String, u32)> {
    let file = fs::File::open(path)?;
    let meta = file.metadata()?;
    let mode = if meta.is_file() { meta.permissions().mode() } else { 0 };
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {BYTES_MAX} bytes"),
        ));
    }
    Ok((text, mode))
}

/// The entries of a table, each with its key as it was written.
fn entries(table: &dyn TableLike) -> impl Iterator<Item = (&Key, &Item)> {
    table.iter().filter_map(|(name, _)| table.get_key_value(name))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::InlineTable(_) => None,
    }
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    1 + before.bytes().filter(|byte| *byte == b'\n').count()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
