//! `-K FILE`: flags of `fetch` from a file in TOML, and settings of single hosts (`[host."name"]`).
//!
//! The keys are the long names of the flags. They become arguments before those of the command line, except for flags that
//! the command line has too: so both are checked by the same declaration.

use std::any::TypeId;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::net::Ipv6Addr;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use overlapped_fetch::HostConfig;
use overlapped_proto::header;
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

/// Keys under which URLs or lists may be looked for.
const INPUTS: [&str; 4] = ["url", "urls", "input", "inputs"];

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
        if path == Path::new("-") {
            let what = "-K -: settings are not read from standard input: name a file, -K FILE";
            return Err(Error::Usage(what.to_owned()));
        }
        let name = escape(&path.display().to_string()).into_owned();
        let (text, mode) = content(path).map_err(|error| Error::reading(path, &error))?;
        let lines = Lines::of(&text);
        let document = Document::parse(&*text).map_err(|error| {
            let line = lines.of_span(error.span());
            Error::Usage(format!("{name} line {line}: {}", escape(&one_line(error.message()))))
        })?;
        let mut file = File { lines, name, flags, section: None, secret: None };
        let (mut words, mut hosts) = (Vec::new(), Vec::new());
        for (key, item) in entries(document.as_table()) {
            match (key.get(), item.as_table_like()) {
                ("host", Some(sections)) => {
                    if sections.len() > HOST_CONFIGS_MAX {
                        let what = format!(
                            "it has {} sections of hosts; the most is {HOST_CONFIGS_MAX}",
                            sections.len()
                        );
                        return Err(Error::Usage(format!("{}: {what}", file.name)));
                    }
                    let mut names = HashSet::new();
                    for (key, item) in entries(sections) {
                        let host = file.host(key, item)?;
                        if !names.insert(host.name.clone()) {
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
    lines: Lines,
    name: String,
    flags: &'a clap::Command,
    /// The name of the host whose section is read.
    section: Option<String>,
    /// The line of the first secret.
    secret: Option<usize>,
}

impl File<'_> {
    fn line(&self, key: &Key) -> usize {
        self.lines.of_span(key.span())
    }

    /// The place of a key: the file, the line, and the section if it is in one.
    fn place(&self, key: &Key) -> String {
        let section = self.section.as_ref().map_or_else(String::new, |name| format!(" {}:", title(name)));
        format!("{} line {}:{section}", self.name, self.line(key))
    }

    fn wrong(&self, key: &Key, what: &str) -> Error {
        Error::Usage(format!("{} {}: {what}", self.place(key), shown(key.get())))
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
            if let Some(what) = self.not_here(name) {
                return Err(self.wrong(key, &what));
            }
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
        let wants_text = wants_text(arg);
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
                    let text = match scalar(value, wants_text) {
                        Ok(text) => text,
                        Err(what) => return Err(self.wrong(key, &format!("of an element: {what}"))),
                    };
                    note(&text);
                    add(format!("--{name}={text}"));
                }
            }
            Some(Value::Array(_)) => return Err(self.wrong(key, "it has one value, and no array of them")),
            value => {
                let text = match value.map_or(Err(wanted(wants_text)), |value| scalar(value, wants_text)) {
                    Ok(text) => text,
                    Err(what) => return Err(self.wrong(key, what)),
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
        Error::Usage(format!("{} {} is {what}{meant}", self.place(key), shown(key.get())))
    }

    /// Why a flag that the command line has is none of a file.
    fn not_here(&self, name: &str) -> Option<String> {
        let mut letters = name.chars();
        let letter = letters.next().filter(|_| letters.as_str().is_empty());
        let arg = self
            .flags
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name) || letter.is_some() && arg.get_short() == letter);
        if INPUTS.contains(&name) {
            return Some("URLs and lists belong on the command line".to_owned());
        }
        let long = arg?.get_long()?;
        Some(match long {
            "config" => "it belongs on the command line: one file names no other".to_owned(),
            "help" => "it belongs on the command line".to_owned(),
            _ => format!("one letter belongs on the command line; here the long name is written: {long}"),
        })
    }
}

impl File<'_> {
    /// A section `[host."name"]`.
    fn host(&mut self, key: &Key, item: &Item) -> Result<HostConfig, Error> {
        let Some(table) = item.as_table_like() else {
            return Err(self.wrong(key, "a host is a section: [host.\"example.org\"]"));
        };
        let mut host = HostConfig { name: self.host_name(key)?, ..HostConfig::default() };
        self.section = Some(host.name.clone());
        let read = self.settings_of(&mut host, key, table);
        self.section = None;
        read.map(|()| host)
    }

    /// The settings of the section `of`.
    fn settings_of(&mut self, host: &mut HostConfig, of: &Key, table: &dyn TableLike) -> Result<(), Error> {
        for (key, item) in entries(table) {
            if item.is_table() {
                self.section = None;
                let name = [of.get().to_owned(), dotted(key, item)].join(".");
                let what = format!("the name of a host with dots in it is in quotes: {}", title(&name));
                return Err(self.wrong(key, &what));
            }
            let texts = self.texts(key, item).unwrap_or_default();
            if texts.iter().any(|text| is_secret(key.get(), text)) {
                let line = self.line(key);
                self.secret.get_or_insert(line);
            }
            let wrong = |what: &str| self.wrong(key, what);
            if texts.iter().any(|text| text.contains('\0')) {
                return Err(wrong(NUL));
            }
            let text = || {
                let text = item.as_str().map(str::to_owned);
                text.ok_or_else(|| wrong(TEXT))
            };
            let sent = |name: &str, value: &str| {
                header::check(name, value).map_err(|failure| wrong(&failure.message))
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
                    fields.iter().try_for_each(|field| sent(&field.0, &field.1))?;
                    host.headers = fields.into_iter().map(|field| (field.0, field.1)).collect();
                }
                "user" => host.user = Some(user_of("user", &text()?).map_err(placed)?),
                "oauth2-bearer" => {
                    let token = elsewhere("oauth2-bearer", &text()?).map_err(placed)?;
                    sent("authorization", &token)?;
                    host.bearer = Some(token);
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
                    return Err(wrong(&format!(
                        "it is not for single hosts, unlike {known}; for all hosts it stands above the first section"
                    )));
                }
                _ => return Err(self.unknown(key, HOST_KEYS.into_iter(), "no setting of a host")),
            }
        }
        if host.user.is_some() && host.bearer.is_some() {
            self.section = None;
            return Err(self.wrong(of, "user and oauth2-bearer: give one of them"));
        }
        Ok(())
    }

    /// A host as URLs have it.
    fn host_name(&self, key: &Key) -> Result<String, Error> {
        let given = key.get().strip_suffix('.').unwrap_or(key.get());
        if given.contains('*') {
            let what = "a section is for one host, and * stands for no others: each host has a section of its own, also those \
                        below a name";
            return Err(self.wrong(key, what));
        }
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

/// A value that is no text.
const TEXT: &str = "its value is a text, in quotes";

/// A value with a character that no argument of a command can have.
const NUL: &str = "its value has the character NUL, which none can have";

fn wanted(wants_text: bool) -> &'static str {
    if wants_text { TEXT } else { "its value is a text or a number" }
}

/// True if a flag takes any text, so that a number would be a slip.
fn wants_text(arg: &clap::Arg) -> bool {
    let kind = arg.get_value_parser().type_id();
    [TypeId::of::<String>(), TypeId::of::<OsString>(), TypeId::of::<PathBuf>()]
        .iter()
        .any(|text| kind == *text)
}

/// A value as the command line has it.
fn scalar(value: &Value, wants_text: bool) -> Result<String, &'static str> {
    match value {
        Value::String(text) if text.value().contains('\0') => Err(NUL),
        Value::String(text) => Ok(text.value().clone()),
        Value::Integer(number) if !wants_text => Ok(number.value().to_string()),
        Value::Float(number) if !wants_text && number.value().is_finite() => Ok(number.value().to_string()),
        Value::Float(_) if !wants_text => Err("its value is a text or a number, and neither nan nor inf"),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::InlineTable(_) => Err(wanted(wants_text)),
    }
}

/// A section of a host as it is written.
fn title(name: &str) -> String {
    format!("[host.\"{}\"]", shown(name))
}

/// The parts of a name that was written without quotes, from the second one on.
fn dotted(key: &Key, item: &Item) -> String {
    let mut name = key.get().to_owned();
    let mut below = item.as_table();
    while let Some((key, item)) =
        below.and_then(|table| entries(table).next()).filter(|(_, item)| item.is_table())
    {
        name = [&name, key.get()].join(".");
        below = item.as_table();
    }
    name
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    fn of_span(&self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start);
        1 + self.0.partition_point(|begins| *begins <= start)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
