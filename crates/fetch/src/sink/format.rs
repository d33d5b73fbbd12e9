//! The formats of outputs: one table of them, with their suffixes, what they need of a record, and how they are opened.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use overlapped_proto::filename::Template;
use overlapped_proto::journal::{Checkpoint, SinkId};
use overlapped_proto::record::column::Fields;
use overlapped_proto::record::csv::Guard;

use super::built::{building, expect_free, remove_building};
use super::har::{Har, has_entries, take_back};
#[cfg(feature = "tables")]
use super::table::Table;
use super::warc::{Warc, file as warc_file, index_path, lines as index_lines};
use super::{Existing, Files, Lines, OutputFile, Sink, WarcOptions};
use crate::body::spool::RunId;
use crate::clock::Clock;
use crate::fs::{Moment, is_pipe};
use crate::packing::Packing;
#[cfg(feature = "tables")]
use crate::tables::Kind;

/// A format of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// A table in Parquet. It is built at the end; until then its records are in a spool beside it.
    Parquet,
    /// The same in Arrow's file format.
    Arrow,
    /// HAR 1.2, an entry a record. It is closed at the end; until then it is in a spool beside it.
    Har,
    /// WARC 1.1, several records for each row. `--retry-failed` leaves what is in it, and adds to it.
    Warc,
    /// A directory with a file for each body. A failed row leaves nothing in it.
    Files,
}

/// What a format needs of a record beyond its plain fields. A run keeps what one of its outputs needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The body.
    pub body: bool,
    /// The body as it came, instead of decoded ([`Response::undecoded`](crate::Response::undecoded)).
    pub undecoded: bool,
    /// The bytes of the head as they came ([`Response::raw_head`](crate::Response::raw_head)).
    pub raw_head: bool,
    /// The request, without its credentials ([`Response::sent`](crate::Response::sent)).
    pub sent: bool,
    /// HTTP/1.1 on the wire, unless another version is asked for.
    pub http1: bool,
}

/// A decoded body.
const BODY: Needs = Needs { body: true, undecoded: false, raw_head: false, sent: false, http1: false };

/// A line of the table of formats.
struct Entry {
    format: Format,
    /// The ends of the paths that select it, in lower case.
    suffixes: &'static [&'static str],
    needs: Needs,
    open: fn(Opening) -> io::Result<Box<dyn Sink>>,
}

const FORMATS: [Entry; 8] = [
    Entry {
        format: Format::Ndjson,
        suffixes: &[".ndjson", ".jsonl"],
        needs: BODY,
        open: |opening| lines(Format::Ndjson, opening, |file, options| Lines::ndjson(file, options.fields)),
    },
    Entry {
        format: Format::Csv,
        suffixes: &[".csv"],
        needs: BODY,
        open: |opening| {
            lines(Format::Csv, opening, |file, options| Lines::csv(file, options.fields, options.guard))
        },
    },
    Entry {
        format: Format::Tsv,
        suffixes: &[".tsv"],
        needs: BODY,
        open: |opening| {
            lines(Format::Tsv, opening, |file, options| Lines::tsv(file, options.fields, options.guard))
        },
    },
    Entry {
        format: Format::Parquet,
        suffixes: &[".parquet"],
        needs: BODY,
        open: |opening| table(opening, Format::Parquet),
    },
    Entry {
        format: Format::Arrow,
        suffixes: &[".arrow"],
        needs: BODY,
        open: |opening| table(opening, Format::Arrow),
    },
    Entry {
        format: Format::Har,
        suffixes: &[".har"],
        needs: Needs { raw_head: true, sent: true, ..BODY },
        open: har,
    },
    Entry {
        format: Format::Warc,
        suffixes: &[".warc.gz", ".warc"],
        needs: Needs { body: true, undecoded: true, raw_head: true, sent: true, http1: true },
        open: |opening| Ok(Box::new(Warc::open(opening)?)),
    },
    Entry { format: Format::Files, suffixes: &["/"], needs: BODY, open: files },
];

impl Format {
    /// The format that the end of a path selects, in any case. A line format may be followed by that of a compression.
    ///
    /// ```
    /// use overlapped_fetch::sink::Format;
    ///
    /// assert_eq!(Format::of("results.NDJSON"), Some(Format::Ndjson));
    /// assert_eq!(Format::of("results.csv.zst"), Some(Format::Csv));
    /// assert_eq!(Format::of("pages/"), Some(Format::Files));
    /// assert_eq!(Format::of("page.html"), None);
    /// ```
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let lower = path.to_ascii_lowercase();
        let named = |name: &str| {
            let has = |entry: &&Entry| entry.suffixes.iter().any(|suffix| name.ends_with(suffix));
            FORMATS.iter().find(has).map(|entry| entry.format)
        };
        named(&lower).or_else(|| named(Packing::of_name(&lower)?.0).filter(|format| format.is_lines()))
    }

    /// How the output at `path` is compressed.
    pub(crate) fn packing(self, path: &Path) -> Option<Packing> {
        Packing::of_name(&path.to_string_lossy()).map(|(_, packing)| packing).filter(|_| self.is_lines())
    }

    /// True for a format of lines, which may be compressed.
    fn is_lines(self) -> bool {
        match self {
            Self::Ndjson | Self::Csv | Self::Tsv => true,
            Self::Parquet | Self::Arrow | Self::Har | Self::Warc | Self::Files => false,
        }
    }

    /// What it needs of a record.
    #[must_use]
    pub fn needs(self) -> Needs {
        self.entry().needs
    }

    /// The file that records are appended to: the output at `path` itself, or the spool from which it is built.
    ///
    /// ```
    /// use std::path::Path;
    /// use overlapped_fetch::sink::Format;
    ///
    /// assert_eq!(Format::Csv.appended(Path::new("F.csv")), Path::new("F.csv"));
    /// assert_eq!(Format::Parquet.appended(Path::new("F.parquet")), Path::new("F.parquet.part"));
    /// ```
    #[must_use]
    pub fn appended(self, path: &Path) -> Cow<'_, Path> {
        if !self.is_built() {
            return Cow::Borrowed(path);
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        Cow::Owned(name.into())
    }

    /// The files that it has beside the output at `path`: spools, and an index if `warc` asks for one.
    #[must_use]
    pub fn beside(self, path: &Path, warc: WarcOptions) -> Vec<PathBuf> {
        match self {
            Self::Ndjson | Self::Csv | Self::Tsv | Self::Files => Vec::new(),
            Self::Parquet | Self::Arrow | Self::Har => vec![self.appended(path).into_owned()],
            Self::Warc if warc.cdxj => {
                let index = index_path(path);
                vec![index_lines(&index), index]
            }
            Self::Warc => Vec::new(),
        }
    }

    /// The files of a complete output at `path`: itself, the further files of an archive that has several, and its index if
    /// `warc` asks for one.
    ///
    /// # Blocking
    ///
    /// On the disk.
    #[must_use]
    pub fn complete(self, path: &Path, warc: WarcOptions) -> Vec<PathBuf> {
        let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
        let further = self.further(path).take_while(is_there);
        self.least(path, warc).into_iter().chain(further).collect()
    }

    /// The files that each complete output at `path` has: itself, and its index if `warc` asks for one.
    #[must_use]
    pub fn least(self, path: &Path, warc: WarcOptions) -> Vec<PathBuf> {
        let index = match self {
            Self::Ndjson | Self::Csv | Self::Tsv | Self::Files | Self::Parquet | Self::Arrow | Self::Har => {
                None
            }
            Self::Warc => warc.cdxj.then(|| index_path(path)),
        };
        std::iter::once(path.to_owned()).chain(index).collect()
    }

    /// The names of the further files that it may have, in their order: an archive has as many as it needs.
    pub fn further(self, path: &Path) -> impl Iterator<Item = PathBuf> {
        let numbers = match self {
            Self::Ndjson | Self::Csv | Self::Tsv | Self::Files | Self::Parquet | Self::Arrow | Self::Har => {
                0..0
            }
            Self::Warc => 1..u32::MAX,
        };
        numbers.map(move |number| warc_file(path, number))
    }

    /// True for an output that is built at the end from a spool.
    #[must_use]
    pub fn is_built(self) -> bool {
        match self {
            Self::Ndjson | Self::Csv | Self::Tsv | Self::Warc | Self::Files => false,
            Self::Parquet | Self::Arrow | Self::Har => true,
        }
    }

    /// Opens an output of this format. Lines are compressed if the path ends with `.gz` or `.zst`: by a member of its own for
    /// each checkpoint.
    ///
    /// # Errors
    ///
    /// Those of [`OutputFile`] and [`Files`]; of a table, without the feature `tables`: [`io::ErrorKind::Unsupported`].
    ///
    /// # Blocking
    ///
    /// On the disk; for a named pipe, until it has a reader.
    pub fn open(self, opening: Opening) -> io::Result<Box<dyn Sink>> {
        (self.entry().open)(opening)
    }

    fn entry(self) -> &'static Entry {
        FORMATS.iter().find(|entry| entry.format == self).expect("every format is in the table")
    }
}

impl Needs {
    /// What either needs.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            body: self.body || other.body,
            undecoded: self.undecoded || other.undecoded,
            raw_head: self.raw_head || other.raw_head,
            sent: self.sent || other.sent,
            http1: self.http1 || other.http1,
        }
    }
}

/// An output that is to be opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The name of its sink.
    pub id: SinkId,
    /// Its path.
    pub path: PathBuf,
    /// By what kind of run.
    pub beginning: Beginning,
    /// How it is written.
    pub options: FormatOptions,
}

/// How outputs are written. Each format uses what applies to it.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    /// What to do with a file that is there already.
    pub existing: Existing,
    /// The fields of a record.
    pub fields: Fields,
    /// What a table does about formulas.
    pub guard: Guard,
    /// How the files of rows are named.
    pub template: Template,
    /// How WARC is written.
    pub warc: WarcOptions,
    /// Files and directories of the run itself, which no file of a row replaces.
    pub kept: Vec<PathBuf>,
}

impl Default for FormatOptions {
    fn default() -> Self {
        Self {
            existing: Existing::Keep,
            fields: Fields::default(),
            guard: Guard::Off,
            template: Template::default(),
            warc: WarcOptions::default(),
            kept: Vec::new(),
        }
    }
}

/// How an output is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// By a run that begins and keeps no state.
    NoState,
    /// By a run that begins and keeps its state.
    Begun(RunId),
    /// By a run that resumes.
    Resumed {
        /// Identifies the files of the run.
        run: RunId,
        /// Where the output is resumed.
        checkpoint: Checkpoint,
        /// When the run began: files written since then are its own.
        began: Option<Moment>,
        /// Files of bodies whose records wait for an earlier row.
        waiting: Vec<PathBuf>,
    },
}

fn lines(
    format: Format,
    Opening { id, path, beginning, options }: Opening,
    of: fn(OutputFile, &FormatOptions) -> Lines<OutputFile>,
) -> io::Result<Box<dyn Sink>> {
    let file = file(&path, &beginning, options.existing)?.packed(format.packing(&path));
    let lines = of(file, &options);
    Ok(Box::new(match beginning {
        Beginning::NoState => lines.complete(),
        Beginning::Begun(_) | Beginning::Resumed { .. } => lines.durable(id),
    }))
}

fn file(path: &Path, beginning: &Beginning, existing: Existing) -> io::Result<OutputFile> {
    match beginning {
        Beginning::Resumed { checkpoint, .. } => OutputFile::resume(path.to_owned(), checkpoint),
        Beginning::NoState if is_pipe(path) => OutputFile::pipe(path.to_owned()),
        Beginning::NoState | Beginning::Begun(_) => OutputFile::create(path.to_owned(), existing),
    }
}

#[cfg(feature = "tables")]
fn table(opening: Opening, format: Format) -> io::Result<Box<dyn Sink>> {
    let spool = spool(&opening, format)?;
    let Opening { id, path, beginning, options } = opening;
    let id = (beginning != Beginning::NoState).then_some(id);
    let kind = if format == Format::Parquet { Kind::Parquet } else { Kind::Arrow };
    Ok(Box::new(Table::new(kind, path, spool, options.fields, id)?))
}

#[cfg(not(feature = "tables"))]
fn table(_: Opening, _: Format) -> io::Result<Box<dyn Sink>> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this build writes no tables: it is without the feature `tables`",
    ))
}

fn har(opening: Opening) -> io::Result<Box<dyn Sink>> {
    let (spool, spool_path) = spool(&opening, Format::Har)?;
    let Opening { id, path, beginning, options } = opening;
    let id = (beginning != Beginning::NoState).then_some(id);
    let clock = Clock::start();
    let is_first = !has_entries(&spool_path, spool.end().bytes)?;
    let entries = Lines::har(spool, options.fields, clock.unix_us(clock.now()), is_first);
    Ok(Box::new(Har::new(path, entries, id)?))
}

/// Opens the spool of an output that is built at the end, if nothing is at its place that is to be kept.
fn spool(opening: &Opening, format: Format) -> io::Result<(OutputFile, PathBuf)> {
    let Opening { path, beginning, options, .. } = opening;
    let is_new = !matches!(beginning, Beginning::Resumed { .. });
    if is_new && options.existing == Existing::Keep {
        expect_free(&[path.clone(), building(path)])?;
    }
    let spool_path = format.appended(path).into_owned();
    let spool = match beginning {
        Beginning::Resumed { checkpoint, .. } => {
            remove_building(path)?;
            let bytes = checkpoint.end().map_or(0, |end| end.bytes);
            if format == Format::Har && bytes > 0 && is_absent(&spool_path)? {
                take_back(path, &spool_path, bytes)?;
            }
            OutputFile::resume(spool_path.clone(), checkpoint)?
        }
        Beginning::NoState | Beginning::Begun(_) => OutputFile::create(spool_path.clone(), options.existing)?,
    };
    Ok((spool, spool_path))
}

fn is_absent(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        found => found.map(|_| false),
    }
}

fn files(Opening { path, beginning, options, .. }: Opening) -> io::Result<Box<dyn Sink>> {
    let files = Files::open(path, options.template, options.existing)?.keep_out(&options.kept)?;
    Ok(Box::new(match beginning {
        Beginning::NoState => files,
        Beginning::Begun(run) => files.durable(run)?,
        Beginning::Resumed { run, began, waiting, .. } => {
            let files = files.durable_with(run, &waiting)?;
            match began {
                Some(began) => files.since(began),
                None => files,
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_in_the_table_once() {
        let formats = [
            Format::Ndjson,
            Format::Csv,
            Format::Tsv,
            Format::Parquet,
            Format::Arrow,
            Format::Har,
            Format::Warc,
            Format::Files,
        ];
        for format in formats {
            assert_eq!(FORMATS.iter().filter(|entry| entry.format == format).count(), 1, "{format:?}");
            for suffix in format.entry().suffixes {
                assert_eq!(Format::of(&format!("a{suffix}")), Some(format), "{suffix}");
            }
        }
    }
}
