//! Where rows come from: the words URL, @FILE and -. Nothing here reads a list.

use std::path::PathBuf;

use overlapped_proto::input::url;

use crate::exit::Error;

/// One word that names rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One URL.
    Url(String),
    /// A list in a file.
    List(PathBuf),
    /// The list on standard input.
    Stdin,
}

/// Reads the words, in order. `glob`: {a,b} and [1-9] in a URL stand for several.
///
/// # Errors
///
/// A URL without its scheme, with a hint: on a command line it is a slip, not a row.
pub(crate) fn sources(words: &[String], _glob: bool) -> Result<Vec<Source>, Error> {
    words.iter().map(|word| source(word)).collect()
}

fn source(word: &str) -> Result<Source, Error> {
    match word.strip_prefix('@') {
        Some("-") => Ok(Source::Stdin),
        Some("") => Err(Error::Usage("@ needs the name of a file: @urls.txt".to_owned())),
        Some(path) => Ok(Source::List(path.into())),
        None if word == "-" => Ok(Source::Stdin),
        None => match url::parse(word) {
            Ok(_) => Ok(Source::Url(word.to_owned())),
            Err(failure) => Err(Error::Usage(failure.message.into_string())),
        },
    }
}
