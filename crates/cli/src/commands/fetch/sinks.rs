//! Opens the outputs of a run, and the sinks that print each row.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use overlapped_fetch::Sink;
use overlapped_fetch::durable::{Earlier, Output};
use overlapped_fetch::sink::{self, Existing, Format, FormatOptions, Lines, WithoutBodies};
use overlapped_proto::record::{Headers, HttpVersion, Record, column::Fields};
use overlapped_proto::sanitize::{escape, shown};

use crate::exit::Error;
use crate::flags::show::Show;
use crate::flags::sinks::{Main, Sinks};
use crate::flags::write_out::WriteOut;
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
        plan.outputs.iter().filter(|output| output.format == Format::Files).try_for_each(|output| {
            let above = output.path.parent().unwrap_or(Path::new(""));
            self.expects_folder(above);
            sink::make_directory(above).map_err(|error| Error::writing(&output.path, &error))
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
    let fields = Fields::default();
    let options = FormatOptions {
        existing: if replaces { Existing::Replace } else { Existing::Keep },
        fields,
        guard: plan.csv,
        template: plan.name.clone(),
        warc: plan.warc,
        kept: plan.kept.clone(),
    };
    // Without an archive no body comes that far.
    let strips = plan.bodiless && plan.has_archive();
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for output in plan.ordered() {
        match output.format {
            Format::Ndjson
            | Format::Csv
            | Format::Tsv
            | Format::Parquet
            | Format::Arrow
            | Format::Har
            | Format::Warc => {
                made.expects_file(&output.format.appended(&output.path));
                output.format.beside(&output.path, plan.warc).iter().for_each(|path| made.expects_file(path));
            }
            Format::Files => made.expects_folder(&output.path),
        }
        let opened = output.open(earlier, options.clone());
        let goes_on = earlier.is_some_and(|earlier| earlier.begun);
        let opened = opened.map_err(|error| refused(output, goes_on, &error))?;
        sinks.push(if strips && output.format != Format::Warc {
            Box::new(WithoutBodies::new(opened))
        } else {
            opened
        });
    }
    match plan.main {
        Main::Lines => sinks.push(Box::new(Told(terminal::stdout()))),
        Main::Ndjson => {
            let lines = Box::new(Lines::ndjson(terminal::stdout(), fields));
            sinks.push(if strips { Box::new(WithoutBodies::new(lines)) } else { lines });
        }
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

/// What an output that cannot be opened means for the command.
fn refused(output: &Output, goes_on: bool, error: &io::Error) -> Error {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound};
    let path = &output.path;
    let appended = output.format.appended(path);
    // A spool may be there without what is built from it.
    let shown = if path.symlink_metadata().is_err() { appended.display() } else { path.display() };
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
    if output.format == Format::Files {
        Error::writing(path, error)
    } else if goes_on && is(&[AlreadyExists, InvalidData, NotFound]) {
        Error::Usage(format!("cannot continue {shown}: {error}"))
    } else if is(&[AlreadyExists]) {
        // What is beside the output has its name in the error.
        let what = if error.get_ref().is_some() { error.to_string() } else { format!("{shown} exists") };
        Error::Usage(format!("{what}: --overwrite replaces it, another -o keeps it"))
    } else if is(&[InvalidInput]) {
        Error::Output(format!("cannot write to {shown}: {error}: remove it, or name another -o"))
    } else {
        Error::writing(path, error)
    }
}

/// The head of a response, as `curl -I` prints it: as it came, or in the words of HTTP/1.1 if it came otherwise.
pub(super) fn head_text(raw: &[u8], version: HttpVersion, status: u16, headers: &Headers) -> Vec<u8> {
    if !raw.is_empty() {
        return raw.to_vec();
    }
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
