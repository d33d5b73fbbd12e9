//! Makes a job from the columns of a row of NDJSON or a table: some are options of the request, the others are passed
//! through to the record.
//!
//! An option of the wrong type makes the row bad. A column that is not an option by its exact name is passed through.

use std::borrow::Cow;

use url::Url;

use crate::base64::decode as from_base64;
use crate::error::ErrorKind;
use crate::header;
use crate::job::{Ask, Job, Method, Row};
use crate::limits::{INPUT_ROW_BYTES_MAX, QUOTE_BYTES_MAX};
use crate::outcome::Failure;
use crate::record::mark::{MARKS, is_record};
use crate::record::text::push_json;
use crate::sanitize;
use crate::time::Nanos;

use super::url::Parser;
use super::{BadRow, Keep, Options, json};

/// One cell of a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell<'a> {
    /// Plain text, from a table.
    Text(&'a str),
    /// A JSON value, as raw text.
    Json(&'a str),
}

/// What a column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Url,
    Id,
    Method,
    Headers,
    Body,
    BodyBase64,
    BodyFile,
    Json,
    Out,
    Etag,
    LastModified,
    Sha256,
    Timeout,
    /// Passed through to the record.
    Kept,
    /// The `meta` of an earlier record, which is passed through again.
    Meta,
    /// Not used.
    Dropped,
}

/// The columns that are options of a request, beside the URL.
pub(super) const OPTIONS: &[(&str, Column)] = &[
    ("id", Column::Id),
    ("method", Column::Method),
    ("headers", Column::Headers),
    ("body", Column::Body),
    ("body_base64", Column::BodyBase64),
    ("body_file", Column::BodyFile),
    ("json", Column::Json),
    ("out", Column::Out),
    ("etag", Column::Etag),
    ("last_modified", Column::LastModified),
    ("sha256", Column::Sha256),
    ("timeout_s", Column::Timeout),
];

/// What is wrong with a body beside another one.
const SECOND_BODY: &str = "is a second body";

/// The columns of a record that are used when it is a row again, beside the URL, and the two that identify a record.
pub(super) const RECORD_COLUMNS: [&str; 7] =
    ["id", "method", "etag", "last_modified", "meta", MARKS[0], MARKS[1]];

/// The meaning of the columns of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    options: &'a Options,
    /// The columns are those of a record of ours, from an earlier run. Then `body`, `headers` and `sha256` are those
    /// of the response, and only the columns that apply to a new request are used.
    record: bool,
}

impl<'a> Columns<'a> {
    pub(super) fn new<'n>(options: &'a Options, names: impl Iterator<Item = &'n str> + Clone) -> Self {
        Self { options, record: is_record(names) }
    }

    pub(super) fn are_of_a_record(self) -> bool {
        self.record
    }

    pub(super) fn column(self, name: &str) -> Column {
        if *name == *self.options.url_column {
            return Column::Url;
        }
        let option = OPTIONS.iter().find(|(option, _)| *option == name).map(|(_, column)| *column);
        if self.record {
            return match name {
                "id" | "method" | "etag" | "last_modified" => option.unwrap_or(Column::Dropped),
                "meta" => Column::Meta,
                _ => Column::Dropped,
            };
        }
        option.unwrap_or(match &self.options.keep {
            Keep::All => Column::Kept,
            Keep::Columns(names) if names.iter().any(|kept| **kept == *name) => Column::Kept,
            Keep::None | Keep::Columns(_) => Column::Dropped,
        })
    }
}

impl Column {
    /// True for a column that may be missing in a record, and of which no valid value looks like a word for null.
    pub(super) fn may_be_absent(self) -> bool {
        match self {
            Self::Method | Self::Etag | Self::LastModified | Self::Meta => true,
            Self::Url
            | Self::Id
            | Self::Headers
            | Self::Body
            | Self::BodyBase64
            | Self::BodyFile
            | Self::Json
            | Self::Out
            | Self::Sha256
            | Self::Timeout
            | Self::Kept
            | Self::Dropped => false,
        }
    }
}

/// Makes the job of a row that was not read from a list, with the same checks. `urls` parses one row after the other.
///
/// # Errors
///
/// What is wrong with it.
pub fn typed(row: Row, url: &str, mut ask: Ask, urls: &mut Parser) -> Result<Job, BadRow> {
    let bad = |failure, ask: Ask| BadRow {
        id: ask.id,
        meta: ask.meta,
        ..BadRow::new(row, url.as_bytes(), failure)
    };
    let problem = if url.len() > INPUT_ROW_BYTES_MAX {
        let message = format!("the URL has {} bytes; the most is {INPUT_ROW_BYTES_MAX}", url.len());
        Err(Failure::new(ErrorKind::InputTooLong, message))
    } else {
        check_typed(&mut ask).and_then(|()| urls.parse(url))
    };
    match problem {
        Ok(parsed) => {
            let mut job = Job::new(row, parsed).given_as(url);
            if ask != Ask::default() {
                job.ask = Some(Box::new(ask));
            }
            Ok(job)
        }
        Err(failure) => Err(bad(failure, ask)),
    }
}

fn check_typed(ask: &mut Ask) -> Result<(), Failure> {
    if ask.body.is_some() && ask.body_file.is_some() {
        return Err(bad("body_file", SECOND_BODY));
    }
    if ask.has_body() {
        ask.method.get_or_insert(Method::Post);
    }
    let conditions = [("if-none-match", &ask.etag), ("if-modified-since", &ask.last_modified)];
    let conditions = conditions.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let headers = ask.headers.iter().map(|(name, value)| (&**name, &**value));
    headers.chain(conditions).try_for_each(|(name, value)| header::check(name, value))?;
    if let Some(meta) = ask.meta.take() {
        let object = Some(meta.trim()).filter(|meta| meta.starts_with('{') && json::is_valid(meta));
        let object = object.and_then(json::one_line).ok_or_else(|| bad("meta", "is not a JSON object"))?;
        ask.meta = Some(object.into());
    }
    Ok(())
}

/// A row whose columns are being read.
#[derive(Debug, Default)]
pub(super) struct Draft<'a> {
    url: Option<Cow<'a, str>>,
    ask: Ask,
    /// The members of `meta`, each with a comma before it.
    members: Vec<u8>,
    /// The body is JSON.
    json: bool,
    /// The first failure. The rest is still read, so that the record has the row's own name.
    failure: Option<Failure>,
}

impl<'a> Draft<'a> {
    pub(super) fn set(&mut self, column: Column, name: &str, cell: Cell<'a>) {
        if let Err(failure) = self.try_set(column, name, cell) {
            self.fail(failure);
        }
    }

    fn try_set(&mut self, column: Column, name: &str, cell: Cell<'a>) -> Result<(), Failure> {
        let ask = &mut self.ask;
        match column {
            Column::Url => set(&mut self.url, cell.text(name)?, name),
            Column::Id => set(&mut ask.id, cell.label(name)?.map(Into::into), name),
            Column::Method => set(&mut ask.method, cell.text(name)?.map(method).transpose()?, name),
            Column::Headers => match cell.json(name)? {
                Some(object) => headers(object, &mut ask.headers),
                None => Ok(()),
            },
            Column::Body => self.body(cell.text(name)?.map(|text| text.as_bytes().into()), name),
            Column::BodyBase64 => self.body(cell.text(name)?.map(base64).transpose()?, name),
            Column::Json => {
                let value = cell.json(name)?;
                self.json |= value.is_some();
                self.body(value.map(|json| json.as_bytes().into()), name)
            }
            Column::BodyFile => match cell.text(name)? {
                Some(_) if ask.body.is_some() => Err(bad(name, SECOND_BODY)),
                path => set(&mut ask.body_file, path.map(Into::into), name),
            },
            Column::Out => set(&mut ask.out, cell.text(name)?.map(Into::into), name),
            Column::Etag => set(&mut ask.etag, cell.field(name, "if-none-match")?, name),
            Column::LastModified => set(&mut ask.last_modified, cell.field(name, "if-modified-since")?, name),
            Column::Sha256 => set(&mut ask.sha256, cell.text(name)?.map(sha256).transpose()?, name),
            Column::Timeout => set(&mut ask.timeout, cell.label(name)?.map(seconds).transpose()?, name),
            Column::Kept => self.keep(name, cell),
            Column::Meta => self.meta(cell, name),
            Column::Dropped => Ok(()),
        }
    }

    fn body(&mut self, body: Option<Box<[u8]>>, name: &str) -> Result<(), Failure> {
        let is_second = body.is_some() && self.ask.has_body();
        if is_second { Err(bad(name, SECOND_BODY)) } else { set(&mut self.ask.body, body, name) }
    }

    /// The `meta` of a record. Other programs may rewrite an object in a format of their own; if it is not JSON any more it
    /// is dropped, with a note, and the row is fetched.
    fn meta(&mut self, cell: Cell<'_>, name: &str) -> Result<(), Failure> {
        if cell.is_null() {
            return Ok(());
        }
        let text = match cell {
            Cell::Text(text) => Some(Cow::Borrowed(text)),
            // As text in a string, where a column of objects has become one of text.
            Cell::Json(json) if json.starts_with('"') => json::string(json),
            Cell::Json(json) => Some(Cow::Borrowed(json)),
        };
        let object = text.as_deref().map(str::trim).filter(|text| text.starts_with('{'));
        match object.filter(|text| json::is_valid(text)).and_then(json::one_line) {
            Some(object) => set(&mut self.ask.meta, Some(object.into()), name),
            None => {
                self.ask.meta_dropped = true;
                Ok(())
            }
        }
    }

    fn keep(&mut self, name: &str, cell: Cell<'_>) -> Result<(), Failure> {
        let json = match cell {
            Cell::Text(_) => None,
            Cell::Json(json) => json::one_line(json),
        };
        self.members.push(b',');
        push_json(name, &mut self.members);
        self.members.push(b':');
        match (cell, json) {
            (Cell::Text(text), _) => push_json(text, &mut self.members),
            (Cell::Json(_), Some(json)) => self.members.extend_from_slice(json.as_bytes()),
            (Cell::Json(_), None) => {
                self.members.extend_from_slice(b"null");
                return Err(bad(name, "is not JSON that can be passed on"));
            }
        }
        Ok(())
    }

    /// Records a failure of the row as a whole.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Makes the job, or the bad row. `whole` is shown for a bad row without a URL.
    pub(super) fn finish(mut self, row: Row, whole: &[u8]) -> Result<Job, BadRow> {
        self.close_meta();
        let url = match (self.failure.take(), self.url.as_deref()) {
            (Some(failure), _) => Err(failure),
            (None, Some(text)) => super::url::parse(text.trim_ascii()),
            (None, None) => Err(Failure::new(ErrorKind::InputEmpty, "the row has no URL")),
        };
        match url {
            Ok(url) => Ok(self.job(row, url)),
            Err(failure) => {
                let given = self.url.as_ref().map_or(whole, |url| url.trim_ascii().as_bytes());
                let Ask { id, meta, .. } = self.ask;
                Err(BadRow { id, meta, ..BadRow::new(row, given, failure) })
            }
        }
    }

    fn close_meta(&mut self) {
        if let Some(comma) = self.members.first_mut() {
            *comma = b'{';
            self.members.push(b'}');
            self.ask.meta = Some(String::from_utf8_lossy(&self.members).into());
        }
    }

    fn job(mut self, row: Row, url: Url) -> Job {
        if self.ask.has_body() {
            self.ask.method.get_or_insert(Method::Post);
        }
        if self.json {
            self.default_header("content-type", "application/json");
            self.default_header("accept", "application/json");
        }
        let mut job = Job::new(row, url).given_as(self.url.as_deref().unwrap_or_default().trim_ascii());
        if self.ask != Ask::default() {
            job.ask = Some(Box::new(self.ask));
        }
        job
    }

    fn default_header(&mut self, name: &str, value: &str) {
        if !self.ask.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            self.ask.headers.push((name.into(), value.into()));
        }
    }
}

impl<'a> Cell<'a> {
    fn is_null(self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Json(json) => json == "null",
        }
    }

    /// Text; an empty cell of a table and a JSON `null` are none.
    fn text(self, name: &str) -> Result<Option<Cow<'a, str>>, Failure> {
        match self {
            _ if self.is_null() => Ok(None),
            Self::Text(text) => Ok(Some(text.into())),
            Self::Json(json) => json::string(json).map(Some).ok_or_else(|| bad(name, "is not a string")),
        }
    }

    /// Text or a number, as text.
    fn label(self, name: &str) -> Result<Option<Cow<'a, str>>, Failure> {
        match self {
            Self::Json(json) if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                Ok(Some(json.into()))
            }
            Self::Json(_) | Self::Text(_) => self.text(name),
        }
    }

    /// A JSON value, which is text in a table.
    fn json(self, name: &str) -> Result<Option<&'a str>, Failure> {
        match self {
            _ if self.is_null() => Ok(None),
            Self::Json(json) => Ok(Some(json)),
            Self::Text(text) if json::is_valid(text) => Ok(Some(text)),
            Self::Text(_) => Err(bad(name, "is not JSON")),
        }
    }

    /// Text that becomes the value of a header.
    fn field(self, name: &str, header: &str) -> Result<Option<Box<str>>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        header::check(header, &text)?;
        Ok(Some(text.into()))
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>, name: &str) -> Result<(), Failure> {
    match value {
        Some(_) if slot.is_some() => Err(bad(name, "is given twice")),
        Some(value) => {
            *slot = Some(value);
            Ok(())
        }
        None => Ok(()),
    }
}

fn method(text: Cow<'_, str>) -> Result<Method, Failure> {
    Method::parse(&text).ok_or_else(|| bad("method", "is not the name of a method"))
}

fn base64(text: Cow<'_, str>) -> Result<Box<[u8]>, Failure> {
    from_base64(&text).map(Into::into).ok_or_else(|| bad("body_base64", "is not Base64"))
}

fn sha256(text: Cow<'_, str>) -> Result<[u8; 32], Failure> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    let digest = bytes.and_then(|bytes| bytes.try_into().ok());
    digest.ok_or_else(|| bad("sha256", "is not 64 hexadecimal digits"))
}

fn seconds(text: Cow<'_, str>) -> Result<Nanos, Failure> {
    match text.trim().parse::<f64>() {
        Ok(0.0) => Ok(Nanos::MAX),
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => {
            Ok(std::time::Duration::from_secs_f64(seconds).into())
        }
        Ok(_) | Err(_) => Err(bad("timeout_s", "is not a number of seconds")),
    }
}

/// An object of strings, numbers and lists of them.
fn headers(object: &str, into: &mut Vec<(Box<str>, Box<str>)>) -> Result<(), Failure> {
    let wrong = || bad("headers", "is not an object whose values are strings or lists of strings");
    for (name, value) in json::members(object).map_err(|_| wrong())? {
        let values =
            if value.starts_with('[') { json::elements(value).ok_or_else(wrong)? } else { vec![value] };
        for value in values {
            let text = Cell::Json(value).label("headers").map_err(|_| wrong())?.ok_or_else(wrong)?;
            header::check(&name, &text)?;
            into.push((Box::from(&*name), text.into()));
        }
    }
    Ok(())
}

fn bad(name: &str, problem: &str) -> Failure {
    let name = sanitize::quote(name.as_bytes(), QUOTE_BYTES_MAX);
    Failure::new(ErrorKind::InputFormat, format!("{name} {problem}"))
}
