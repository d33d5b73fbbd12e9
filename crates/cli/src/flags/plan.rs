//! From flags as typed to what `fetch` does: the one place that decides what flags mean together.
//!
//! Whatever cannot be is refused here, before anything is opened for writing. Files that flags name (`-d @file`,
//! `-H @file`, `--cacert`) are read here, because their content is part of the settings.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlapped_fetch::{
    Config, Family, Input, InputOptions, Network, Pace, Request, Response, Retry, Timeouts,
};
use overlapped_proto::filename::Template;
use overlapped_proto::input::{Format, Options};
use overlapped_proto::job::Method;

use super::fetch::{Flags, ListFormat, Progress};
use super::input::{self, Globbing, Source};
use super::output::Output;
use super::values::{Header, Ranges};
use crate::exit::Error;
use crate::terminal;

/// What `fetch` is to do.
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) input: Input,
    pub(crate) input_options: InputOptions,
    pub(crate) sinks: Sinks,
    pub(crate) waterfall: Option<PathBuf>,
    pub(crate) summary: Option<PathBuf>,
    pub(crate) show: Show,
}

/// Where records go.
#[derive(Debug)]
pub(crate) struct Sinks {
    pub(crate) main: Main,
    /// What `-o` names, without standard output.
    pub(crate) outputs: Vec<Output>,
    pub(crate) overwrite: bool,
    pub(crate) name: Template,
}

/// What standard output gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Main {
    /// The body of the one row; a failed row's body too.
    Body,
    /// The body of the one row, unless it failed.
    BodyIfOk,
    /// A line a row, for a person.
    Lines,
    /// NDJSON.
    Ndjson,
    /// Nothing: records go to files.
    Nothing,
}

/// How the run shows itself on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Show {
    pub(crate) meter: Meter,
    pub(crate) summary: bool,
    /// A line for every row.
    pub(crate) rows: bool,
    /// Why the one row failed.
    pub(crate) failure: bool,
}

/// What shows how far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    Bar,
    Lines,
    Nothing,
}

/// Decides what the flags mean together.
///
/// # Errors
///
/// [`Error::Usage`]: a value that cannot be, or a file that cannot be read.
pub(crate) fn plan(mut flags: Flags) -> Result<Plan, Error> {
    let query = match flags.get {
        true => Some(
            String::from_utf8(body(&flags.data, "&")?)
                .map_err(|_| Error::Usage("-G: the data is no text".into()))?,
        ),
        false => None,
    };
    let globbing = if flags.globoff { Globbing::Off } else { Globbing::On };
    let sources = input::sources(&flags.inputs, globbing)?;
    let one = matches!(sources.as_slice(), [Source::Url(_)]);
    let request = request(&flags)?;
    let network = network(&mut flags)?;
    let sinks = sinks(&mut flags, one)?;
    let reads_body = !matches!(sinks.main, Main::Lines | Main::Nothing) || !sinks.outputs.is_empty();
    Ok(Plan {
        show: show(&flags, one, sinks.main),
        config: Config {
            request,
            pace: pace(&flags),
            retry: Retry {
                retries: flags.retry,
                max_time: flags.retry_max_time.and_then(|span| span.0),
                all_errors: flags.retry_all_errors,
            },
            timeouts: timeouts(&flags)?,
            response: Response {
                body: reads_body && !flags.no_body,
                max_bytes: if flags.max_filesize.0 == 0 { u64::MAX } else { flags.max_filesize.0 },
                fail: flags.fail.take().map_or_else(|| Response::default().fail, |Ranges(ranges)| ranges),
                ..Response::default()
            },
            max_redirects: if flags.no_location { 0 } else { flags.max_redirs },
            network,
            ordered: flags.ordered,
            window_rows: at_least_one("--window", flags.window)?,
            ..Config::default()
        },
        input: input::list(sources, query)?,
        input_options: InputOptions {
            format: flags.input_format.map(|format| match format {
                ListFormat::Text => Format::Text,
                ListFormat::Ndjson => Format::Ndjson,
                ListFormat::Csv => Format::Csv,
                ListFormat::Tsv => Format::Tsv,
            }),
            columns: Options { url_column: flags.url_col.into(), ..Options::default() },
            skip: flags.skip,
            limit: flags.limit,
        },
        sinks,
        waterfall: flags.waterfall,
        summary: flags.summary,
    })
}

fn pace(flags: &Flags) -> Pace {
    Pace {
        parallel_max: flags.parallel_max,
        parallel_max_host: flags.parallel_max_host,
        rate: flags.rate,
        rate_host: flags.rate_host,
        adaptive: !flags.no_adaptive,
        max_host_errors: flags.max_host_errors,
    }
}

fn timeouts(flags: &Flags) -> Result<Timeouts, Error> {
    let speed = match (flags.speed_limit.0, flags.speed_time.0) {
        (0, _) | (_, None) => None,
        (_, Some(span)) if span < Duration::from_secs(1) => {
            return Err(Error::Usage(
                "--speed-time is at least 1 s: a speed needs some time to be seen".to_owned(),
            ));
        }
        (bytes, Some(span)) => Some((bytes, span)),
    };
    Ok(Timeouts {
        connect: flags.connect_timeout.0,
        first_byte: flags.first_byte_timeout.0,
        speed,
        total: flags.max_time.0,
        ..Timeouts::default()
    })
}

fn request(flags: &Flags) -> Result<Request, Error> {
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
    let named = [("user-agent", &flags.user_agent), ("referer", &flags.referer)];
    for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        add(name, value);
    }
    if let Some(cookies) = &flags.cookie {
        if !cookies.contains('=') {
            return Err(Error::Usage(
                "-b reads no cookie file yet; it sends cookies: -b 'a=1; b=2'".to_owned(),
            ));
        }
        add("cookie", cookies);
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
        user: flags.user.clone().map(|user| (user.0, user.1)),
        bearer: flags.oauth2_bearer.clone(),
        compressed: !flags.no_compressed,
    })
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
        let text = match value.strip_prefix('@') {
            Some(path) => String::from_utf8(read(path)?)
                .map_err(|_| Error::Usage(format!("-H {value}: the file is not UTF-8 text")))?,
            None => value.clone(),
        };
        let lines = if value.starts_with('@') { text.lines().collect() } else { vec![text.as_str()] };
        for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
            fields.push(line.parse().map_err(|what| Error::Usage(format!("-H: {what}")))?);
        }
    }
    Ok(fields)
}

/// The values of `-d` or `--json`, joined. As in curl, a form's file loses its line ends.
fn body(values: &[String], with: &str) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            body.extend_from_slice(with.as_bytes());
        }
        match value.strip_prefix('@') {
            Some(path) => {
                let bytes = read(path)?;
                let form = !with.is_empty();
                body.extend(bytes.into_iter().filter(|byte| !form || !matches!(byte, b'\r' | b'\n' | 0)));
            }
            None => body.extend_from_slice(value.as_bytes()),
        }
    }
    Ok(body)
}

fn network(flags: &mut Flags) -> Result<Network, Error> {
    let ca_pem = match &flags.cacert {
        Some(path) => Some(fs::read(path).map_err(|error| Error::reading(path, &error))?),
        None => None,
    };
    Ok(Network {
        family: match (flags.ipv4, flags.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            (false, false) => None,
        },
        ca_pem,
        insecure_hosts: std::mem::take(&mut flags.insecure_hosts),
        resolve: flags.resolve.drain(..).map(|given| (given.host, given.port, given.addresses)).collect(),
        public_only: flags.public_only,
        allow_addresses: std::mem::take(&mut flags.allow_addresses),
    })
}

fn sinks(flags: &mut Flags, one: bool) -> Result<Sinks, Error> {
    let (stdout, outputs): (Vec<_>, Vec<_>) =
        flags.outputs.drain(..).partition(|output| *output == Output::Stdout);
    let main = match (stdout.len(), outputs.is_empty()) {
        (1, _) => Main::Ndjson,
        (0, false) => Main::Nothing,
        (0, true) if one && flags.fail.is_some() => Main::BodyIfOk,
        (0, true) if one => Main::Body,
        (0, true) if terminal::stdout_is_seen() => Main::Lines,
        (0, true) => Main::Ndjson,
        _ => return Err(Error::Usage("-o - is given twice".to_owned())),
    };
    if outputs.iter().enumerate().any(|(i, output)| outputs.iter().skip(i + 1).any(|other| other == output)) {
        return Err(Error::Usage("-o names the same output twice".to_owned()));
    }
    let has_directory = outputs.iter().any(|output| matches!(output, Output::Directory(_)));
    if flags.name.is_some() && !has_directory {
        return Err(Error::Usage("--name names the files of -o DIR/, which is not given".to_owned()));
    }
    if flags.no_body && (has_directory || matches!(main, Main::Body | Main::BodyIfOk)) {
        return Err(Error::Usage("--no-body leaves nothing to write: add -o - or -o F.ndjson".to_owned()));
    }
    let name = match &flags.name {
        Some(text) => Template::parse(text).map_err(|error| Error::Usage(format!("--name: {error}")))?,
        None => Template::default(),
    };
    Ok(Sinks { main, outputs, overwrite: flags.overwrite, name })
}

fn show(flags: &Flags, one: bool, main: Main) -> Show {
    let meter = match flags.progress {
        _ if flags.silent => Meter::Nothing,
        Progress::Bar => Meter::Bar,
        Progress::Plain => Meter::Lines,
        Progress::None => Meter::Nothing,
        // One row needs none. Lines on the same terminal show that it moves; a bar would tear them apart.
        Progress::Auto if one || flags.verbose => Meter::Nothing,
        Progress::Auto if main != Main::Nothing && terminal::stdout_is_seen() => Meter::Nothing,
        Progress::Auto if terminal::stderr_is_seen() => Meter::Bar,
        Progress::Auto => Meter::Lines,
    };
    Show { meter, summary: !one && !flags.silent, rows: flags.verbose, failure: one }
}

fn at_least_one(flag: &str, value: usize) -> Result<usize, Error> {
    if value == 0 { Err(Error::Usage(format!("{flag} is at least 1"))) } else { Ok(value) }
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
