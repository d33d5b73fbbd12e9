//! `-F` and `--form-string`: a multipart form (RFC 7578), with the fields and the types that curl gives its parts. The syntax of a value is
//! in [`part`].

use std::fmt::Write as _;
use std::path::Path;

use clap::ArgMatches;
use overlapped_fetch::UploadFile;

use super::data::order_of;
use super::fetch::{Flags, FormKind};
use super::part::{self, Part, Source};
use super::payload::{Opener, Payload, sending};
use crate::exit::Error;

/// An encoded form. It need not fit in memory.
pub(super) struct Form {
    pub(super) boundary: String,
    pub(super) body: Payload,
}

/// A part with its content, the fields of its head in order.
struct Encoded {
    head: String,
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
    let parts: Vec<Encoded> = flags.form_order.iter().filter_map(&mut of).collect::<Result<_, _>>()?;
    if parts.is_empty() { Ok(None) } else { encoded(&parts).map(Some) }
}

fn encoded(parts: &[Encoded]) -> Result<Form, Error> {
    let boundary = boundary(parts)?;
    let held = |text: String| UploadFile::held(text.into_bytes());
    let mut pieces = Vec::new();
    for part in parts {
        pieces.push(held(format!("--{boundary}\r\n{}\r\n", part.head)));
        pieces.push(part.content.clone());
        pieces.push(held("\r\n".to_owned()));
    }
    pieces.push(held(format!("--{boundary}--\r\n")));
    Ok(Form { boundary, body: Payload::of(pieces)? })
}

/// A part of `--form-string`: the text is taken as it is.
fn text(value: &str) -> Result<Encoded, Error> {
    let (name, content) = value
        .split_once('=')
        .ok_or_else(|| Error::Usage("--form-string: a part has a name and a value: NAME=TEXT".to_owned()))?;
    let content = UploadFile::held(content.as_bytes().to_vec());
    Ok(Encoded { head: head(name, None, None, &[]), content })
}

fn part(value: &str, opener: &mut Opener) -> Result<Encoded, Error> {
    let Part { name, source, filename, content_type, headers } =
        part::parse(value).map_err(|what| Error::Usage(format!("-F: {what}")))?;
    let (content, filename, implied) = match source {
        Source::Text(text) => {
            let implied = filename.as_deref().and_then(by_suffix);
            (UploadFile::held(text.into_bytes()), filename, implied)
        }
        Source::Upload(path) => {
            let content = opener.file(&path)?;
            let last = || Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
            let filename = filename.unwrap_or_else(last);
            let of_file = || by_suffix(&path).or(Some("application/octet-stream")).filter(|_| path != "-");
            let implied = by_suffix(&filename).or_else(of_file);
            (content, Some(filename), implied)
        }
        // The type of a part without a file name is text/plain anyway.
        Source::Include(path) => {
            (opener.file(&path)?, None, by_suffix(&path).filter(|implied| *implied != "text/plain"))
        }
    };
    let content_type = content_type
        .or_else(|| field(&headers, "content-type").map(str::to_owned))
        .or_else(|| implied.map(str::to_owned));
    Ok(Encoded { head: head(&name, filename.as_deref(), content_type.as_deref(), &headers), content })
}

/// The type of a file by its name, for the suffixes that curl knows.
fn by_suffix(name: &str) -> Option<&'static str> {
    const TYPES: [(&str, &str); 10] = [
        (".gif", "image/gif"),
        (".jpg", "image/jpeg"),
        (".jpeg", "image/jpeg"),
        (".png", "image/png"),
        (".svg", "image/svg+xml"),
        (".txt", "text/plain"),
        (".htm", "text/html"),
        (".html", "text/html"),
        (".pdf", "application/pdf"),
        (".xml", "application/xml"),
    ];
    let lower = name.to_ascii_lowercase();
    TYPES.iter().find(|(suffix, _)| lower.ends_with(suffix)).map(|(_, content_type)| *content_type)
}

/// The value of a header of a part.
fn field<'a>(headers: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| &**value)
}

fn head(
    name: &str,
    filename: Option<&str>,
    content_type: Option<&str>,
    headers: &[(String, String)],
) -> String {
    let mut head = String::new();
    if field(headers, "content-disposition").is_none() {
        head.push_str("Content-Disposition: form-data");
        let named = [("name", Some(name).filter(|name| !name.is_empty())), ("filename", filename)];
        for (parameter, value) in named.into_iter().filter_map(|(parameter, value)| Some((parameter, value?)))
        {
            let _ = write!(head, "; {parameter}=\"{}\"", escaped(value));
        }
        head.push_str("\r\n");
    }
    if let Some(content_type) = content_type {
        let _ = write!(head, "Content-Type: {content_type}\r\n");
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type")) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head
}

/// Percent-encodes what would end a quoted name, as browsers do.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// A boundary that occurs in no part, because it is a hash of all of them, so that a resumed run sends the same request. Nobody can
/// make a file that contains half of the SHA-256 of a form with that file.
fn boundary(parts: &[Encoded]) -> Result<String, Error> {
    let all = parts
        .iter()
        .flat_map(|part| [UploadFile::held(part.head.clone().into_bytes()), part.content.clone()]);
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

    fn check_part(part: Encoded, expected: &str) {
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
        check("a=\"b=c;d\"", "name=\"a\"\r\n\r\nb=c;d");
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

    /// Compared with curl 7.88.
    #[test]
    fn types_and_headers_of_parts_are_those_of_curl() {
        let path = std::env::temp_dir().join(format!("overlapped-form-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let file = |name: &str| {
            let path = path.join(name);
            std::fs::write(&path, "c").unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (txt, html, toml) = (file("a.txt"), file("a.HTML"), file("a;b.toml"));
        let named = |name: &str, rest: &str| format!("name=\"a\"; filename=\"{name}\"{rest}");
        check(&format!("a=@{txt}"), &named("a.txt", "\r\nContent-Type: text/plain\r\n\r\nc"));
        check(&format!("a=@{html}"), &named("a.HTML", "\r\nContent-Type: text/html\r\n\r\nc"));
        check(
            &format!("a=@\"{toml}\""),
            &named("a;b.toml", "\r\nContent-Type: application/octet-stream\r\n\r\nc"),
        );
        let png = format!("a=@\"{toml}\";filename=x.png");
        check(&png, &named("x.png", "\r\nContent-Type: image/png\r\n\r\nc"));
        check(&format!("a=<{txt}"), "name=\"a\"\r\n\r\nc");
        check(&format!("a=<{html}"), "name=\"a\"\r\nContent-Type: text/html\r\n\r\nc");
        std::fs::remove_dir_all(&path).unwrap();
        check("a=b;filename=x.xml", &named("x.xml", "\r\nContent-Type: application/xml\r\n\r\nb"));
        check("a=b;filename=x", &named("x", "\r\n\r\nb"));
        let given = "a=b;headers=\"X: y\";headers=\"Content-Type: q/r\"";
        check(given, "name=\"a\"\r\nContent-Type: q/r\r\nX: y\r\n\r\nb");
        check(&format!("{given};type=s/t"), "name=\"a\"\r\nContent-Type: s/t\r\nX: y\r\n\r\nb");
        check("a=b;headers=\"Content-Disposition: form-data; q\"", "q\r\n\r\nb");
    }

    #[test]
    fn a_part_without_a_name_has_no_parameter_for_it() {
        let part = part("=b", &mut Opener::default()).unwrap();
        assert_eq!(part.head, "Content-Disposition: form-data\r\n");
    }

    #[test]
    fn the_same_parts_make_the_same_form() {
        let boundary =
            |value: &str| encoded(&[part(value, &mut Opener::default()).unwrap()]).unwrap().boundary;
        assert_eq!(boundary("a=b"), boundary("a=b"));
        assert_ne!(boundary("a=b"), boundary("a=c"));
    }
}
