//! Where rows come from: the words URL, @FILE and -. Nothing here reads a list.

use std::path::PathBuf;

use overlapped_fetch::Input;
use overlapped_proto::glob::Glob;
use overlapped_proto::input::url;

use crate::exit::Error;

/// URLs that one pattern may stand for: they are held in memory, unlike those of a list.
const URLS_MAX: u64 = 1_000_000;

/// One word that names rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One URL.
    Url(String),
    /// A pattern that stands for several.
    Urls(Glob),
    /// A list in a file.
    List(PathBuf),
    /// The list on standard input.
    Stdin,
}

/// Whether {a,b} and [1-9] in a URL stand for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Globbing {
    On,
    Off,
}

/// Reads the words, in order.
///
/// # Errors
///
/// A URL without its scheme, with a hint: on a command line it is a slip, not a row. A pattern that cannot be read.
pub(crate) fn sources(words: &[String], globbing: Globbing) -> Result<Vec<Source>, Error> {
    words.iter().map(|word| source(word, globbing)).collect()
}

fn source(word: &str, globbing: Globbing) -> Result<Source, Error> {
    match word.strip_prefix('@') {
        Some("-") => return Ok(Source::Stdin),
        Some("") => return Err(Error::Usage("@ needs the name of a file: @urls.txt".to_owned())),
        Some(path) => return Ok(Source::List(path.into())),
        None if word == "-" => return Ok(Source::Stdin),
        None => {}
    }
    let (source, first) = match globbing {
        Globbing::Off => (Source::Url(word.to_owned()), Some(word.to_owned())),
        Globbing::On => {
            let glob = Glob::parse(word).map_err(|error| Error::Usage(error.to_string()))?;
            let first = glob.iter().next();
            match (glob.count(), &first) {
                (URLS_MAX.., _) => {
                    let problem =
                        format!("{word} stands for {} URLs; write them to a list instead", glob.count());
                    return Err(Error::Usage(problem));
                }
                (1, Some(url)) => (Source::Url(url.clone()), first),
                _ => (Source::Urls(glob), first),
            }
        }
    };
    url::parse(&first.unwrap_or_default()).map_err(|failure| Error::Usage(failure.message.into_string()))?;
    Ok(source)
}

/// The list that the sources make together; `query` goes behind every URL.
///
/// # Errors
///
/// More than one list, or a query for a list.
pub(crate) fn list(mut sources: Vec<Source>, query: Option<String>) -> Result<Input, Error> {
    let is_list = |source: &Source| matches!(source, Source::List(_) | Source::Stdin);
    if !sources.iter().any(is_list) {
        let urls = sources.into_iter().flat_map(urls);
        return Ok(Input::Urls(match query {
            Some(query) => Box::new(urls.map(move |url| with_query(&url, &query))),
            None => Box::new(urls),
        }));
    }
    if query.is_some() {
        return Err(Error::Usage(
            "-G changes URLs of the command line; put the query into the list".to_owned(),
        ));
    }
    match (sources.pop(), sources.is_empty()) {
        (Some(Source::List(path)), true) => Ok(Input::File(path)),
        (Some(Source::Stdin), true) => Ok(Input::Stdin),
        _ => Err(Error::Usage(
            "one list a run so far: `cat a.txt b.txt | overlapped -` joins lists".to_owned(),
        )),
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
        let found = sources(&words, globbing).and_then(|sources| list(sources, None));
        let found = found.ok().map(|input| match input {
            Input::Urls(urls) => urls.collect(),
            Input::File(path) => vec![format!("file {}", path.display())],
            Input::Stdin => vec!["stdin".to_owned()],
            Input::Read(..) => vec![],
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
        for refused in
            [&["example.org"][..], &["@"], &["http://a/[1-"], &["@x", "@y"], &["@x", "http://a/"], &[""]]
        {
            check(refused, Globbing::On, None);
        }
    }

    #[test]
    fn a_query_stands_before_the_fragment() {
        assert_eq!(with_query("http://a/", "x=1"), "http://a/?x=1");
        assert_eq!(with_query("http://a/?y=2#z", "x=1"), "http://a/?y=2&x=1#z");
    }
}
