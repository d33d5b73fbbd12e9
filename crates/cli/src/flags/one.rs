//! What becomes of the response to one URL: where its body and its head go.

use std::path::PathBuf;

use overlapped_fetch::PartFile;
use overlapped_proto::input::url::parse as parse_url;

use super::continued::Continued;
use super::fetch::{Flags, Progress};
use super::output::{Output, unknown_compression};
use crate::exit::Error;
use crate::terminal;

/// What becomes of the response to one URL.
#[derive(Clone, Debug)]
pub(crate) struct One {
    pub(crate) target: Target,
    /// The head comes before the body.
    pub(crate) include: bool,
    /// Where the head goes beside.
    pub(crate) dump_header: Option<PathBuf>,
    /// A status that fails the row has no body.
    pub(crate) unless_failed: bool,
    /// A person sees how far it is.
    pub(crate) bar: bool,
    /// `-J`: the server may name the file.
    pub(crate) named_by: Option<NamedBy>,
    /// `-C -`.
    pub(crate) continued: Option<Continued>,
}

impl One {
    /// The head of the response is shown, as it came.
    pub(super) fn shows_head(&self) -> bool {
        self.include || self.dump_header.is_some()
    }
}

/// What the name that a server chooses means for a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    /// It is kept, and the row fails.
    ServerKeeping,
    /// It is replaced.
    ServerReplacing,
}

/// Where the body of one URL goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To a terminal, if it is text.
    Screen,
    /// To standard output, whatever it is.
    Stdout,
    /// To this file, which is replaced when all of it is there.
    File(PathBuf),
}

/// What becomes of the response to the one URL, unless `-o` asks for records: `-o NAME`, `-O`, or nothing at all. `-o -` on a
/// terminal prints a body that is binary, as with curl; elsewhere it is a record.
///
/// # Errors
///
/// [`Error::Usage`]: flags that cannot be together, or a URL without a name for `-O`.
pub(super) fn one(flags: &mut Flags, url: Option<&str>) -> Result<Option<One>, Error> {
    const LISTS: &str =
        "for lists there are -o DIR/ (a file a row, --name names them), -o F.ndjson and -o F.csv";
    let mut names = Vec::new();
    flags.outputs.retain(|output| match output {
        Output::Body(path) => {
            names.push(path.clone());
            false
        }
        Output::Stdout | Output::Records(..) => true,
    });
    let named =
        [(!names.is_empty(), "-o NAME"), (flags.remote_name, "-O")].into_iter().find(|(given, _)| *given);
    let head =
        [(flags.include, "-i"), (flags.dump_header.is_some(), "-D")].into_iter().find(|(given, _)| *given);
    let printed = flags.outputs == [Output::Stdout] && terminal::stdout_is_seen();
    let Some(url) = url.filter(|_| flags.outputs.is_empty() || (printed && named.is_none())) else {
        if flags.continue_at.is_some() {
            return Err(Error::Usage("-C - is for the file of one URL: -o NAME or -O".to_owned()));
        }
        return match (named, head) {
            (Some((_, flag)), _) => {
                if let Some(what) = names.iter().find_map(|path| unknown_compression(path)) {
                    return Err(Error::Usage(what));
                }
                let json = |path: &&PathBuf| {
                    path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("json"))
                };
                let meant = names.iter().find(json).map_or_else(String::new, |path| {
                    format!("; perhaps -o {} is meant", path.with_extension("ndjson").display())
                });
                Err(Error::Usage(format!(
                    "{flag} is for the body of one URL, without another -o: {LISTS}{meant}"
                )))
            }
            (None, Some((_, flag))) => {
                Err(Error::Usage(format!("{flag} is for one URL without -o records, which have the headers")))
            }
            (None, None) => Ok(None),
        };
    };
    if flags.remote_name {
        names.push(remote_name(url, flags.remote_header_name)?);
    }
    let target = match names.as_slice() {
        [] if !terminal::stdout_is_seen() || printed => Target::Stdout,
        [] => Target::Screen,
        [path] if path.is_dir() => {
            return Err(Error::Usage(format!("{} is a directory: -o {0}/", path.display())));
        }
        [path] => Target::File(path.clone()),
        _ => return Err(Error::Usage("one URL has one body: -o NAME is given twice".to_owned())),
    };
    let continued = match (&flags.continue_at, &target) {
        (None, _) => None,
        (Some(_), Target::File(path)) => {
            let left = PartFile::left(path, url).map_err(|error| Error::reading(path, &error))?;
            Some(Continued { url: url.to_owned(), left })
        }
        (Some(_), Target::Screen | Target::Stdout) => {
            return Err(Error::Usage("-C - is for the file of one URL: -o NAME or -O".to_owned()));
        }
    };
    flags.outputs.clear();
    let is_seen = target != Target::Screen && (target != Target::Stdout || !terminal::stdout_is_seen());
    Ok(Some(One {
        bar: is_seen && !flags.silent && flags.progress != Progress::None && terminal::stderr_is_seen(),
        target,
        include: flags.include || flags.head,
        dump_header: flags.dump_header.take(),
        unless_failed: flags.fail.is_some(),
        named_by: flags.remote_header_name.then_some(match flags.overwrite {
            true => NamedBy::ServerReplacing,
            false => NamedBy::ServerKeeping,
        }),
        continued,
    }))
}

/// The last part of the URL's path, as curl's `-O` has it; if there is none, a name for what the server does not name.
fn remote_name(url: &str, may_be_named: bool) -> Result<PathBuf, Error> {
    let parsed = parse_url(url).map_err(|failure| Error::Usage(failure.message.into_string()))?;
    let name = parsed.path().rsplit('/').next().unwrap_or_default();
    if name.is_empty() && may_be_named {
        return Ok("download".into());
    }
    if name.is_empty() {
        return Err(Error::Usage(
            "-O: the URL ends with no name of a file; give one with -o NAME".to_owned(),
        ));
    }
    Ok(name.into())
}
