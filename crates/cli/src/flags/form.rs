//! `-F`: a multipart form (RFC 7578) in curl's syntax: `NAME=TEXT`, `NAME=@FILE` to upload a file and `NAME=<FILE` for
//! its text, each optionally followed by `;type=` and `;filename=`.

use std::fmt::Write as _;
use std::path::Path;

use clap::ArgMatches;
use overlapped_fetch::UploadFile;

use super::data::order_of;
use super::fetch::{Flags, FormKind};
use super::payload::{Opener, Payload, sending};
use crate::exit::Error;

/// An encoded form. It need not fit in memory.
pub(super) struct Form {
    pub(super) boundary: String,
    pub(super) body: Payload,
}

struct Part {
    name: String,
    filename: Option<String>,
    content_type: Option<String>,
    content: UploadFile,
}

/// The order in which the flags of parts were given.
pub(super) fn order(given: &ArgMatches) -> Vec<FormKind> {
    order_of(given, [("form", FormKind::Part), ("form_string", FormKind::Text)])
}

/// The form that the values of `-F` and `--form-string` make; `None` if there are none.
///
/// # Errors
///
/// A value is invalid, or a file cannot be read.
pub(super) fn form(flags: &Flags) -> Result<Option<Form>, Error> {
    let mut opener = Opener::default();
    let (mut parts, mut texts) = (flags.form.iter(), flags.form_string.iter());
    let mut of = |kind: &FormKind| match kind {
        FormKind::Part => parts.next().map(|value| part(value, &mut opener)),
        FormKind::Text => texts.next().map(|value| text(value)),
    };
    let parts: Vec<Part> = flags.form_order.iter().filter_map(&mut of).collect::<Result<_, _>>()?;
    if parts.is_empty() { Ok(None) } else { encoded(&parts).map(Some) }
}

fn encoded(parts: &[Part]) -> Result<Form, Error> {
    let boundary = boundary(parts)?;
    let held = |text: String| UploadFile::held(text.into_bytes());
    let mut pieces = Vec::new();
    for part in parts {
        pieces.push(held(format!("--{boundary}\r\n{}\r\n", head(part))));
        pieces.push(part.content.clone());
        pieces.push(held("\r\n".to_owned()));
    }
    pieces.push(held(format!("--{boundary}--\r\n")));
    Ok(Form { boundary, body: Payload::of(pieces)? })
}

/// A part of `--form-string`: the text is taken as it is.
fn text(value: &str) -> Result<Part, Error> {
    let (name, content) = value
        .split_once('=')
        .ok_or_else(|| Error::Usage("--form-string: a part has a name and a value: NAME=TEXT".to_owned()))?;
    let content = UploadFile::held(content.as_bytes().to_vec());
    Ok(Part { name: name.to_owned(), filename: None, content_type: None, content })
}

fn part(value: &str, opener: &mut Opener) -> Result<Part, Error> {
    let refused = |what: &str| Error::Usage(format!("-F: {what}: NAME=TEXT, NAME=@FILE or NAME=<FILE"));
    let (name, content) = value.split_once('=').ok_or_else(|| refused("a part has a name and a value"))?;
    let (content, options) = split_options(content);
    let (uploaded, included) = (content.strip_prefix('@'), content.strip_prefix('<'));
    let mut part = Part {
        name: name.to_owned(),
        filename: None,
        content_type: None,
        content: match uploaded.or(included) {
            Some(path) => opener.file(path)?,
            None => UploadFile::held(content.as_bytes().to_vec()),
        },
    };
    if let Some(path) = uploaded {
        let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
        part.filename = Some(name.unwrap_or_default());
        part.content_type = Some("application/octet-stream".to_owned());
    }
    for (option, value) in options {
        let value = value.trim_matches('"').to_owned();
        match option {
            "type" => part.content_type = Some(value),
            _ => part.filename = Some(value),
        }
    }
    if part.content_type.as_deref().is_some_and(|text| text.contains(['\r', '\n', '\0'])) {
        return Err(refused("a type is one line"));
    }
    Ok(part)
}

/// Splits trailing `;type=…` and `;filename=…` off. Any other `;` belongs to the text.
fn split_options(content: &str) -> (&str, Vec<(&'static str, &str)>) {
    let (mut content, mut options) = (content, Vec::new());
    while let Some((before, last)) = content.rsplit_once(';') {
        let known = ["type", "filename"]
            .into_iter()
            .find_map(|name| Some((name, last.trim_start().strip_prefix(name)?.strip_prefix('=')?)));
        let Some(option) = known else { break };
        options.push(option);
        content = before;
    }
    (content, options)
}

fn head(part: &Part) -> String {
    let mut head = format!("Content-Disposition: form-data; name=\"{}\"", escaped(&part.name));
    if let Some(filename) = &part.filename {
        head.push_str(&format!("; filename=\"{}\"", escaped(filename)));
    }
    head.push_str("\r\n");
    if let Some(content_type) = &part.content_type {
        head.push_str(&format!("Content-Type: {content_type}\r\n"));
    }
    head
}

/// Percent-encodes what would end a quoted name, as browsers do.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// A boundary that occurs in no part, because it is a hash of all of them, so that a resumed run sends the same request. Nobody can
/// make a file that contains half of the SHA-256 of a form with that file.
fn boundary(parts: &[Part]) -> Result<String, Error> {
    let all = parts.iter().flat_map(|part| [UploadFile::held(head(part).into_bytes()), part.content.clone()]);
    let digest = UploadFile::joined(all).sha256().map_err(|error| sending(&error))?;
    let mut boundary = "------------------------".to_owned();
    for byte in digest.iter().take(digest.len() / 2) {
        let _ = write!(boundary, "{byte:02x}");
    }
    Ok(boundary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: &str) {
        check_part(part(value, &mut Opener::default()).unwrap(), expected);
    }

    fn check_part(part: Part, expected: &str) {
        let Form { boundary, body: Payload::Bytes(body) } = encoded(&[part]).unwrap() else {
            panic!("it is small")
        };
        let body = String::from_utf8(body).unwrap();
        assert_eq!(
            body.replace(&boundary, "B"),
            format!("--B\r\nContent-Disposition: form-data; {expected}\r\n--B--\r\n")
        );
    }

    #[test]
    fn parts_are_written_as_browsers_write_them() {
        check("a=b=c;d", "name=\"a\"\r\n\r\nb=c;d");
        check("a=b;type=text/html", "name=\"a\"\r\nContent-Type: text/html\r\n\r\nb");
        check(
            "a=b;filename=\"c.txt\";type=x/y",
            "name=\"a\"; filename=\"c.txt\"\r\nContent-Type: x/y\r\n\r\nb",
        );
        check("a\"\r\nX: y=b", "name=\"a%22%0D%0AX: y\"\r\n\r\nb");
        check_part(text("a=@b;type=x/y").unwrap(), "name=\"a\"\r\n\r\n@b;type=x/y");
        let mut opener = Opener::default();
        assert!(part("no-value", &mut opener).is_err() && text("no-value").is_err());
        assert!(part("a=@/nowhere/at/all", &mut opener).is_err());
    }

    #[test]
    fn the_same_parts_make_the_same_form() {
        let boundary =
            |value: &str| encoded(&[part(value, &mut Opener::default()).unwrap()]).unwrap().boundary;
        assert_eq!(boundary("a=b"), boundary("a=b"));
        assert_ne!(boundary("a=b"), boundary("a=c"));
    }
}
