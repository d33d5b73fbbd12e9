//! From flags as typed to what `fetch` does: the one place that decides what flags mean together.
//!
//! Whatever cannot be is refused here, before anything is opened for writing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlapped_fetch::durable::{self, Begin, Durability, Durable};
use overlapped_fetch::sink::{Format, Needs, SinkId, WarcOptions};
use overlapped_fetch::{
    Config, Family, Http, Identity, Input, InputOptions, Left, Network, Pace, PartFile, Request, Response,
    Retry, Timeouts,
};
use overlapped_proto::bucket::Rate;
use overlapped_proto::filename::Template;
use overlapped_proto::input::Options;
use overlapped_proto::input::url::parse as parse_url;
use overlapped_proto::limits;
use overlapped_proto::max_errors::MaxErrors;
use overlapped_proto::record::csv;
use overlapped_proto::sanitize::shown;
use overlapped_proto::time::Nanos;

use super::cookies::{self, Cookies};
use super::fetch::{self, Flags, Progress};
use super::identity::identity;
use super::input::{self, Globbing, Source};
use super::output::Output;
use super::place::{self, Named};
use super::proxies::proxies;
use super::request::{query, request};
use super::values::{Ranges, Size};
use super::write_out::WriteOut;
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
    /// The jar that the rows share.
    pub(crate) cookies: Option<Cookies>,
    pub(crate) waterfall: Option<PathBuf>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) summary: Option<PathBuf>,
    /// The commit of a shard's outputs.
    pub(crate) manifest: Option<PathBuf>,
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
    /// For [`Main::One`].
    pub(crate) one: Option<One>,
    pub(crate) write_out: Option<WriteOut>,
    /// The outputs with records that `-o` names, in the order given, without standard output.
    pub(crate) outputs: Vec<durable::Output>,
    pub(crate) overwrite: bool,
    pub(crate) name: Template,
    pub(crate) csv: csv::Guard,
    /// All outputs but archives have no bodies.
    pub(crate) bodiless: bool,
    pub(crate) warc: WarcOptions,
    /// Files and directories of the run's own, which no row's file replaces.
    pub(crate) kept: Vec<PathBuf>,
}

/// What becomes of the response to one URL.
#[derive(Clone, Debug)]
pub(crate) struct One {
    pub(crate) target: Target,
    /// The head comes before the body.
    pub(crate) include: bool,
    /// Where the head goes beside.
    pub(crate) dump_header: Option<PathBuf>,
    /// A status that fails the row has no body.
    pub(crate) unless_failed: bool,
    /// A person sees how far it is.
    pub(crate) bar: bool,
    /// `-J`: the server may name the file.
    pub(crate) named_by: Option<NamedBy>,
    /// `-C -`.
    pub(crate) continued: Option<Continued>,
}

/// A file that is fetched in several runs.
#[derive(Clone, Debug)]
pub(crate) struct Continued {
    pub(crate) url: String,
    /// What an earlier run has left of it.
    pub(crate) left: Option<Left>,
}

/// What the name that a server chooses means for a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    /// It is kept, and the row fails.
    ServerKeeping,
    /// It is replaced.
    ServerReplacing,
}

/// Where the body of one URL goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To a terminal, if it is text.
    Screen,
    /// To standard output, whatever it is.
    Stdout,
    /// To this file, which is replaced when all of it is there.
    File(PathBuf),
}

/// What standard output gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Main {
    /// The response to the one URL, there or in a file.
    One,
    /// What `-w` prints of each row.
    Written,
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
    /// That there was nothing to do.
    pub(crate) told: bool,
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
    let mut sources = input::sources(&flags.inputs, globbing)?;
    name_upload(&mut sources, flags.upload_file.as_deref());
    let url = match sources.as_slice() {
        [Source::Url(url)] => Some(url.clone()),
        _ => None,
    };
    let one = url.is_some();
    let mut sinks = sinks(&mut flags, url.as_deref())?;
    place::check_directories(all_written(&flags, &sinks))?;
    place::check_replaced(beside(&flags, &sinks))?;
    let durable = durable(&flags, query.as_deref(), &sinks)?;
    let spools = sinks.spools();
    let spools = spools.iter().map(|path| ("-o", path.as_path()));
    let files = sinks.files().map(|path| ("-o", path)).chain(spools);
    let written: Vec<_> = files.chain(reports(&flags)).collect();
    let lists: Vec<_> = lists(&sources).collect();
    let mut kept = place::distinct(&written, &lists)?;
    if let Some(durable) = &durable {
        let outputs = || sinks.outputs.iter().map(|output| output.path.as_path());
        let named = outputs().map(|path| ("-o", path)).chain(written).chain(lists).collect::<Vec<_>>();
        // Another command with one of these outputs keeps its state beside that one.
        outputs().try_for_each(|output| place::check_apart(&Durable::beside(output).directory, &named))?;
        kept.push(durable.directory.clone());
    }
    sinks.kept = kept;
    let (input, format) = input::list(sources, query, flags.input_format.map(Into::into))?;
    let cookies = cookies::jar(&flags)?;
    Ok(Plan {
        show: show(&flags, one, sinks.main),
        dry_run: flags.dry_run,
        config: Config {
            cookies: cookies.as_ref().map(|cookies| cookies.jar.clone()),
            ..config(&mut flags, &sinks, one)?
        },
        input,
        input_options: InputOptions {
            format,
            columns: Options { url_column: flags.url_col.into(), keep: flags.keep },
            skip: flags.skip,
            limit: flags.limit,
            shard: flags.shard,
        },
        sinks,
        durable,
        cookies,
        waterfall: flags.waterfall,
        report: flags.report,
        summary: flags.summary,
        manifest: flags.manifest,
        title: title(&flags.inputs),
    })
}

/// What is fetched, for a person. The name of a list may hold an `@`, and is no URL.
fn title(inputs: &[String]) -> String {
    let words = inputs.iter().map(|word| if word.starts_with('@') { word.clone() } else { shown(word) });
    words.collect::<Vec<_>>().join(" ")
}

/// Asks for what is missing of a file that an earlier run has begun, and for its last byte again, so that there is always one
/// to send. A body that has changed since comes whole.
fn continued(mut request: Request, sinks: &Sinks) -> Request {
    let Some(continued) = sinks.one.as_ref().and_then(|one| one.continued.as_ref()) else { return request };
    // Ranges are those of the encoded body. One that is encoded nevertheless is decoded.
    request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("accept-encoding"));
    request.headers.push(("accept-encoding".to_owned(), "identity".to_owned()));
    if let Some(left) = &continued.left {
        request.headers.push(("range".to_owned(), format!("bytes={}-", left.bytes - 1)));
        request.headers.push(("if-range".to_owned(), left.validator.clone()));
    }
    request
}

fn config(flags: &mut Flags, sinks: &Sinks, one: bool) -> Result<Config, Error> {
    let needs = sinks.needs();
    let reads_body = !matches!(sinks.main, Main::Lines | Main::Written | Main::Nothing) || needs.body;
    Ok(Config {
        request: continued(request(flags)?, sinks),
        pace: pace(flags, one),
        retry: Retry {
            retries: flags.retry,
            max_time: flags.retry_max_time.and_then(|span| span.0),
            all_errors: flags.retry_all_errors,
        },
        timeouts: timeouts(flags)?,
        response: Response {
            // An archive has the bodies that the other outputs leave out.
            body: reads_body && (!flags.no_body || sinks.has_archive()),
            undecoded: needs.undecoded,
            raw_head: needs.raw_head,
            sent: needs.sent,
            strict_http: flags.strict_http,
            spool: spool(sinks),
            max_bytes: if flags.max_filesize.0 == 0 { u64::MAX } else { flags.max_filesize.0 },
            memory_max: if flags.max_memory.0 == 0 { None } else { Some(flags.max_memory.0) },
            fail: flags.fail.take().map_or_else(|| Response::default().fail, |Ranges(ranges)| ranges),
            ..Response::default()
        },
        max_redirects: if flags.no_location { 0 } else { flags.max_redirs },
        network: network(flags, needs)?,
        hosts: std::mem::take(&mut flags.hosts),
        max_errors: if flags.fail_early { Some(MaxErrors::Rows(1)) } else { flags.max_errors },
        ordered: flags.ordered,
        window_rows: flags.window,
        ..Config::default()
    })
}

fn pace(flags: &Flags, one: bool) -> Pace {
    Pace {
        parallel_max: flags.parallel_max,
        parallel_max_host: flags.parallel_max_host.or(flags.polite.then_some(1)),
        rate: flags.rate,
        rate_host: flags.rate_host.or(flags.polite.then_some(Rate { count: 1, per: Nanos::from_secs(1) })),
        adaptive: !flags.no_adaptive,
        robots: flags.robots || flags.polite,
        // One URL fails after its attempts, as with curl; only a list waits for a host that is away.
        max_host_errors: if one { 0 } else { flags.max_host_errors },
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
    let is_default = flags.connect_timeout == limits::CONNECT_TIMEOUT.into();
    let given = |default: Nanos| if is_default { Some(default.into()) } else { flags.connect_timeout.0 };
    Ok(Timeouts {
        dns: given(limits::DNS_TIMEOUT),
        connect: flags.connect_timeout.0,
        tls: given(limits::TLS_TIMEOUT),
        first_byte: flags.first_byte_timeout.0,
        speed,
        total: flags.max_time.0,
    })
}

fn network(flags: &mut Flags, needs: Needs) -> Result<Network, Error> {
    let ca_pem = match &flags.cacert {
        Some(path) => Some(std::fs::read(path).map_err(|error| Error::reading(path, &error))?),
        None => None,
    };
    Ok(Network {
        http: match (flags.http1, flags.http2_prior_knowledge) {
            (true, _) => Http::Http1,
            (_, true) => Http::Http2,
            (false, false) if needs.http1 && !flags.http2 => Http::Http1,
            (false, false) => Http::Negotiated,
        },
        family: match (flags.ipv4, flags.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            (false, false) => None,
        },
        ca_pem,
        proxies: proxies(flags)?,
        identity: identity_of(flags)?,
        connect_to: std::mem::take(&mut flags.connect_to),
        unix_socket: flags.unix_socket.take(),
        interface: flags.interface.take(),
        insecure_hosts: std::mem::take(&mut flags.insecure_hosts),
        resolve: flags.resolve.drain(..).map(|given| (given.host, given.port, given.addresses)).collect(),
        public_only: flags.public_only,
        hsts: flags.hsts,
        allow_addresses: std::mem::take(&mut flags.allow_addresses),
    })
}

/// The client certificate of `-E`, with the key from the same file or that of `--key`.
fn identity_of(flags: &Flags) -> Result<Option<Identity>, Error> {
    let Some(cert) = &flags.cert else {
        return match flags.key {
            None => Ok(None),
            Some(_) => Err(Error::Usage("--key belongs to a certificate: --cert FILE".to_owned())),
        };
    };
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Error::reading(path, &error));
    let chain_pem = read(cert)?;
    let key_pem = flags.key.as_ref().map_or_else(|| Ok(chain_pem.clone()), read)?;
    Ok(Some(Identity { chain_pem, key_pem }))
}

fn sinks(flags: &mut Flags, url: Option<&str>) -> Result<Sinks, Error> {
    if flags.remote_header_name && !flags.remote_name {
        return Err(Error::Usage("-J names the file of -O: give both, -OJ".to_owned()));
    }
    let one = one(flags, url)?;
    let write_out = match &flags.write_out {
        Some(text) => Some(WriteOut::parse(text).map_err(|error| Error::Usage(format!("-w: {error}")))?),
        None => None,
    };
    let (stdout, outputs): (Vec<_>, Vec<_>) =
        flags.outputs.drain(..).partition(|output| *output == Output::Stdout);
    let main = match (stdout.len(), outputs.is_empty()) {
        _ if one.is_some() => Main::One,
        (1, _) => Main::Ndjson,
        (0, _) if write_out.is_some() => Main::Written,
        (0, false) => Main::Nothing,
        (0, true) if terminal::stdout_is_seen() => Main::Lines,
        (0, true) => Main::Ndjson,
        _ => return Err(Error::Usage("-o - is given twice".to_owned())),
    };
    if main == Main::Ndjson && write_out.is_some() {
        return Err(Error::Usage("-w and -o - both write to standard output: leave one out".to_owned()));
    }
    if outputs.iter().enumerate().any(|(i, output)| outputs.iter().skip(i + 1).any(|other| other == output)) {
        return Err(Error::Usage("-o names the same output twice".to_owned()));
    }
    let outputs = named(outputs);
    let is_in = |format| move |output: &&durable::Output| output.format == format;
    let has_directory = match outputs.iter().filter(is_in(Format::Files)).count() {
        0 => false,
        1 => true,
        _ => return Err(Error::Usage("a body has one file: -o DIR/ is given twice".to_owned())),
    };
    if flags.name.is_some() && !has_directory {
        return Err(Error::Usage("--name names the files of -o DIR/, which is not given".to_owned()));
    }
    if flags.no_body && (has_directory || main == Main::One && !flags.head) {
        return Err(Error::Usage("--no-body leaves nothing to write: add -o - or -o F.ndjson".to_owned()));
    }
    let is_table = |output: &durable::Output| matches!(output.format, Format::Csv | Format::Tsv);
    if flags.csv_safe && !outputs.iter().any(is_table) {
        return Err(Error::Usage("--csv-safe is for -o F.csv or F.tsv, and none is given".to_owned()));
    }
    let csv = if flags.csv_safe { csv::Guard::Formulas } else { csv::Guard::Off };
    let name = match &flags.name {
        Some(text) => Template::parse(text).map_err(|error| Error::Usage(format!("--name: {error}")))?,
        None => Template::default(),
    };
    let warc = warc(flags, main, &outputs)?;
    let (overwrite, kept) = (flags.overwrite, Vec::new());
    let bodiless = flags.no_body;
    Ok(Sinks { main, one, write_out, outputs, overwrite, name, csv, bodiless, warc, kept })
}

/// How archives are written, if there are any.
fn warc(flags: &Flags, main: Main, outputs: &[durable::Output]) -> Result<WarcOptions, Error> {
    let Some(archive) = outputs.iter().find(|output| output.format == Format::Warc) else {
        let given = [(flags.cdxj, "--cdxj"), (flags.warc_max_size.is_some(), "--warc-max-size")];
        return match given.into_iter().find(|(given, _)| *given) {
            Some((_, flag)) => {
                Err(Error::Usage(format!("{flag} is for -o F.warc.gz or -o F.warc, which is not given")))
            }
            None => Ok(WarcOptions::default()),
        };
    };
    let path = archive.path.display();
    let is_beside = outputs.len() > 1 || main == Main::Ndjson;
    if flags.no_body && !is_beside {
        return Err(Error::Usage(format!(
            "--no-body is for the outputs beside {path}, which needs the bodies, and there is none: leave it out"
        )));
    }
    let decoded =
        outputs.iter().find(|output| output.format.needs().body && !output.format.needs().undecoded);
    let decoded = decoded.map(|output| output.path.display().to_string());
    let decoded = decoded.or_else(|| (main == Main::Ndjson).then(|| "standard output".to_owned()));
    if let Some(other) = decoded.filter(|_| !flags.no_compressed && !flags.no_body) {
        return Err(Error::Usage(format!(
            "{path} has bodies as they came over the wire, {other} has them decoded: add --no-body, which leaves them to \
             the archive, or --no-compressed, which asks for bodies that are the same in both"
        )));
    }
    let bytes_max = match flags.warc_max_size {
        None => limits::WARC_FILE_BYTES,
        Some(Size(0)) => u64::MAX,
        Some(Size(bytes)) if bytes < limits::WARC_FILE_BYTES_MIN => {
            let least = limits::WARC_FILE_BYTES_MIN;
            return Err(Error::Usage(format!("--warc-max-size is at least {least}, or 0 for one file")));
        }
        Some(Size(bytes)) => bytes,
    };
    Ok(WarcOptions { bytes_max, cdxj: flags.cdxj })
}

/// What becomes of the response to the one URL, unless `-o` asks for records: `-o NAME`, `-O`, or nothing at all. `-o -` on a
/// terminal prints a body that is binary, as with curl; elsewhere it is a record.
fn one(flags: &mut Flags, url: Option<&str>) -> Result<Option<One>, Error> {
    const LISTS: &str =
        "for lists there are -o DIR/ (a file a row, --name names them), -o F.ndjson and -o F.csv";
    let mut names = Vec::new();
    flags.outputs.retain(|output| match output {
        Output::Body(path) => {
            names.push(path.clone());
            false
        }
        Output::Stdout | Output::Records(..) => true,
    });
    let named =
        [(!names.is_empty(), "-o NAME"), (flags.remote_name, "-O")].into_iter().find(|(given, _)| *given);
    let head =
        [(flags.include, "-i"), (flags.dump_header.is_some(), "-D")].into_iter().find(|(given, _)| *given);
    let printed = flags.outputs == [Output::Stdout] && terminal::stdout_is_seen();
    let Some(url) = url.filter(|_| flags.outputs.is_empty() || (printed && named.is_none())) else {
        if flags.continue_at.is_some() {
            return Err(Error::Usage("-C - is for the file of one URL: -o NAME or -O".to_owned()));
        }
        return match (named, head) {
            (Some((_, flag)), _) => {
                let json = |path: &&PathBuf| {
                    path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("json"))
                };
                let meant = names.iter().find(json).map_or_else(String::new, |path| {
                    format!("; perhaps -o {} is meant", path.with_extension("ndjson").display())
                });
                Err(Error::Usage(format!(
                    "{flag} is for the body of one URL, without another -o: {LISTS}{meant}"
                )))
            }
            (None, Some((_, flag))) => {
                Err(Error::Usage(format!("{flag} is for one URL without -o records, which have the headers")))
            }
            (None, None) => Ok(None),
        };
    };
    if flags.remote_name {
        names.push(remote_name(url, flags.remote_header_name)?);
    }
    let target = match names.as_slice() {
        [] if !terminal::stdout_is_seen() || printed => Target::Stdout,
        [] => Target::Screen,
        [path] if path.is_dir() => {
            return Err(Error::Usage(format!("{} is a directory: -o {0}/", path.display())));
        }
        [path] => Target::File(path.clone()),
        _ => return Err(Error::Usage("one URL has one body: -o NAME is given twice".to_owned())),
    };
    let continued = match (&flags.continue_at, &target) {
        (None, _) => None,
        (Some(_), Target::File(path)) => {
            let left = PartFile::left(path, url).map_err(|error| Error::reading(path, &error))?;
            Some(Continued { url: url.to_owned(), left })
        }
        (Some(_), Target::Screen | Target::Stdout) => {
            return Err(Error::Usage("-C - is for the file of one URL: -o NAME or -O".to_owned()));
        }
    };
    flags.outputs.clear();
    let is_seen = target != Target::Screen && (target != Target::Stdout || !terminal::stdout_is_seen());
    Ok(Some(One {
        bar: is_seen && !flags.silent && flags.progress != Progress::None && terminal::stderr_is_seen(),
        target,
        include: flags.include || flags.head,
        dump_header: flags.dump_header.take(),
        unless_failed: flags.fail.is_some(),
        named_by: flags.remote_header_name.then_some(match flags.overwrite {
            true => NamedBy::ServerReplacing,
            false => NamedBy::ServerKeeping,
        }),
        continued,
    }))
}

/// Behind a URL that ends with a slash goes the name of the file, as with curl.
fn name_upload(sources: &mut [Source], file: Option<&str>) {
    let name = file.and_then(|file| Path::new(file).file_name()).and_then(|name| name.to_str());
    let Some(name) = name.filter(|name| *name != "-") else { return };
    for source in sources {
        match source {
            Source::Url(url) if url.ends_with('/') => url.push_str(name),
            Source::Url(_) | Source::Urls(_) | Source::List(_) | Source::Stdin => {}
        }
    }
}

/// The last part of the URL's path, as curl's `-O` has it; if there is none, a name for what the server does not name.
fn remote_name(url: &str, may_be_named: bool) -> Result<PathBuf, Error> {
    let parsed = parse_url(url).map_err(|failure| Error::Usage(failure.message.into_string()))?;
    let name = parsed.path().rsplit('/').next().unwrap_or_default();
    if name.is_empty() && may_be_named {
        return Ok("download".into());
    }
    if name.is_empty() {
        return Err(Error::Usage(
            "-O: the URL ends with no name of a file; give one with -o NAME".to_owned(),
        ));
    }
    Ok(name.into())
}

/// All that is written but the files of rows.
fn all_written<'a>(flags: &'a Flags, sinks: &'a Sinks) -> impl Iterator<Item = Named<'a>> {
    sinks.files().map(|path| ("-o", path)).chain(beside(flags, sinks))
}

/// All that is written but records and the files of rows.
fn beside<'a>(flags: &'a Flags, sinks: &'a Sinks) -> impl Iterator<Item = Named<'a>> {
    let target = sinks.one.iter().filter_map(|one| match &one.target {
        Target::File(path) => Some(path.as_path()),
        Target::Screen | Target::Stdout => None,
    });
    let head = sinks.one.as_ref().and_then(|one| one.dump_header.as_deref());
    let head = head.filter(|path| *path != Path::new("-"));
    target.map(|path| ("-o", path)).chain(head.map(|path| ("-D", path))).chain(reports(flags))
}

fn reports(flags: &Flags) -> impl Iterator<Item = Named<'_>> {
    let reports = [
        ("--summary", flags.summary.as_deref()),
        ("--manifest", flags.manifest.as_deref()),
        ("--waterfall", flags.waterfall.as_deref()),
        ("--report", flags.report.as_deref()),
        ("-c", flags.cookie_jar.as_deref()),
    ];
    reports.into_iter().filter_map(|(flag, path)| Some((flag, path?)))
}

fn lists(sources: &[Source]) -> impl Iterator<Item = Named<'_>> {
    sources.iter().filter_map(|source| match source {
        Source::List(path) => Some(("the list", path.as_path())),
        Source::Url(_) | Source::Urls(_) | Source::Stdin => None,
    })
}

/// The state is beside the directory of files, if there is one, as it stays there; else beside the first output that is a
/// file: a device and standard output have nothing to go on with.
fn durable(flags: &Flags, query: Option<&str>, sinks: &Sinks) -> Result<Option<Durable>, Error> {
    let goes_on = flags.resume || flags.retry_failed;
    let durability = match flags.durability {
        fetch::Durability::Each => Durability::Each,
        fetch::Durability::Group => Durability::Group,
        fetch::Durability::None if goes_on => {
            return Err(Error::Usage("--durability none keeps no state to resume from".to_owned()));
        }
        fetch::Durability::None => return Ok(None),
    };
    let outputs = sinks.outputs.iter().map(|output| output.path.as_path());
    let mut outputs = outputs.filter(|path| !path.starts_with("/dev"));
    let Some(first) = outputs.clone().next() else {
        let what = "--resume and --retry-failed need an output: -o FILE or -o DIR/";
        return if goes_on { Err(Error::Usage(what.to_owned())) } else { Ok(None) };
    };
    let begin = match (flags.overwrite, flags.retry_failed, flags.resume) {
        (true, _, _) => Begin::Overwrite,
        (_, true, _) => Begin::RetryFailed,
        (_, _, true) => Begin::Resume,
        (false, false, false) => Begin::Anew,
    };
    // The outputs may have been given in another order when the run began.
    let has_run = |path: &&Path| Durable::beside(path).directory.join("job.json").symlink_metadata().is_ok();
    let folder = sinks.outputs.iter().find(|output| output.format == Format::Files);
    let beside = outputs.find(has_run).or(folder.map(|folder| folder.path.as_path())).unwrap_or(first);
    Ok(Some(Durable {
        begin,
        durability,
        outputs: sinks.ordered().into_iter().cloned().collect(),
        settings: identity(flags, query, sinks.has_archive()),
        ..Durable::beside(beside)
    }))
}

impl Sinks {
    /// The outputs in the order in which they are opened, however they were given. A directory comes before records: it gives a
    /// body its place, which the records that follow tell. Archives read a body before that.
    pub(crate) fn ordered(&self) -> Vec<&durable::Output> {
        let mut outputs: Vec<_> = self.outputs.iter().collect();
        outputs.sort_by_key(|output| rank(output));
        outputs
    }

    /// Those that are files.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.outputs.iter().filter(|output| output.format != Format::Files);
        files.map(|output| output.path.as_path())
    }

    /// What they have beside them: spools, and an index.
    fn spools(&self) -> Vec<PathBuf> {
        self.outputs.iter().flat_map(|output| output.format.beside(&output.path, self.warc)).collect()
    }

    /// True if an output archives bodies as they came.
    pub(crate) fn has_archive(&self) -> bool {
        self.outputs.iter().any(|output| output.format == Format::Warc)
    }

    /// What they need of a record.
    fn needs(&self) -> Needs {
        self.outputs.iter().fold(Needs::default(), |needs, output| needs.and(output.format.needs()))
    }
}

fn rank(output: &durable::Output) -> (u8, Option<&OsStr>, &Path) {
    let order = match output.format {
        Format::Warc => 0,
        Format::Files => 1,
        Format::Ndjson | Format::Csv | Format::Tsv | Format::Parquet | Format::Arrow | Format::Har => 2,
    };
    (order, output.path.file_name(), &output.path)
}

/// The outputs, each with a name of its own: files of the same name in several directories are numbered, in the order of
/// their paths.
fn named(outputs: Vec<Output>) -> Vec<durable::Output> {
    let of = |output| match output {
        Output::Records(format, path) => Some(durable::Output::new(format, path)),
        Output::Stdout | Output::Body(_) => None,
    };
    let mut outputs: Vec<_> = outputs.into_iter().filter_map(of).collect();
    let mut by_rank: Vec<_> = outputs.iter_mut().collect();
    by_rank.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let mut taken = BTreeSet::new();
    for output in by_rank {
        let name = output.id.name().to_owned();
        let free = |number: &u32| !taken.contains(&SinkId::new(format!("{name}~{number}")));
        if taken.contains(&output.id) {
            let number = (2..).find(free).expect("fewer outputs than numbers");
            output.id = SinkId::new(format!("{name}~{number}"));
        }
        taken.insert(output.id.clone());
    }
    outputs
}

/// Where a body goes that is too large to hold: a file of `-o DIR/` must begin in DIR, because it is only renamed.
fn spool(sinks: &Sinks) -> Option<PathBuf> {
    let directory = sinks.outputs.iter().find(|output| output.format == Format::Files);
    directory.map(|output| output.path.clone())
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
    Show {
        meter,
        summary: !one && !flags.silent,
        told: !flags.silent,
        rows: flags.verbose && main != Main::Lines,
        failure: one,
    }
}
