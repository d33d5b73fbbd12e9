//! Where records go: the outputs of `-o`, and what other flags say of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use overlapped_fetch::durable;
use overlapped_fetch::sink::{Format, Needs, SinkId, WarcOptions};
use overlapped_proto::filename::Template;
use overlapped_proto::limits;
use overlapped_proto::record::csv;

use super::fetch::Flags;
use super::one::{One, one};
use super::output::Output;
use super::values::Size;
use super::write_out::WriteOut;
use crate::exit::Error;
use crate::terminal;

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

/// # Errors
///
/// [`Error::Usage`]: outputs that cannot be together, or a flag for an output that is not given.
pub(super) fn sinks(flags: &mut Flags, url: Option<&str>) -> Result<Sinks, Error> {
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

impl Sinks {
    /// The outputs in the order in which they are opened, however they were given. A directory comes before records: it gives a
    /// body its place, which the records that follow tell. Archives read a body before that.
    pub(crate) fn ordered(&self) -> Vec<&durable::Output> {
        let mut outputs: Vec<_> = self.outputs.iter().collect();
        outputs.sort_by_key(|output| rank(output));
        outputs
    }

    /// Those that are files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.outputs.iter().filter(|output| output.format != Format::Files);
        files.map(|output| output.path.as_path())
    }

    /// What they have beside them: spools, and an index.
    pub(super) fn spools(&self) -> Vec<PathBuf> {
        self.outputs.iter().flat_map(|output| output.format.beside(&output.path, self.warc)).collect()
    }

    /// True if an output archives bodies as they came.
    pub(crate) fn has_archive(&self) -> bool {
        self.outputs.iter().any(|output| output.format == Format::Warc)
    }

    /// Where a body goes that is too large to hold: a file of `-o DIR/` must begin in DIR, because it is only renamed.
    pub(super) fn spool(&self) -> Option<PathBuf> {
        let directory = self.outputs.iter().find(|output| output.format == Format::Files);
        directory.map(|output| output.path.clone())
    }

    /// What they need of a record.
    pub(super) fn needs(&self) -> Needs {
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
