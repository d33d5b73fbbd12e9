//! Opens the outputs of a run, and the sinks that print each row.

use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use overlapped_fetch::Sink;
use overlapped_fetch::durable::Earlier;
use overlapped_fetch::sink::{self, End, Existing, Files, Lines, OutputFile};
use overlapped_proto::record::{Headers, HttpVersion, Record, column::Fields};
use overlapped_proto::sanitize::{escape, shown};

use crate::exit::Error;
use crate::flags::output::Output;
use crate::flags::plan::{Main, Show, Sinks};
use crate::flags::write_out::WriteOut;
use crate::picture::{Bar, Chart};
use crate::report::figures;
use crate::terminal;

/// The files created before the run starts. They are removed on drop, so that a refused command leaves nothing behind.
#[derive(Debug, Default)]
pub(super) struct Made {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Made {
    /// Keeps them, because the run has started.
    pub(super) fn keep(&mut self) {
        self.files.clear();
        self.folders.clear();
    }

    /// Creates the parent directory of `-o DIR/`, where the state of the run is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Output`]: it cannot be created.
    pub(super) fn parents(&mut self, plan: &Sinks) -> Result<(), Error> {
        plan.outputs.iter().try_for_each(|output| match output {
            Output::Directory(path) => {
                let above = path.parent().unwrap_or(Path::new(""));
                self.expects_folder(above);
                sink::make_directory(above).map_err(|error| Error::writing(path, &error))
            }
            Output::Stdout | Output::Ndjson(_) | Output::Csv(_) | Output::Body(_) => Ok(()),
        })
    }

    fn expects_folder(&mut self, path: &Path) {
        let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing: Vec<_> = missing.map(Path::to_owned).collect();
        self.folders.extend(missing.into_iter().rev());
    }

    fn expects_file(&mut self, path: &Path) {
        if path.symlink_metadata().is_err() {
            self.files.push(path.to_owned());
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // A directory that is not empty holds files of others, and is left.
        self.files.iter().for_each(|path| drop(std::fs::remove_file(path)));
        self.folders.iter().rev().for_each(|path| drop(std::fs::remove_dir(path)));
    }
}

/// Opens every output.
///
/// # Errors
///
/// [`Error::Usage`]: an output exists and may not be replaced. [`Error::Output`]: one cannot be opened.
pub(super) fn open(
    plan: &Sinks,
    show: Show,
    earlier: Option<&Earlier>,
    made: &mut Made,
) -> Result<Vec<Box<dyn Sink>>, Error> {
    let replaces = plan.overwrite || earlier.is_some_and(|earlier| earlier.replaces);
    let existing = if replaces { Existing::Replace } else { Existing::Keep };
    let fields = Fields::default();
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for (place, output) in plan.ordered().into_iter().enumerate() {
        let from = Beginning::of(earlier, place);
        sinks.push(match output {
            Output::Directory(path) => {
                made.expects_folder(path);
                let files = files(path, plan, existing, earlier);
                Box::new(files.map_err(|error| Error::writing(path, &error))?)
            }
            Output::Ndjson(path) => {
                made.expects_file(path);
                lines(Lines::ndjson(file(path, existing, from)?, fields), earlier)
            }
            Output::Csv(path) => {
                made.expects_file(path);
                lines(Lines::csv(file(path, existing, from)?, fields, plan.csv), earlier)
            }
            Output::Stdout | Output::Body(_) => continue,
        });
    }
    match plan.main {
        Main::Lines => sinks.push(Box::new(Told(terminal::stdout()))),
        Main::Ndjson => sinks.push(Box::new(Lines::ndjson(terminal::stdout(), fields))),
        Main::One | Main::Written | Main::Nothing => {}
    }
    if let Some(format) = &plan.write_out {
        sinks.push(Box::new(Written(terminal::stdout(), format.clone())));
    }
    if show.rows {
        sinks.push(Box::new(Told(io::stderr())));
    } else if show.failure {
        sinks.push(Box::new(Failure));
    }
    Ok(sinks)
}

fn files(path: &Path, plan: &Sinks, existing: Existing, earlier: Option<&Earlier>) -> io::Result<Files> {
    let files = Files::open(path.to_owned(), plan.name.clone(), existing)?.keep_out(&plan.kept)?;
    let Some(earlier) = earlier else { return Ok(files) };
    let files = files.durable(earlier.run)?;
    Ok(match earlier.began {
        Some(began) if earlier.begun => files.since(began),
        _ => files,
    })
}

fn lines(lines: Lines<OutputFile>, earlier: Option<&Earlier>) -> Box<dyn Sink> {
    Box::new(if earlier.is_some() { lines.durable() } else { lines })
}

/// How an output is opened.
#[derive(Clone, Copy)]
enum Beginning {
    /// By a new run without a state.
    NoState,
    /// By a new run with a state.
    Begun,
    /// By a resumed run, at this length.
    Earlier(End),
}

impl Beginning {
    fn of(earlier: Option<&Earlier>, place: usize) -> Self {
        match earlier.map(|earlier| earlier.offset(place)) {
            None => Self::NoState,
            Some(None) => Self::Begun,
            Some(Some(end)) => Self::Earlier(end),
        }
    }
}

/// Creates a file, or truncates that of a resumed run to its length. Opening a named pipe blocks until it has a reader.
fn file(path: &Path, existing: Existing, from: Beginning) -> Result<OutputFile, Error> {
    let is_pipe = || path.symlink_metadata().is_ok_and(|found| found.file_type().is_fifo());
    let opened = match from {
        Beginning::Earlier(end) => OutputFile::resume(path.to_owned(), end),
        Beginning::NoState if is_pipe() => OutputFile::pipe(path.to_owned()),
        Beginning::NoState | Beginning::Begun => OutputFile::create(path.to_owned(), existing),
    };
    let goes_on = matches!(from, Beginning::Earlier(_));
    let refused = |kind| {
        use io::ErrorKind::{AlreadyExists, InvalidData, NotFound};
        kind == AlreadyExists || goes_on && matches!(kind, InvalidData | NotFound)
    };
    opened.map_err(|error| {
        let shown = path.display();
        match (refused(error.kind()), goes_on) {
            (false, _) if error.kind() == io::ErrorKind::InvalidInput => {
                Error::Output(format!("cannot write to {shown}: {error}: remove it, or name another -o"))
            }
            (false, _) => Error::writing(path, &error),
            (true, true) => Error::Usage(format!("cannot continue {shown}: {error}")),
            (true, false) => {
                Error::Usage(format!("{shown} exists: --overwrite replaces it, another -o keeps it"))
            }
        }
    })
}

/// The head of a response, as `curl -I` prints it.
pub(super) fn head_text(version: HttpVersion, status: u16, headers: &Headers) -> Vec<u8> {
    let mut head = format!("HTTP/{} {status}\r\n", version.as_str()).into_bytes();
    for (name, value) in headers.iter() {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Prints the text of `-w` for each row.
struct Written<W>(W, WriteOut);

impl<W: Write + Send> Sink for Written<W> {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        self.0.write_all(&self.1.render(record))
    }

    fn commit(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints a line for each row: status, size, time, URL, and the error.
struct Told<W>(W);

impl<W: Write + Send> Sink for Told<W> {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let status = record.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let size = figures::bytes(record.bytes as f64);
        let took = record.started_unix_us.map(|_| record.timing.total().as_millis_f64());
        let line = format!("{status:>3}  {size:>7}  {:>8}  {}\n", figures::millis(took), row(record));
        self.0.write_all(line.as_bytes())
    }

    fn commit(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints a line on standard error for each failed row.
struct Failure;

impl Sink for Failure {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        if !record.ok {
            terminal::say(format_args!("overlapped: {}", row(record)));
        }
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The URL of a row and its error, escaped for a terminal, since both come from a peer.
fn row(record: &Record) -> String {
    let url = shown(&record.url);
    match &record.failure {
        Some(failure) => format!("{url}: {}", escape(&failure.to_string())),
        None => url,
    }
}

/// Records the times of the rows, for `--waterfall`.
pub(super) struct Picture(pub(super) Arc<Mutex<Chart>>);

impl Sink for Picture {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(Bar::of(record));
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }
}
