//! What every request says: method, header fields and body, from the flags that curl has for them.
//!
//! Files that flags name (`-d @file`, `-H @file`) are read here, because their content is part of the settings.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use overlapped_fetch::Request;
use overlapped_proto::job::Method;

use super::fetch::Flags;
use super::values::{Header, User, variable};
use crate::exit::Error;

/// # Errors
///
/// A header, a method or a file is not what it must be.
pub(super) fn request(flags: &Flags) -> Result<Request, Error> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    let has_data = !flags.data.is_empty() || !flags.json.is_empty();
    let has_body = has_data && !flags.get;
    if !flags.json.is_empty() {
        add("content-type", "application/json");
        add("accept", "application/json");
    } else if has_body {
        add("content-type", "application/x-www-form-urlencoded");
    }
    let named = [("user-agent", &flags.user_agent), ("referer", &flags.referer), ("cookie", &flags.cookie)];
    for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        add(name, value);
    }
    if flags.cookie.as_ref().is_some_and(|cookies| !cookies.contains('=')) {
        return Err(Error::Usage("-b reads no cookie file yet; it sends cookies: -b 'a=1; b=2'".to_owned()));
    }
    // What -H says wins over what other flags imply.
    let given = header_fields(&flags.headers)?;
    headers.retain(|(implied, _)| !given.iter().any(|Header(name, _)| name.eq_ignore_ascii_case(implied)));
    headers.extend(given.into_iter().map(|Header(name, value)| (name, value)));
    let body = match has_body {
        true if flags.json.is_empty() => Some(body(&flags.data, "&")?),
        true => Some(body(&flags.json, "")?),
        false => None,
    };
    Ok(Request {
        method: method(flags, has_body)?,
        headers,
        body: body.map(Into::into),
        user: flags.user.as_deref().map(user).transpose()?,
        bearer: flags
            .oauth2_bearer
            .as_deref()
            .map(|token| elsewhere("--oauth2-bearer", token))
            .transpose()?,
        compressed: !flags.no_compressed,
    })
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
    let text = String::from_utf8(body(&flags.data, "&")?);
    text.map(Some).map_err(|_| Error::Usage("-G: the data is no text".to_owned()))
}

fn method(flags: &Flags, has_body: bool) -> Result<Method, Error> {
    match &flags.request {
        Some(text) => Method::parse(text).ok_or_else(|| Error::Usage(format!("-X: `{text}` is no method"))),
        None if flags.head => Ok(Method::Head),
        None if has_body => Ok(Method::Post),
        None => Ok(Method::Get),
    }
}

/// The fields of every `-H`, those of `@FILE` in its place.
fn header_fields(values: &[String]) -> Result<Vec<Header>, Error> {
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

fn user(value: &str) -> Result<(String, String), Error> {
    // A name may begin with @ too, but then a password follows.
    let text = if value.contains(':') { value.to_owned() } else { elsewhere("-u", value)? };
    let User(name, password) = text.parse().map_err(|what| Error::Usage(format!("-u: {what}")))?;
    Ok((name, password))
}

/// A value that is better not given on the command line, where others of the machine may see it: in a file, as `@FILE`,
/// or in a variable of the environment, as `$NAME` between quotes that keep the shell from it. Else it is itself.
fn elsewhere(flag: &str, value: &str) -> Result<String, Error> {
    if let Some(name) = variable(value) {
        return std::env::var(name).map_err(|_| {
            Error::Usage(format!("{flag} {value}: the environment has no such variable, or it is no text"))
        });
    }
    let Some(path) = value.strip_prefix('@') else { return Ok(value.to_owned()) };
    let text = String::from_utf8(read(path)?)
        .map_err(|_| Error::Usage(format!("{flag} {value}: the file is not UTF-8 text")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The values of `-d` or `--json`, joined. As in curl, a form's file loses its line ends.
fn body(values: &[String], with: &str) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            body.extend_from_slice(with.as_bytes());
        }
        let form = !with.is_empty();
        match value.strip_prefix('@') {
            // JSON does not begin so; a form may.
            None if !form && variable(value).is_some() => {
                body.extend_from_slice(elsewhere("--json", value)?.as_bytes());
            }
            Some(path) => {
                let bytes = read(path)?;
                body.extend(bytes.into_iter().filter(|byte| !form || !matches!(byte, b'\r' | b'\n' | 0)));
            }
            None => body.extend_from_slice(value.as_bytes()),
        }
    }
    Ok(body)
}

/// A file that a flag names with @; `-` is standard input.
fn read(path: &str) -> Result<Vec<u8>, Error> {
    let path = Path::new(path);
    let mut bytes = Vec::new();
    let done = if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        fs::read(path).map(|read| bytes = read)
    };
    done.map_err(|error| Error::reading(path, &error)).map(|()| bytes)
}
