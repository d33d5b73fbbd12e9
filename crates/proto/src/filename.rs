//! Makes the file name of a row from a template, as a path that is safe on every system.
//!
//! The path is relative, stays beneath its directory, and has no component with a special meaning to a shell, a terminal,
//! Windows or this program. A server can choose a part of the name only if the template uses it.

use std::fmt;
use std::fmt::Write as _;

use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::job::Row;
use crate::limits::{FILE_DEPTH_MAX, FILE_NAME_BYTES_MAX};
use crate::sanitize;

/// The values of a template's fields.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The row.
    pub row: Row,
    /// The row's own name; its number if it has none.
    pub id: Option<&'a str>,
    /// The URL that answered.
    pub url: &'a Url,
    /// The media type that the server gave.
    pub content_type: Option<&'a str>,
}

/// A template of names, such as `{host}/{row:09}{ext}`.
///
/// | field | what it is |
/// | --- | --- |
/// | `{row}`, `{row:09}` | the number of the row, from 0; padded with zeros to this number of digits |
/// | `{id}` | the row's own name; its number if it has none |
/// | `{host}` | the host of the URL that answered |
/// | `{name}` | the last part of the URL's path, as `curl -O` takes it; `index` if there is none |
/// | `{stem}` | the same without its extension |
/// | `{ext}` | `.` and the extension: by the media type, else from the URL, else nothing |
///
/// A slash in the template makes a directory; one in a value does not. `{{` and `}}` are braces.
///
/// ```
/// use overlapped_proto::filename::{Parts, Template};
/// use overlapped_proto::job::Row;
///
/// let url = "http://example.org/a/picture?size=2".parse()?;
/// let parts = Parts { row: Row(7), id: None, url: &url, content_type: Some("image/png") };
/// assert_eq!(Template::default().path(&parts, 0), "000000007.png");
/// assert_eq!(Template::parse("{host}/{name}{ext}")?.path(&parts, 2), "example.org/picture~2.png");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Directory,
    Row { digits: usize },
    Id,
    Host,
    Name,
    Stem,
    Ext,
}

impl Default for Template {
    /// `{row:09}{ext}`
    fn default() -> Self {
        Self { parts: vec![Part::Row { digits: 9 }, Part::Ext] }
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// What is wrong, and at which byte.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        let error = |at, problem| Err(TemplateError { template: template.into(), at, problem });
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = template.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '{' | '}' if chars.next_if(|&(_, next)| next == c).is_some() => text.push(c),
                '{' => {
                    let rest = template.get(at + 1..).unwrap_or_default();
                    let Some((field, _)) = rest.split_once('}') else { return error(at, "is never closed") };
                    let Some(part) = Part::parse(field) else { return error(at, "is not a field") };
                    flush(&mut text, &mut parts);
                    parts.push(part);
                    chars.by_ref().find(|&(_, c)| c == '}');
                }
                '}' => return error(at, "closes nothing"),
                '/' => {
                    flush(&mut text, &mut parts);
                    parts.push(Part::Directory);
                }
                c => text.push(c),
            }
        }
        flush(&mut text, &mut parts);
        if template.starts_with('/') {
            return error(0, "begins outside the output directory");
        }
        if let Some(at) = format!("/{template}/").find("/../") {
            return error(at, "leads out of the output directory");
        }
        if matches!(parts.last(), None | Some(Part::Directory)) {
            return error(template.len(), "ends without a file name");
        }
        if parts.iter().filter(|part| **part == Part::Directory).count() >= FILE_DEPTH_MAX {
            return error(0, "has too many directories");
        }
        Ok(Self { parts })
    }

    /// The path of a row's file, with `/` between its components.
    ///
    /// `twin` is 0 at first. If the path is taken, also in another case, ask again with 2, 3, …: the number is put
    /// before the extension.
    #[must_use]
    pub fn path(&self, of: &Parts<'_>, twin: u32) -> String {
        let mut components = vec![String::new()];
        for part in &self.parts {
            if *part == Part::Directory {
                components.push(String::new());
            } else if let Some(component) = components.last_mut() {
                part.push(of, component);
            }
        }
        join(components.iter().map(String::as_str), twin)
    }
}

/// The path that a row itself asks for (its `out` column), made safe in the same way.
///
/// ```
/// use overlapped_proto::filename::safe_path;
///
/// assert_eq!(safe_path("sub/report.pdf", 0), "sub/report.pdf");
/// assert_eq!(safe_path("../../etc/passwd", 0), "etc/passwd");
/// assert_eq!(safe_path("", 0), "_");
/// ```
#[must_use]
pub fn safe_path(out: &str, twin: u32) -> String {
    let named = |component: &&str| !matches!(*component, "" | "." | "..");
    let components: Vec<_> = out.split(['/', '\\']).filter(named).collect();
    let skipped = components.len().saturating_sub(FILE_DEPTH_MAX);
    join(components.into_iter().skip(skipped), twin)
}

/// True if a row's file may have this path: one that a run could have made.
///
/// ```
/// use overlapped_proto::filename::is_safe;
///
/// assert!(is_safe("sub/report~2.pdf") && !is_safe("../report.pdf") && !is_safe("/etc/passwd") && !is_safe(".bashrc"));
/// ```
#[must_use]
pub fn is_safe(path: &str) -> bool {
    let components = path.split('/').count();
    components <= FILE_DEPTH_MAX
        && path.split('/').all(|name| !name.is_empty() && safe_component(name, 0) == name)
}

/// The extension by which files of a media type are known, with its dot.
#[must_use]
pub fn extension(content_type: &str) -> Option<&'static str> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    EXTENSIONS.iter().find(|(media_type, _)| *media_type == essence).map(|(_, extension)| *extension)
}

/// A template that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    template: Box<str>,
    /// The byte at which the problem begins.
    pub at: usize,
    problem: &'static str,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { template, at, problem } = self;
        let rest = template.get(*at..).unwrap_or_default();
        write!(f, "in the name template {template:?}: {rest:?} {problem}; ")?;
        f.write_str("the fields are {row} {row:09} {id} {host} {name} {stem} {ext}")
    }
}

impl std::error::Error for TemplateError {}

impl Part {
    fn parse(field: &str) -> Option<Self> {
        Some(match field {
            "row" => Self::Row { digits: 1 },
            "id" => Self::Id,
            "host" => Self::Host,
            "name" => Self::Name,
            "stem" => Self::Stem,
            "ext" => Self::Ext,
            _ => Self::Row {
                digits: field.strip_prefix("row:0")?.parse().ok().filter(|n| (1..=20).contains(n))?,
            },
        })
    }

    fn push(&self, of: &Parts<'_>, name: &mut String) {
        match self {
            Self::Text(text) => name.push_str(text),
            Self::Directory => {}
            Self::Row { digits } => number(of.row, *digits, name),
            Self::Id => match of.id {
                Some(id) => name.push_str(id),
                None => number(of.row, 1, name),
            },
            Self::Host => name.push_str(of.url.host_str().unwrap_or_default().trim_end_matches('.')),
            Self::Name => name.push_str(last_segment(of.url)),
            Self::Stem => name.push_str(split_extension(last_segment(of.url)).0),
            Self::Ext => {
                let by_type = of.content_type.and_then(extension);
                name.push_str(by_type.unwrap_or(split_extension(last_segment(of.url)).1));
            }
        }
    }
}

fn flush(text: &mut String, parts: &mut Vec<Part>) {
    if !text.is_empty() {
        parts.push(Part::Text(std::mem::take(text).into()));
    }
}

fn number(row: Row, digits: usize, name: &mut String) {
    let _ = write!(name, "{:0digits$}", row.0);
}

/// The last segment as in the URL, percent-encoded: plain ASCII, so that no two spellings of a letter can be confused.
fn last_segment(url: &Url) -> &str {
    url.path().rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("index")
}

/// A name and its extension with the dot; an extension is one to eight letters and digits.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.').map(|dot| name.split_at(dot)) {
        Some((stem, extension))
            if !stem.is_empty()
                && (2..=9).contains(&extension.len())
                && extension.bytes().skip(1).all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            (stem, extension)
        }
        _ => (name, ""),
    }
}

fn join<'a>(components: impl Iterator<Item = &'a str>, twin: u32) -> String {
    let mut components = components.peekable();
    let mut path = String::new();
    while let Some(component) = components.next() {
        let twin = if components.peek().is_none() { twin } else { 0 };
        path.push_str(&safe_component(component, twin));
        if components.peek().is_some() {
            path.push('/');
        }
    }
    if path.is_empty() { safe_component("", twin) } else { path }
}

/// One component of a path: never empty, hidden, an option, a device of Windows, or a temporary file of ours.
fn safe_component(text: &str, twin: u32) -> String {
    let name: String = text.chars().map(|c| if is_forbidden(c) { '_' } else { c }).collect();
    let name = name.trim_start_matches(['.', '-', '~', ' ']).trim_end_matches(['.', ' ']);
    let device = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let before = if name.is_empty() || is_device(&device) { "_" } else { "" };
    let (stem, extension) = split_extension(name);
    let after = if OURS.iter().any(|ours| extension.eq_ignore_ascii_case(ours)) { "_" } else { "" };
    let twin = if twin == 0 { String::new() } else { format!("~{twin}") };
    let around = before.len() + twin.len() + extension.len() + after.len();
    if stem.len() + around <= FILE_NAME_BYTES_MAX {
        return format!("{before}{stem}{twin}{extension}{after}");
    }
    // A hash replaces the part cut off, so that long names that differ at the end stay distinct.
    let hash = format!("~{:016x}", xxh3_64(text.as_bytes()));
    let room = FILE_NAME_BYTES_MAX - around - hash.len();
    let cut = (0..=room).rev().find_map(|at| stem.get(..at)).unwrap_or_default();
    format!("{before}{cut}{hash}{twin}{extension}{after}")
}

/// Extensions that mean something to this program.
const OURS: &[&str] = &[".part", ".run", ".retry"];

fn is_forbidden(c: char) -> bool {
    sanitize::is_unsafe(c) || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

/// Names that Windows gives to devices, whatever extension follows.
fn is_device(upper: &str) -> bool {
    match upper {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        _ => upper.strip_prefix("COM").or(upper.strip_prefix("LPT")).is_some_and(|port| {
            matches!(port, "\u{b9}" | "\u{b2}" | "\u{b3}")
                || (port.len() == 1 && port.bytes().all(|byte| byte.is_ascii_digit()))
        }),
    }
}

const EXTENSIONS: &[(&str, &str)] = &[
    ("application/atom+xml", ".xml"),
    ("application/epub+zip", ".epub"),
    ("application/gzip", ".gz"),
    ("application/javascript", ".js"),
    ("application/json", ".json"),
    ("application/ld+json", ".json"),
    ("application/msword", ".doc"),
    ("application/pdf", ".pdf"),
    ("application/rss+xml", ".xml"),
    ("application/rtf", ".rtf"),
    ("application/vnd.ms-excel", ".xls"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", ".pptx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"),
    ("application/wasm", ".wasm"),
    ("application/x-ndjson", ".ndjson"),
    ("application/x-tar", ".tar"),
    ("application/xhtml+xml", ".html"),
    ("application/xml", ".xml"),
    ("application/zip", ".zip"),
    ("application/zstd", ".zst"),
    ("audio/flac", ".flac"),
    ("audio/mp4", ".m4a"),
    ("audio/mpeg", ".mp3"),
    ("audio/ogg", ".ogg"),
    ("audio/wav", ".wav"),
    ("font/otf", ".otf"),
    ("font/ttf", ".ttf"),
    ("font/woff", ".woff"),
    ("font/woff2", ".woff2"),
    ("image/avif", ".avif"),
    ("image/bmp", ".bmp"),
    ("image/gif", ".gif"),
    ("image/jpeg", ".jpg"),
    ("image/png", ".png"),
    ("image/svg+xml", ".svg"),
    ("image/tiff", ".tif"),
    ("image/vnd.microsoft.icon", ".ico"),
    ("image/webp", ".webp"),
    ("image/x-icon", ".ico"),
    ("text/calendar", ".ics"),
    ("text/css", ".css"),
    ("text/csv", ".csv"),
    ("text/html", ".html"),
    ("text/javascript", ".js"),
    ("text/markdown", ".md"),
    ("text/plain", ".txt"),
    ("text/tab-separated-values", ".tsv"),
    ("text/xml", ".xml"),
    ("video/mp4", ".mp4"),
    ("video/mpeg", ".mpg"),
    ("video/ogg", ".ogv"),
    ("video/quicktime", ".mov"),
    ("video/webm", ".webm"),
];

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn check(template: &str, url: &str, content_type: Option<&str>, expected: &str) {
        let url = Url::parse(url).unwrap();
        let parts = Parts { row: Row(42), id: Some("an id"), url: &url, content_type };
        assert_eq!(Template::parse(template).unwrap().path(&parts, 0), expected, "{template} {url}");
    }

    #[test]
    fn fields() {
        let url = "https://example.org:8443/dir/pic.jpeg?x=/y.png";
        check("{row}", url, None, "42");
        check("{row:05}-{id}", url, None, "00042-an id");
        check("{host}/{name}", url, None, "example.org/pic.jpeg");
        check("{stem}{ext}", url, None, "pic.jpeg");
        check("{stem}{ext}", url, Some("IMAGE/JPEG; q=1"), "pic.jpg");
        check("{stem}{ext}", url, Some("application/octet-stream"), "pic.jpeg");
        check("{{{row}}}", url, None, "{42}");
        check("{name}", "http://example.org/", None, "index");
        check("{name}{ext}", "http://example.org/a/", Some("text/html"), "index.html");
        check("{name}", "http://example.org/%2e%2e%2fpasswd", None, "%2e%2e%2fpasswd");
        check("{host}/{row}", "http://[::1]/", None, "[__1]/42");
    }

    #[test]
    fn template_errors_say_where() {
        let check = |template: &str, at: usize, problem: &str| {
            let error = Template::parse(template).unwrap_err();
            assert_eq!((error.at, error.problem), (at, problem), "{template}");
        };
        check("a{row", 1, "is never closed");
        check("a{what}", 1, "is not a field");
        check("{row:9}", 0, "is not a field");
        check("{row:099}", 0, "is not a field");
        check("a}", 1, "closes nothing");
        check("", 0, "ends without a file name");
        check("a/", 2, "ends without a file name");
        check("/a", 0, "begins outside the output directory");
        check("a/../b", 2, "leads out of the output directory");
    }

    #[test]
    fn names_that_mean_something_elsewhere() {
        let check = |out: &str, expected: &str| assert_eq!(safe_path(out, 0), expected, "{out:?}");
        check("../../x", "x");
        check("/etc/passwd", "etc/passwd");
        check("a\\..\\b", "a/b");
        check("C:\\x", "C_/x");
        check("CON", "_CON");
        check("con.txt", "_con.txt");
        check("com7.tar.gz", "_com7.tar.gz");
        check("console", "console");
        check("a.", "a");
        check("-rf", "rf");
        check(".bashrc", "bashrc");
        check("...", "_");
        check("~/.ssh", "_/ssh");
        check("x.part", "x.part_");
        check("out.ndjson.run", "out.ndjson.run_");
        check("out.ndjson.Retry", "out.ndjson.Retry_");
        check("nul\0byte\u{7f}\u{202e}gpj.exe", "nul_byte__gpj.exe");
    }

    #[test]
    fn long_names_stay_apart() {
        let long = |end: &str| safe_path(&format!("{}{end}.tar", "\u{e4}".repeat(200)), 0);
        assert!(long("a").len() <= FILE_NAME_BYTES_MAX && long("a").ends_with(".tar"), "{}", long("a"));
        assert_ne!(long("a"), long("b"));
    }

    proptest! {
        #[test]
        fn a_path_stays_inside(
            out in "(\\PC|[\\x00-\\x20./\\\\~:-]|\\.\\./|CON|\u{202e}){0,300}",
            twin in 0_u32..5,
        ) {
            inside(&safe_path(&out, twin))?;
            let url = Url::parse("http://example.org/").unwrap();
            let parts = Parts { row: Row(0), id: Some(&out), url: &url, content_type: None };
            inside(&Template::parse("{id}").unwrap().path(&parts, twin))?;
            inside(&Template::parse("{id}/{id}{ext}").unwrap().path(&parts, twin))?;
        }

        #[test]
        fn a_twin_has_another_name(out in "[a-z.~0-9]{0,200}", twin in 1_u32..100) {
            prop_assert_ne!(safe_path(&out, 0), safe_path(&out, twin));
        }

        #[test]
        fn templates_never_panic(template in "[a-z{}:0-9./]{0,40}") {
            if let Ok(template) = Template::parse(&template) {
                let url = Url::parse("http://example.org/a/b.c").unwrap();
                inside(&template.path(&Parts { row: Row(1), id: None, url: &url, content_type: None }, 0))?;
            }
        }
    }

    fn inside(path: &str) -> Result<(), TestCaseError> {
        prop_assert!(!path.is_empty() && is_safe(path), "{path:?}");
        for component in path.split('/') {
            prop_assert!((1..=FILE_NAME_BYTES_MAX).contains(&component.len()), "{path:?}");
            prop_assert!(
                !component.starts_with(['.', '-', '~', ' ']) && !component.ends_with(['.', ' ']),
                "{path:?}"
            );
            prop_assert!(!component.chars().any(is_forbidden), "{path:?}");
            prop_assert!(!component.ends_with(".part"), "{path:?}");
        }
        prop_assert!(Path::new(path).components().all(|component| matches!(component, Component::Normal(_))));
        Ok(())
    }
}
