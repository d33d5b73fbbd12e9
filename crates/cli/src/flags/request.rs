//! The request template: method, header fields and body, from curl's flags.
//!
//! The files that flags name (`-d @file`, `-H @file`) are read here, because their content is part of the settings.

use std::fs;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use overlapped_fetch::{Netrc, Request, UploadFile};
use overlapped_proto::httpdate::http_date;
use overlapped_proto::job::Method;
use overlapped_proto::{limits, retry};
use serde::de::IgnoredAny;

use super::cookies;
use super::data::{self, read};
use super::fetch::Flags;
use super::form;
use super::payload::{Opener, Payload, sending};
use super::values::{Header, User, variable};
use crate::exit::Error;

/// # Errors
///
/// A header field or a method is invalid, or a file cannot be read.
pub(super) fn request(flags: &Flags) -> Result<Request, Error> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    let body = body(flags)?;
    if let Some(Body { content_type: Some(content_type), .. }) = &body {
        add("content-type", content_type);
    }
    if !flags.json.is_empty() {
        add("accept", "application/json");
    }
    let cookies = cookies::text(flags);
    let range = flags.range.as_ref().map(|range| format!("bytes={range}"));
    let named = [
        ("user-agent", &flags.user_agent),
        ("referer", &flags.referer),
        ("cookie", &cookies),
        ("range", &range),
    ];
    for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        add(name, value);
    }
    if let Some(value) = &flags.time_cond {
        let (name, date) = condition(value)?;
        add(name, &date);
    }
    // -H overrides the fields that other flags imply.
    let given = header_fields(&flags.headers)?;
    headers.retain(|(implied, _)| !given.iter().any(|Header(name, _)| name.eq_ignore_ascii_case(implied)));
    headers.extend(given.into_iter().map(|Header(name, value)| (name, value)));
    let method = method(flags, body.is_some())?;
    let (body, body_file) = match body.map(|body| body.payload) {
        None => (None, None),
        Some(Payload::Bytes(bytes)) => (Some(bytes.into()), None),
        Some(Payload::File(file)) => (None, Some(file)),
    };
    Ok(Request {
        method,
        headers,
        body,
        body_file,
        body_dir: flags.body_dir.clone(),
        user: flags.user.as_deref().map(|user| user_of("-u", user)).transpose()?,
        bearer: flags
            .oauth2_bearer
            .as_deref()
            .map(|token| elsewhere("--oauth2-bearer", token))
            .transpose()?,
        netrc: netrc(flags)?,
        // A part of an encoded body cannot be decoded.
        compressed: !flags.no_compressed && flags.range.is_none(),
    })
}

/// The body of every request.
struct Body {
    /// `None`: unknown.
    content_type: Option<String>,
    payload: Payload,
}

/// The body from a file, JSON, or a form that is not moved to the query.
fn body(flags: &Flags) -> Result<Option<Body>, Error> {
    let of =
        |content_type: &str, payload| Some(Body { content_type: Some(content_type.to_owned()), payload });
    if let Some(path) = &flags.upload_file {
        let payload = Payload::of([Opener::default().file(path)?])?;
        return Ok(Some(Body { content_type: None, payload }));
    }
    if !flags.json.is_empty() {
        let mut opener = Opener::default();
        let parts = flags.json.iter().map(|value| json(value, &mut opener));
        let json = UploadFile::joined(parts.collect::<Result<Vec<_>, _>>()?);
        let text = BufReader::with_capacity(limits::UPLOAD_BLOCK_BYTES, json.reader());
        let mut values = serde_json::Deserializer::from_reader(text).into_iter::<IgnoredAny>();
        // The message gives the position only, because the data may be secret.
        if let Some(Err(error)) = values.find(Result::is_err) {
            if error.is_io() {
                return Err(sending(&error.into()));
            }
            return Err(Error::Usage(format!(
                "--json: this is no JSON: {error}; to send it as it is, use --data-binary and -H 'Content-Type: application/json'"
            )));
        }
        return Ok(of("application/json", Payload::of([json])?));
    }
    if let Some(form) = form::form(flags)? {
        return Ok(of(&format!("multipart/form-data; boundary={}", form.boundary), form.body));
    }
    if flags.get {
        return Ok(None);
    }
    let form = data::body(flags)?;
    Ok(form.and_then(|form| of("application/x-www-form-urlencoded", form)))
}

/// The query that `-G` makes of the data.
///
/// # Errors
///
/// The data cannot be read, or is no text.
pub(super) fn query(flags: &Flags) -> Result<Option<String>, Error> {
    if !flags.get {
        return Ok(None);
    }
    let data = match data::body(flags)? {
        None => Vec::new(),
        Some(Payload::Bytes(bytes)) => bytes,
        Some(Payload::File(_)) => {
            return Err(Error::Usage("-G: the data is larger than any URL may be".to_owned()));
        }
    };
    String::from_utf8(data).map(Some).map_err(|_| Error::Usage("-G: the data is no text".to_owned()))
}

fn method(flags: &Flags, has_body: bool) -> Result<Method, Error> {
    match &flags.request {
        Some(text) => Method::parse(text).ok_or_else(|| Error::Usage(format!("-X: `{text}` is no method"))),
        None if flags.head => Ok(Method::Head),
        None if flags.upload_file.is_some() => Ok(Method::Put),
        None if has_body => Ok(Method::Post),
        None => Ok(Method::Get),
    }
}

/// The fields of every `-H`, those of `@FILE` in its place.
pub(super) fn header_fields(values: &[String]) -> Result<Vec<Header>, Error> {
    let mut fields = Vec::new();
    for value in values {
        let text = elsewhere("-H", value)?;
        let lines = if text == *value { vec![text.as_str()] } else { text.lines().collect() };
        for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
            fields.push(line.parse().map_err(|what| Error::Usage(format!("-H: {what}")))?);
        }
    }
    Ok(fields)
}

/// JSON does not begin with `$`, so `$NAME` can mean a variable here. A form may begin with it.
fn json(value: &str, opener: &mut Opener) -> Result<UploadFile, Error> {
    match (variable(value), value.strip_prefix('@')) {
        (None, Some(path)) => opener.file(path),
        (Some(_), _) => elsewhere("--json", value).map(|text| UploadFile::held(text.into_bytes())),
        (None, None) => Ok(UploadFile::held(value.as_bytes().to_vec())),
    }
}

/// A user name and a password.
pub(super) fn user_of(flag: &str, value: &str) -> Result<(String, String), Error> {
    // A user name may begin with @, but then a colon and a password follow.
    let text = if value.contains(':') { value.to_owned() } else { elsewhere(flag, value)? };
    let User(name, password) = text.parse().map_err(|what| Error::Usage(format!("{flag}: {what}")))?;
    Ok((name, password))
}

/// The file of `-n` or `--netrc-file`. The one in the home directory need not be there, as with curl.
fn netrc(flags: &Flags) -> Result<Option<Arc<Netrc>>, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (path, is_named) = match (&flags.netrc_file, flags.netrc, set("NETRC"), set("HOME")) {
        (Some(path), _, _, _) => (path.clone(), true),
        (None, false, _, _) => return Ok(None),
        (None, true, Some(path), _) => (path, true),
        (None, true, None, Some(home)) => (home.join(".netrc"), false),
        (None, true, None, None) => {
            return Err(Error::Usage("-n: neither $NETRC nor $HOME is set: --netrc-file FILE".to_owned()));
        }
    };
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => return Ok(None),
        text => text.map_err(|error| Error::reading(&path, &error))?,
    };
    match Netrc::parse(&text) {
        Ok(netrc) => Ok(Some(Arc::new(netrc))),
        Err(invalid) => Err(Error::Usage(format!("{}: {invalid}", path.display()))),
    }
}

/// A value that may be read from a file (`@FILE`) or from an environment variable (`$NAME`, quoted from the shell), since
/// other users of the machine can read the command line. Any other value is literal.
pub(super) fn elsewhere(flag: &str, value: &str) -> Result<String, Error> {
    if let Some(name) = variable(value) {
        return std::env::var(name).map_err(|_| {
            Error::Usage(format!("{flag} {value}: the environment variable is not set, or is not UTF-8 text"))
        });
    }
    let Some(path) = value.strip_prefix('@') else { return Ok(value.to_owned()) };
    let text = String::from_utf8(read(path)?)
        .map_err(|_| Error::Usage(format!("{flag} {value}: the file is not UTF-8 text")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The header field of `-z`: with the modification time of a file, or an HTTP date.
fn condition(value: &str) -> Result<(&'static str, String), Error> {
    let (name, value) = match value.strip_prefix('-') {
        Some(value) => ("if-unmodified-since", value),
        None => ("if-modified-since", value),
    };
    if let Ok(modified) = fs::metadata(value).and_then(|file| file.modified()) {
        let since_1970 = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        return Ok((name, http_date(i64::try_from(since_1970).unwrap_or(i64::MAX))));
    }
    let is_date = value.contains(' ') && retry::after(value.as_bytes(), 0).is_some();
    if is_date {
        return Ok((name, value.to_owned()));
    }
    Err(Error::Usage(format!("-z: `{value}` is no file, and no date like 'Sun, 06 Nov 1994 08:49:37 GMT'")))
}
