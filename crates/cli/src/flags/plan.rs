//! From flags as typed to what `fetch` does: the one place that decides what flags mean together.
//!
//! Whatever cannot be is refused here, before anything is opened for writing.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use overlapped_fetch::durable::{self, Begin, Durability, Durable};
use overlapped_fetch::{Config, Family, Input, InputOptions, Network, Pace, Response, Retry, Timeouts};
use overlapped_proto::bucket::Rate;
use overlapped_proto::display::{redact, shown};
use overlapped_proto::filename::Template;
use overlapped_proto::input::Options;
use overlapped_proto::record::csv;
use overlapped_proto::stop::MaxErrors;
use overlapped_proto::time::Nanos;

use super::fetch::{self, Flags, Progress};
use super::input::{self, Globbing, Source};
use super::output::Output;
use super::request::{query, request};
use super::values::Ranges;
use crate::exit::Error;
use crate::terminal;

/// What `fetch` is to do.
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) input: Input,
    pub(crate) input_options: InputOptions,
    pub(crate) sinks: Sinks,
    /// The state that the run keeps, if it keeps one.
    pub(crate) durable: Option<Durable>,
    pub(crate) waterfall: Option<PathBuf>,
    pub(crate) summary: Option<PathBuf>,
    /// What is fetched, as it was asked for.
    pub(crate) title: String,
    pub(crate) show: Show,
    /// Only count what the list asks for.
    pub(crate) dry_run: bool,
}

/// Where records go.
#[derive(Debug)]
pub(crate) struct Sinks {
    pub(crate) main: Main,
    /// What `-o` names, without standard output.
    pub(crate) outputs: Vec<Output>,
    pub(crate) overwrite: bool,
    pub(crate) name: Template,
    pub(crate) csv: csv::Guard,
}

/// What standard output gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Main {
    /// The body of the one row; a failed row's body too.
    Body,
    /// The body of the one row, unless it failed.
    BodyIfOk,
    /// The head of the one row's response.
    Head,
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
    let query = query(&flags)?;
    let globbing = if flags.globoff { Globbing::Off } else { Globbing::On };
    let sources = input::sources(&flags.inputs, globbing)?;
    let one = matches!(sources.as_slice(), [Source::Url(_)]);
    let sinks = sinks(&mut flags, one)?;
    let durable = durable(&flags, &sinks)?;
    let (input, format) = input::list(sources, query, flags.input_format.map(Into::into))?;
    Ok(Plan {
        show: show(&flags, one, sinks.main),
        dry_run: flags.dry_run,
        config: config(&mut flags, &sinks)?,
        input,
        input_options: InputOptions {
            format,
            columns: Options { url_column: flags.url_col.into(), ..Options::default() },
            skip: flags.skip,
            limit: flags.limit,
            shard: flags.shard,
        },
        sinks,
        durable,
        waterfall: flags.waterfall,
        summary: flags.summary,
        title: title(&flags.inputs),
    })
}

/// What is fetched, for a person. The name of a list may hold an `@`, and is no URL.
fn title(inputs: &[String]) -> String {
    let words = inputs.iter().map(|word| if word.starts_with('@') { word.clone() } else { shown(word) });
    words.collect::<Vec<_>>().join(" ")
}

fn config(flags: &mut Flags, sinks: &Sinks) -> Result<Config, Error> {
    let reads_body =
        !matches!(sinks.main, Main::Lines | Main::Head | Main::Nothing) || !sinks.outputs.is_empty();
    Ok(Config {
        request: request(flags)?,
        pace: pace(flags),
        retry: Retry {
            retries: flags.retry,
            max_time: flags.retry_max_time.and_then(|span| span.0),
            all_errors: flags.retry_all_errors,
        },
        timeouts: timeouts(flags)?,
        response: Response {
            body: reads_body && !flags.no_body,
            strict_http: flags.strict_http,
            spool: spool(sinks),
            max_bytes: if flags.max_filesize.0 == 0 { u64::MAX } else { flags.max_filesize.0 },
            memory_max: if flags.max_memory.0 == 0 { None } else { Some(flags.max_memory.0) },
            fail: flags.fail.take().map_or_else(|| Response::default().fail, |Ranges(ranges)| ranges),
            ..Response::default()
        },
        max_redirects: if flags.no_location { 0 } else { flags.max_redirs },
        network: network(flags)?,
        max_errors: if flags.fail_early { Some(MaxErrors::Rows(1)) } else { flags.max_errors },
        ordered: flags.ordered,
        window_rows: flags.window,
        ..Config::default()
    })
}

fn pace(flags: &Flags) -> Pace {
    Pace {
        parallel_max: flags.parallel_max,
        parallel_max_host: flags.parallel_max_host.or(flags.polite.then_some(1)),
        rate: flags.rate,
        rate_host: flags.rate_host.or(flags.polite.then_some(Rate { count: 1, per: Nanos::from_secs(1) })),
        adaptive: !flags.no_adaptive,
        robots: flags.robots || flags.polite,
        max_host_errors: flags.max_host_errors,
        host_down_after: flags.host_down_after.0,
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
        (0, true) if one && flags.head => Main::Head,
        (0, true) if one && flags.fail.is_some() => Main::BodyIfOk,
        (0, true) if one => Main::Body,
        (0, true) if terminal::stdout_is_seen() => Main::Lines,
        (0, true) => Main::Ndjson,
        _ => return Err(Error::Usage("-o - is given twice".to_owned())),
    };
    if outputs.iter().enumerate().any(|(i, output)| outputs.iter().skip(i + 1).any(|other| other == output)) {
        return Err(Error::Usage("-o names the same output twice".to_owned()));
    }
    let has_directory = match outputs.iter().filter(|output| matches!(output, Output::Directory(_))).count() {
        0 => false,
        1 => true,
        _ => return Err(Error::Usage("a body has one file: -o DIR/ is given twice".to_owned())),
    };
    if flags.name.is_some() && !has_directory {
        return Err(Error::Usage("--name names the files of -o DIR/, which is not given".to_owned()));
    }
    if flags.no_body && (has_directory || matches!(main, Main::Body | Main::BodyIfOk)) {
        return Err(Error::Usage("--no-body leaves nothing to write: add -o - or -o F.ndjson".to_owned()));
    }
    if flags.csv_safe && !outputs.iter().any(|output| matches!(output, Output::Csv(_))) {
        return Err(Error::Usage("--csv-safe is for -o F.csv, which is not given".to_owned()));
    }
    let csv = if flags.csv_safe { csv::Guard::Formulas } else { csv::Guard::Off };
    let name = match &flags.name {
        Some(text) => Template::parse(text).map_err(|error| Error::Usage(format!("--name: {error}")))?,
        None => Template::default(),
    };
    Ok(Sinks { main, outputs, overwrite: flags.overwrite, name, csv })
}

/// The state is beside the first output, if that is a file or a directory: a device and standard output have nothing to
/// go on with.
fn durable(flags: &Flags, sinks: &Sinks) -> Result<Option<Durable>, Error> {
    let goes_on = flags.resume || flags.retry_failed;
    let durability = match flags.durability {
        fetch::Durability::Each => Durability::Each,
        fetch::Durability::Group => Durability::Group,
        fetch::Durability::None if goes_on => {
            return Err(Error::Usage(
                "--durability none keeps no state that a run could go on with".to_owned(),
            ));
        }
        fetch::Durability::None => return Ok(None),
    };
    let first = sinks.outputs.iter().find_map(Output::path).filter(|path| !path.starts_with("/dev"));
    let Some(first) = first else {
        let what = "--resume and --retry-failed need an output to go on with: -o FILE or -o DIR/";
        return if goes_on { Err(Error::Usage(what.to_owned())) } else { Ok(None) };
    };
    let begin = match (flags.overwrite, flags.retry_failed, flags.resume) {
        (true, _, _) => Begin::Overwrite,
        (_, true, _) => Begin::RetryFailed,
        (_, _, true) => Begin::Resume,
        (false, false, false) => Begin::Anew,
    };
    let mut settings = vec![("--name".to_owned(), flags.name.clone().unwrap_or_default())];
    let urls = flags.inputs.iter().filter(|word| !word.starts_with('@') && *word != "-");
    let urls: Vec<_> = urls.map(|word| redact(word).into_owned()).collect();
    settings.push(("URLs".to_owned(), urls.join(" ")));
    settings.push(("-G".to_owned(), flags.get.to_string()));
    settings.push(("--csv-safe".to_owned(), flags.csv_safe.to_string()));
    Ok(Some(Durable {
        begin,
        durability,
        outputs: sinks.durable_outputs(),
        settings,
        ..Durable::beside(first)
    }))
}

impl Sinks {
    /// The outputs in the order in which they are opened. A directory comes first: it gives a body its place, which the
    /// records that follow tell.
    pub(crate) fn ordered(&self) -> Vec<&Output> {
        let mut outputs: Vec<_> = self.outputs.iter().collect();
        outputs.sort_by_key(|output| !matches!(output, Output::Directory(_)));
        outputs
    }

    fn durable_outputs(&self) -> Vec<durable::Output> {
        let outputs = self.ordered().into_iter();
        let durable = outputs.filter_map(|output| match output {
            Output::Stdout => None,
            Output::Ndjson(path) => Some(durable::Output::Ndjson(path.clone())),
            Output::Csv(path) => Some(durable::Output::Csv(path.clone())),
            Output::Directory(path) => Some(durable::Output::Other(path.clone())),
        });
        durable.collect()
    }
}

/// Where a body goes that is too large to hold. A file of `-o DIR/` must begin in DIR, because it is only renamed;
/// a body for standard output may be anywhere; a record holds its body, and so does memory.
fn spool(sinks: &Sinks) -> Option<PathBuf> {
    let directory = sinks.outputs.iter().find_map(|output| match output {
        Output::Directory(path) => Some(path.clone()),
        Output::Stdout | Output::Ndjson(_) | Output::Csv(_) => None,
    });
    let to_stdout = matches!(sinks.main, Main::Body | Main::BodyIfOk);
    directory.or_else(|| to_stdout.then(std::env::temp_dir))
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
    Show { meter, summary: !one && !flags.silent, rows: flags.verbose && main != Main::Lines, failure: one }
}
