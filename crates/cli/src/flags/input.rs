//! The sources of rows: the arguments URL, @FILE and -. Nothing here reads a list. Of several lists each is opened, so
//! that a missing one is reported before the first is read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use overlapped_fetch::{Input, Unpack};
use overlapped_proto::glob::Glob;
use overlapped_proto::input::{Format, url};
use overlapped_proto::sanitize::shown;

use super::slips::slip;
use crate::exit::Error;

/// The most URLs of one pattern: they are held in memory, unlike those of a list.
const URLS_MAX: u64 = 1_000_000;

/// One argument that names rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One URL.
    Url(String),
    /// A pattern for several URLs.
    Urls(Glob),
    /// A list in a file.
    List(PathBuf),
    /// The list on standard input.
    Stdin,
}

impl Source {
    fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::Stdin)
    }
}

/// Whether {a,b} and [1-9] in a URL are expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Globbing {
    On,
    Off,
}

/// Parses the arguments, in order.
///
/// # Errors
///
/// A URL without a scheme: on the command line it is refused with a hint, in a list it would be a bad row. An invalid
/// pattern.
pub(crate) fn sources(words: &[String], globbing: Globbing) -> Result<Vec<Source>, Error> {
    let sources = words.iter().map(|word| source(word, globbing)).collect::<Result<Vec<_>, _>>()?;
    if sources.iter().filter(|source| matches!(source, Source::Stdin)).count() > 1 {
        return Err(Error::Usage("- is given twice: standard input is one list".to_owned()));
    }
    Ok(sources)
}

fn source(word: &str, globbing: Globbing) -> Result<Source, Error> {
    match word.strip_prefix('@') {
        Some("-") => return Ok(Source::Stdin),
        Some("") => return Err(Error::Usage("@ needs the name of a file: @urls.txt".to_owned())),
        Some(path) if is_packed(path) => {
            return Err(Error::Usage(format!(
                "{path}: only .gz and .zst are unpacked: unpack it into `overlapped -`"
            )));
        }
        Some(path) if is_archive(path) => {
            return Err(Error::Usage(format!(
                "{path}: an archive is no list: make one of its URLs, one a line, or give the list that it was made from"
            )));
        }
        Some(url) if url.contains("://") => {
            return Err(Error::Usage(format!(
                "@ names a file with a list; {} is given without it",
                shown(url)
            )));
        }
        Some(path) => return Ok(Source::List(path.into())),
        None if word == "-" => return Ok(Source::Stdin),
        None => {}
    }
    if is_table(word) {
        return Ok(Source::List(word.into()));
    }
    if let Some(text) = slip(word) {
        return Err(Error::Usage(text));
    }
    let (source, first) = match globbing {
        Globbing::Off => (Source::Url(word.to_owned()), Some(word.to_owned())),
        Globbing::On => {
            let glob = Glob::parse(word).map_err(|error| Error::Usage(error.to_string()))?;
            let first = glob.iter().next();
            match (glob.count(), &first) {
                (URLS_MAX.., _) => {
                    let problem = format!(
                        "{} expands to {} URLs; write them to a list instead",
                        shown(word),
                        glob.count()
                    );
                    return Err(Error::Usage(problem));
                }
                (1, Some(url)) => (Source::Url(url.clone()), first),
                _ => (Source::Urls(glob), first),
            }
        }
    };
    url::parse(&first.unwrap_or_default()).map_err(|failure| refused(&failure.message))?;
    Ok(source)
}

/// True for the file of a table, which is no URL even without the `@`.
fn is_table(word: &str) -> bool {
    let is_one = |format| matches!(format, Format::Parquet | Format::Arrow);
    !word.contains("://") && Format::of_name(word).is_some_and(is_one) && std::path::Path::new(word).is_file()
}

/// True for a file format that is not supported.
fn is_packed(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    [".xz", ".bz2"].iter().any(|suffix| path.ends_with(suffix))
}

/// True for an archive, whose lines are no URLs.
fn is_archive(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    [".har", ".warc", ".warc.gz"].iter().any(|suffix| path.ends_with(suffix))
}

/// The error for an argument that is no URL, with a remedy if the message has none.
fn refused(message: &str) -> Error {
    let what = if message.ends_with("has no scheme") {
        ": a URL begins with https:// or http://, and a list is given as @FILE"
    } else {
        ""
    };
    Error::Usage(format!("{message}{what}"))
}

/// The list that the sources make together, and its format if known; `query` is appended to every URL.
///
/// # Errors
///
/// A query for a list, lists that cannot be joined, or one of several that cannot be read.
pub(crate) fn list(
    mut sources: Vec<Source>,
    query: Option<String>,
    format: Option<Format>,
) -> Result<(Input, Option<Format>), Error> {
    if !sources.iter().any(Source::is_list) {
        let urls = sources.into_iter().flat_map(urls);
        let urls: Box<dyn Iterator<Item = String> + Send> = match query {
            Some(query) => Box::new(urls.map(move |url| with_query(&url, &query))),
            None => Box::new(urls),
        };
        return Ok((Input::Urls(urls), None));
    }
    if query.is_some() {
        return Err(Error::Usage(
            "-G changes URLs of the command line; put the query into the list".to_owned(),
        ));
    }
    match (sources.pop(), sources.is_empty()) {
        (Some(Source::List(path)), true) => Ok((Input::File(path), format)),
        (Some(Source::Stdin), true) => Ok((Input::Stdin, format)),
        (last, _) => {
            sources.extend(last);
            let format = common_format(&sources, format)?;
            let parts = sources.into_iter().map(open).collect::<Result<_, _>>()?;
            Ok((Input::Read(Box::new(Joined { parts }), "given in parts".to_owned()), Some(format)))
        }
    }
}

/// The common format of several sources. Only formats without a header and with one row per line can be joined.
fn common_format(sources: &[Source], given: Option<Format>) -> Result<Format, Error> {
    let by_name = |path: &PathBuf| path.file_name().and_then(|name| Format::of_name(name.to_str()?));
    let format = |source: &Source| match source {
        Source::Url(_) | Source::Urls(_) => Format::Text,
        Source::List(path) => given.or_else(|| by_name(path)).unwrap_or(Format::Text),
        Source::Stdin => given.unwrap_or(Format::Text),
    };
    match sources.first().map(format) {
        Some(first @ (Format::Text | Format::Ndjson))
            if sources.iter().all(|source| format(source) == first) =>
        {
            Ok(first)
        }
        _ => Err(Error::Usage(
            "only lists of one format can be joined, text or NDJSON; a table cannot be joined".into(),
        )),
    }
}

fn open(source: Source) -> Result<Box<dyn Read + Send>, Error> {
    Ok(match source {
        Source::Stdin => Box::new(Part::new(Box::new(io::stdin()), "standard input".to_owned())),
        Source::List(path) => {
            let file = File::open(&path).map_err(|error| Error::reading(&path, &error))?;
            Box::new(Part::new(Box::new(file), path.display().to_string()))
        }
        urls @ (Source::Url(_) | Source::Urls(_)) => {
            Box::new(io::Cursor::new(self::urls(urls).collect::<Vec<_>>().join("\n")))
        }
    })
}

/// One of several lists. Its errors contain its name.
struct Part {
    read: Unpack,
    name: String,
}

impl Part {
    fn new(read: Box<dyn Read + Send>, name: String) -> Self {
        Self { read: Unpack::new(read, &name), name }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read
            .read(buffer)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.name)))
    }
}

/// Several lists concatenated, with a line end after each: a file may lack its last one, and empty lines are skipped.
struct Joined {
    parts: VecDeque<Box<dyn Read + Send>>,
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(part) = self.parts.front_mut() else { return Ok(0) };
        let count = part.read(buffer)?;
        if count > 0 {
            return Ok(count);
        }
        self.parts.pop_front();
        (&b"\n"[..]).read(buffer)
    }
}

fn urls(source: Source) -> Box<dyn Iterator<Item = String> + Send> {
    match source {
        Source::Url(url) => Box::new(std::iter::once(url)),
        Source::Urls(glob) => Box::new(glob.iter().collect::<Vec<_>>().into_iter()),
        Source::List(_) | Source::Stdin => Box::new(std::iter::empty()),
    }
}

fn with_query(url: &str, query: &str) -> String {
    let (url, fragment) = url.find('#').map_or((url, ""), |at| url.split_at(at));
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{query}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], globbing: Globbing, expected: Option<&[&str]>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = sources(&words, globbing).and_then(|sources| list(sources, None, None));
        let found = found.ok().map(|(input, _)| match input {
            Input::Urls(urls) => urls.collect(),
            Input::Rows(rows) => rows.map(|row| row.url).collect(),
            Input::Batches(mut batches) => {
                batches(usize::MAX).unwrap().into_iter().map(|row| row.url).collect()
            }
            Input::File(path) => vec![format!("file {}", path.display())],
            Input::Stdin => vec!["stdin".to_owned()],
            Input::Read(read, _) => {
                io::read_to_string(read).unwrap().split('\n').map(str::to_owned).collect()
            }
        });
        assert_eq!(
            found.as_deref(),
            expected.map(|urls| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>()).as_deref(),
            "{words:?}"
        );
    }

    #[test]
    fn words_are_urls_lists_or_standard_input() {
        check(&["http://a/", "http://b/"], Globbing::On, Some(&["http://a/", "http://b/"]));
        check(
            &["http://a/[1-2]", "http://b/"],
            Globbing::On,
            Some(&["http://a/1", "http://a/2", "http://b/"]),
        );
        check(&["http://a/[1-2]"], Globbing::Off, Some(&["http://a/[1-2]"]));
        check(&["@x"], Globbing::On, Some(&["file x"]));
        check(&["-"], Globbing::On, Some(&["stdin"]));
        check(&["@-"], Globbing::On, Some(&["stdin"]));
        check(
            &["http://a/", "@/dev/null", "http://b/[1-2]"],
            Globbing::On,
            Some(&["http://a/", "", "http://b/1", "http://b/2", ""]),
        );
        for refused in [
            &["example.org"][..],
            &["@"],
            &["http://a/[1-"],
            &["@x", "@y.csv"],
            &["@x.xz"],
            &["@/nowhere/x", "http://a/"],
            &[""],
        ] {
            check(refused, Globbing::On, None);
        }
    }

    #[test]
    fn a_query_is_inserted_before_the_fragment() {
        assert_eq!(with_query("http://a/", "x=1"), "http://a/?x=1");
        assert_eq!(with_query("http://a/?y=2#z", "x=1"), "http://a/?y=2&x=1#z");
    }
}
