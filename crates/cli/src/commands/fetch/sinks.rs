//! Where the records of a run go: the outputs that the plan names, opened, and what a person is told of each row.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use overlapped_fetch::Sink;
use overlapped_fetch::sink::{BodyTo, Existing, Files, Lines};
use overlapped_proto::display::{escape, redact};
use overlapped_proto::record::{HttpVersion, Record, column::Fields, csv};

use crate::exit::Error;
use crate::flags::output::Output;
use crate::flags::plan::{Main, Show, Sinks};
use crate::picture::{Bar, Chart};
use crate::report::figures;
use crate::terminal;

/// Opens everything that is written to.
///
/// # Errors
///
/// [`Error::Usage`]: an output exists and may not be replaced. [`Error::Output`]: one cannot be opened.
pub(super) fn open(plan: Sinks, show: Show) -> Result<Vec<Box<dyn Sink>>, Error> {
    let existing = if plan.overwrite { Existing::Replace } else { Existing::Keep };
    let fields = Fields::default();
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    // A directory comes first: it gives a body its place, which the records that follow tell.
    let mut outputs = plan.outputs;
    outputs.sort_by_key(|output| !matches!(output, Output::Directory(_)));
    for output in outputs {
        sinks.push(match output {
            Output::Directory(path) => {
                let files = Files::open(path.clone(), plan.name.clone(), existing);
                Box::new(files.map_err(|error| Error::writing(&path, &error))?)
            }
            Output::Ndjson(path) => Box::new(Lines::ndjson(Named::create(path, existing)?, fields)),
            Output::Csv(path) => {
                Box::new(Lines::csv(Named::create(path, existing)?, fields, csv::Guard::default()))
            }
            Output::Stdout => continue,
        });
    }
    match plan.main {
        Main::Body => sinks.push(Box::new(BodyTo::new(io::stdout()))),
        Main::BodyIfOk => sinks.push(Box::new(IfOk(BodyTo::new(io::stdout())))),
        Main::Head => sinks.push(Box::new(Head(io::stdout()))),
        Main::Lines => sinks.push(Box::new(Told(io::stdout()))),
        Main::Ndjson => sinks.push(Box::new(Lines::ndjson(io::stdout(), fields))),
        Main::Nothing => {}
    }
    if show.rows {
        sinks.push(Box::new(Told(io::stderr())));
    } else if show.failure {
        sinks.push(Box::new(Failure));
    }
    Ok(sinks)
}

/// A file whose errors say which file.
struct Named {
    path: PathBuf,
    file: File,
}

impl Named {
    fn create(path: PathBuf, existing: Existing) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.write(true);
        match existing {
            Existing::Replace => options.create(true).truncate(true),
            Existing::Keep => options.create_new(true),
        };
        let file = match options.open(&path) {
            // A device or an empty file holds nothing that could be lost.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && holds_nothing(&path) => {
                OpenOptions::new().write(true).open(&path)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let path = path.display();
                return Err(Error::Usage(format!(
                    "{path} exists: --overwrite replaces it, another -o keeps it"
                )));
            }
            opened => opened,
        };
        file.map_err(|error| Error::writing(&path, &error)).map(|file| Self { path, file })
    }

    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

fn holds_nothing(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_dir() && (!found.is_file() || found.len() == 0))
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        self.named(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.named(result)
    }
}

/// Passes on what succeeded.
struct IfOk<S>(S);

impl<S: Sink> Sink for IfOk<S> {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        if record.ok { self.0.accept(record) } else { Ok(()) }
    }

    fn commit(&mut self) -> io::Result<()> {
        self.0.commit()
    }
}

/// The head of a response, as `curl -I` prints it.
struct Head<W>(W);

impl<W: Write + Send> Sink for Head<W> {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let Some(status) = record.status else { return Ok(()) };
        let version = record.connection.http_version.map_or("1.1", HttpVersion::as_str);
        let mut head = format!("HTTP/{version} {status}\r\n").into_bytes();
        for (name, value) in record.headers.iter() {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        self.0.write_all(&head)
    }

    fn commit(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line a row, for a person: status, size, time, URL, and what went wrong.
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

/// One line on standard error if the row failed.
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

/// The URL of a row, and why it failed: text from strangers, fit for a terminal.
fn row(record: &Record) -> String {
    let url = redact(&record.url);
    match &record.failure {
        Some(failure) => format!("{}: {}", escape(&url), escape(&failure.to_string())),
        None => escape(&url).into_owned(),
    }
}

/// Remembers the times of the rows, for `--waterfall`.
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
