//! The value of `-F`, as curl reads it: `NAME=TEXT`, `NAME=@FILE` to upload a file or `NAME=<FILE` for its text, and then
//! `;type=`, `;filename=` and `;headers=`. A text, a path or a value may be in double quotes, and blanks around them do not count. What curl
//! passes over with a warning, and what only curl supports, is refused, so that no other data is sent. Nothing here reads a file.

use overlapped_proto::header;

/// A part, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Empty: it has none.
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) filename: Option<String>,
    pub(super) content_type: Option<String>,
    /// Name and value.
    pub(super) headers: Vec<(String, String)>,
}

/// Where the content of a part is from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    Text(String),
    /// A file that is uploaded; `-` is standard input.
    Upload(String),
    /// A file of which the part has the text; `-` is standard input.
    Include(String),
}

const WANTED: &str = "a part has a name and a value: NAME=TEXT, NAME=@FILE or NAME=<FILE";
const UNKNOWN: &str = "what follows a semicolon is none of type=, filename= and headers=; a text with semicolons is sent by --form-string, \
                       or in double quotes: 'NAME=\"a;b\"'";
const BEHIND: &str = "something follows the quoted text; --form-string sends a value as it is";
const TYPE: &str = "a type is written as in ;type=text/html";
const HEADER: &str = "a header of a part is written as in ;headers=\"Name: value\"";
const HEADERS_FILE: &str = "headers= from a file is not supported: ;headers=\"Name: value\", once for each";
const ENCODER: &str = "encoder= is not supported: encode the content, and name the encoding by ;headers=\"Content-Transfer-Encoding: …\"";
const FILES: &str = "several files of one part are not supported: give each a -F of its own, or a path with a comma in double quotes";
const NESTED: &str =
    "parts within a part, from =( to =), are not supported; --form-string sends such a text as it is";
const FILENAME: &str = "a text from a file has no file name: NAME=@FILE uploads the file";

/// Parses a value.
///
/// # Errors
///
/// What is wrong, without the value, which may be secret.
pub(super) fn parse(value: &str) -> Result<Part, &'static str> {
    let (name, content) = value.split_once('=').ok_or(WANTED)?;
    if content.starts_with('(') || (name.is_empty() && content == ")") {
        return Err(NESTED);
    }
    let (uploaded, included) = (content.strip_prefix('@'), content.strip_prefix('<'));
    let mut reader = Reader { rest: uploaded.or(included).unwrap_or(content), many: uploaded.is_some() };
    let content = reader.word()?;
    let source = match (uploaded, included) {
        (Some(_), _) => Source::Upload(content),
        (None, Some(_)) => Source::Include(content),
        (None, None) => Source::Text(content),
    };
    let part =
        Part { name: name.to_owned(), source, filename: None, content_type: None, headers: Vec::new() };
    let part = reader.options(part)?;
    if matches!(part.source, Source::Include(_)) && part.filename.is_some() {
        return Err(FILENAME);
    }
    Ok(part)
}

/// Reads a value from left to right.
struct Reader<'a> {
    rest: &'a str,
    /// A comma separates files.
    many: bool,
}

impl<'a> Reader<'a> {
    fn options(&mut self, mut part: Part) -> Result<Part, &'static str> {
        // Where the type begins, as long as parameters of it may follow, which curl knows by being none of its options.
        let mut open: Option<&'a str> = None;
        while let Some(rest) = self.rest.strip_prefix(';') {
            self.rest = rest.trim_start_matches(is_blank);
            if open.is_none() && self.take("type=") {
                self.rest = self.rest.trim_start_matches(is_blank);
                open = Some(self.rest);
                part.content_type = Some(media_type(self.segment())?);
            } else if self.take("filename=") {
                (open, part.filename) = (None, Some(self.word()?));
            } else if self.take("headers=") {
                open = None;
                if self.rest.starts_with(['@', '<']) {
                    return Err(HEADERS_FILE);
                }
                part.headers.push(field(&self.word()?)?);
            } else if self.take("encoder=") {
                return Err(ENCODER);
            } else if let Some(start) = open {
                self.segment();
                let whole = start.get(..start.len() - self.rest.len()).unwrap_or(start);
                part.content_type = Some(media_type(whole)?);
            } else if !self.segment().trim_matches(is_blank).is_empty() {
                return Err(UNKNOWN);
            }
        }
        if self.rest.is_empty() { Ok(part) } else { Err(FILES) }
    }

    /// Takes the name of an option, in any case.
    fn take(&mut self, name: &str) -> bool {
        let found =
            self.rest.split_at_checked(name.len()).filter(|(start, _)| start.eq_ignore_ascii_case(name));
        found.inspect(|(_, rest)| self.rest = rest).is_some()
    }

    /// A word to the end of its option: in quotes, or without the blanks around it.
    fn word(&mut self) -> Result<String, &'static str> {
        self.rest = self.rest.trim_start_matches(is_blank);
        let Some((word, rest)) = quoted(self.rest) else {
            return Ok(self.segment().trim_end_matches(is_blank).to_owned());
        };
        self.rest = rest;
        if self.segment().trim_matches(is_blank).is_empty() { Ok(word) } else { Err(BEHIND) }
    }

    /// What comes before the next option, or the next file.
    fn segment(&mut self) -> &'a str {
        let ends = |c| c == ';' || (self.many && c == ',');
        let (segment, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        segment
    }
}

/// The quoted text at the start of `text`, and what follows it. If a quote is missing it is no quoted text, as with curl.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let (mut word, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next()? {
            '"' => return Some((word, chars.as_str())),
            '\\' if chars.as_str().starts_with(['"', '\\']) => word.extend(chars.next()),
            c => word.push(c),
        }
    }
}

/// curl's test of a type, which takes much for one; and it is one line.
fn media_type(text: &str) -> Result<String, &'static str> {
    let text = text.trim_end_matches(is_blank);
    let (major, minor) = text.split_once('/').ok_or(TYPE)?;
    let is_type =
        !major.is_empty() && !major.contains(' ') && !minor.is_empty() && !minor.starts_with([' ', ',']);
    let fits = is_type && header::check_raw("content-type", text.as_bytes()).is_ok();
    if fits { Ok(text.to_owned()) } else { Err(TYPE) }
}

fn field(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or(HEADER)?;
    let value = value.trim_matches([' ', '\t']);
    header::check_raw(name, value.as_bytes()).map_err(|_| HEADER)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What counts as a blank in C.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Part {
        Part {
            name: "a".to_owned(),
            source: Source::Text(content.to_owned()),
            filename: None,
            content_type: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn what_curl_reads_too() {
        let check = |value: &str, expected: Part| assert_eq!(parse(value), Ok(expected), "{value}");
        let of_type = |content_type: &str| Part { content_type: Some(content_type.to_owned()), ..text("v") };
        let named = |filename: &str| Part { filename: Some(filename.to_owned()), ..text("v") };
        check("a=b=c", text("b=c"));
        check("a=", text(""));
        check("a= \n v\t", text("v"));
        check("a=\"v;x\"", text("v;x"));
        check(r#"a= " v\"\\n\n " ;"#, text(r#" v"\n\n "#));
        check("a=\"v", text("\"v"));
        check("a=v;; ;type=x/y", of_type("x/y"));
        check("a=v ; TYPE= x/y ", of_type("x/y"));
        check("a=v;type=\"x/y;z\"", of_type("\"x/y;z\""));
        check("a=v;type=x/y ; charset=utf-8;q ", of_type("x/y ; charset=utf-8;q"));
        let both = Part { filename: Some("n".to_owned()), ..of_type("x/y; q=1") };
        check("a=v;type=x/y; q=1;filename=n", both);
        check("a=v;filename=  x y ", named("x y"));
        check("a=v;filename=\" x;y \"", named(" x;y "));
        let headers = vec![("X".to_owned(), "y".to_owned()), ("Z".to_owned(), "1".to_owned())];
        check("a=v;headers=\"X: y\";headers=Z:1", Part { headers, ..text("v") });
        let file = |source| Part { source, ..text("") };
        check("a=@b", file(Source::Upload("b".to_owned())));
        check("a=@\"b,c;d\"", file(Source::Upload("b,c;d".to_owned())));
        check("a=< b c ", file(Source::Include("b c".to_owned())));
        check("a=v,w", text("v,w"));
        check("a= @b", text("@b"));
        check("=v", Part { name: String::new(), ..text("v") });
    }

    /// curl sends less than is given, or what is not supported here.
    #[test]
    fn what_would_be_sent_otherwise_is_refused() {
        let check = |value: &str, expected: &str| assert_eq!(parse(value), Err(expected), "{value}");
        check("v", WANTED);
        check("a=v;d", UNKNOWN);
        check("a=v;filename=x;y", UNKNOWN);
        check("a=\"v\" x", BEHIND);
        check("a=v;type=x", TYPE);
        check("a=v;type=", TYPE);
        check("a=v;type=x/\r\nX: y", TYPE);
        check("a=v;headers=X", HEADER);
        check("a=v;headers=", HEADER);
        check("a=v;headers=X:\r\nY: z", HEADER);
        check("a=v;headers=@file", HEADERS_FILE);
        check("a=v;encoder=base64", ENCODER);
        check("a=@b,c", FILES);
        check("a=@\"b\",c", FILES);
        check("a=(;type=x/y", NESTED);
        check("=)", NESTED);
        check("a=<b;filename=c", FILENAME);
    }
}
