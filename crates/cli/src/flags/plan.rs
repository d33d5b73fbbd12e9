//! From flags as typed to what `fetch` does: the one place that decides what flags mean together.
//!
//! Whatever cannot be is refused here, and in the modules that this one calls, before anything is opened for writing.

use std::path::{Path, PathBuf};

use overlapped_fetch::durable::Durable;
use overlapped_fetch::{Config, Input, InputOptions};
use overlapped_proto::input::Options;
use overlapped_proto::sanitize::shown;

use super::cookies::{self, Cookies, Kept};
use super::fetch::Flags;
use super::input::{self, Globbing, Source};
use super::one::Target;
use super::place::{self, Named};
use super::request::query;
use super::settings::config;
use super::show::{Show, show};
use super::sinks::{Main, Sinks, sinks};
use super::state::durable;
use crate::exit::Error;

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
    if sinks.main == Main::Ndjson
        && cookies.as_ref().is_some_and(|cookies| cookies.kept == Some(Kept::Stdout))
    {
        let what = "-c - and the records both write to standard output: -c FILE, or -o FILE for the records";
        return Err(Error::Usage(what.to_owned()));
    }
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
        ("-c", flags.cookie_jar.as_deref().filter(|path| *path != Path::new("-"))),
    ];
    reports.into_iter().filter_map(|(flag, path)| Some((flag, path?)))
}

fn lists(sources: &[Source]) -> impl Iterator<Item = Named<'_>> {
    sources.iter().filter_map(|source| match source {
        Source::List(path) => Some(("the list", path.as_path())),
        Source::Url(_) | Source::Urls(_) | Source::Stdin => None,
    })
}
