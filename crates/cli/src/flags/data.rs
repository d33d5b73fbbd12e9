//! Request bodies: the values of `-d` and the other data flags, joined in the order of the command line.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use clap::ArgMatches;
use overlapped_fetch::UploadFile;

use super::fetch::{DataKind, Flags};
use super::payload::{Opener, Payload};
use crate::exit::Error;

/// The order in which the data flags were given.
pub(super) fn order(given: &ArgMatches) -> Vec<DataKind> {
    let ids = [
        ("data", DataKind::Form),
        ("data_raw", DataKind::Raw),
        ("data_binary", DataKind::Binary),
        ("data_urlencode", DataKind::Encoded),
    ];
    order_of(given, ids)
}

/// The order in which flags were given.
pub(super) fn order_of<K: Copy, const N: usize>(given: &ArgMatches, ids: [(&str, K); N]) -> Vec<K> {
    let places = |(id, kind)| given.indices_of(id).into_iter().flatten().map(move |place| (place, kind));
    let mut places: Vec<(usize, K)> = ids.into_iter().flat_map(places).collect();
    places.sort_by_key(|(place, _)| *place);
    places.into_iter().map(|(_, kind)| kind).collect()
}

/// The body that the data flags make together; `None` if there are none. It need not fit in memory.
///
/// # Errors
///
/// A file cannot be read.
pub(super) fn body(flags: &Flags) -> Result<Option<Payload>, Error> {
    let (mut pieces, mut opener) = (Vec::new(), Opener::default());
    let (mut plain, mut raw) = (flags.data.iter(), flags.data_raw.iter());
    let (mut binary, mut encoded) = (flags.data_binary.iter(), flags.data_urlencode.iter());
    for kind in &flags.data_order {
        let value = match kind {
            DataKind::Form => plain.next(),
            DataKind::Raw => raw.next(),
            DataKind::Binary => binary.next(),
            DataKind::Encoded => encoded.next(),
        };
        let Some(value) = value else { continue };
        if !pieces.is_empty() {
            pieces.push(UploadFile::held(&b"&"[..]));
        }
        pieces.push(match (kind, value.strip_prefix('@')) {
            (DataKind::Form, Some(path)) => opener.form(path)?,
            (DataKind::Binary, Some(path)) => opener.file(path)?,
            (DataKind::Form | DataKind::Binary, None) | (DataKind::Raw, _) => {
                UploadFile::held(value.clone().into_bytes())
            }
            (DataKind::Encoded, _) => UploadFile::held(percent_encoded(value)?),
        });
    }
    if pieces.is_empty() { Ok(None) } else { Payload::of(pieces).map(Some) }
}

/// curl's forms of `--data-urlencode`: `TEXT`, `=TEXT`, `NAME=TEXT`, `@FILE` and `NAME@FILE`; the name stays as it is.
fn percent_encoded(value: &str) -> Result<Vec<u8>, Error> {
    let at = value.find(['=', '@']);
    let (name, content) = match at.and_then(|at| value.split_at_checked(at)) {
        None => ("", value.as_bytes().to_vec()),
        Some((name, rest)) => match rest.strip_prefix('@') {
            Some(path) => (name, read(path)?),
            None => (name, rest.as_bytes().get(1..).unwrap_or_default().to_vec()),
        },
    };
    let mut encoded = name.as_bytes().to_vec();
    if !name.is_empty() {
        encoded.push(b'=');
    }
    for byte in content {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte);
        } else {
            encoded.extend(format!("%{byte:02X}").bytes());
        }
    }
    Ok(encoded)
}

/// Reads the file that a flag names; `-` is standard input.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Error> {
    let path = Path::new(path);
    let mut bytes = Vec::new();
    let done = if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        fs::read(path).map(|read| bytes = read)
    };
    done.map_err(|error| Error::reading(path, &error)).map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_percent_encoded() {
        let check = |value: &str, expected: &str| {
            assert_eq!(percent_encoded(value).ok().as_deref(), Some(expected.as_bytes()), "{value}");
        };
        check("a b&c", "a%20b%26c");
        check("=a=b", "a%3Db");
        check("name=a b", "name=a%20b");
        check("", "");
        check("\u{e9}-._~", "%C3%A9-._~");
    }
}
