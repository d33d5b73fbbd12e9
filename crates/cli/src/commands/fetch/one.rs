//! A single URL, as with curl: its body is streamed to standard output or to a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use overlapped_fetch::{Begun, PartFile, Receiver, Sink, WholeFile};
use overlapped_proto::disposition::filename;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::filename::safe_path;
use overlapped_proto::header;
use overlapped_proto::record::{Body, Headers, HttpVersion, Record};

use super::sinks::head_text;
use crate::flags::continued::Continued;
use crate::flags::one::{NamedBy, One as Plan, Target};
use crate::report::MODE;
use crate::terminal;

/// The prefix of a body that is checked for binary data, as curl does.
const LOOKED_AT_BYTES: usize = 2_000;

/// The size of a copied block.
const BLOCK_BYTES: usize = 64 << 10;

/// Receives the body as a stream, and the record at its end.
#[derive(Clone)]
pub(super) struct One(Arc<Mutex<State>>);

struct State {
    plan: Plan,
    out: Out,
    bar: ProgressBar,
}

/// The destination of the body.
enum Out {
    /// No body has arrived.
    Waiting,
    Stdout {
        begun: bool,
    },
    /// Removed on drop unless it is finished.
    File(WholeFile),
    /// Kept on drop, to be continued.
    Part(PartFile),
}

impl One {
    pub(super) fn new(plan: Plan) -> Self {
        let state = State { plan, out: Out::Waiting, bar: ProgressBar::hidden() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Clears the progress bar, and removes an incomplete file.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.bar.finish_and_clear();
        state.out = Out::Waiting;
    }

    /// After a panic the file is incomplete, and is removed on drop.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver for One {
    fn begin(&mut self, head: &Begun) -> io::Result<()> {
        let mut state = self.lock();
        let text = head_text(&head.raw_head, head.version, head.status, &head.headers);
        state.name(&head.headers)?;
        state.dump(&text)?;
        state.begin(&text, head.bytes, Some(head))
    }

    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        self.lock().write(block)
    }
}

impl Sink for One {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        self.lock().accept(record)
    }

    fn commit(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

impl State {
    fn accept(&mut self, record: &Record) -> io::Result<()> {
        if let (Some(Continued { left: Some(_), .. }), Target::File(path)) =
            (&self.plan.continued, &self.plan.target)
            && cannot_be_continued(record)
        {
            PartFile::forget(path).map_err(|error| at(path, &error))?;
        }
        if matches!(self.out, Out::Waiting) && !self.take_whole(record)? {
            return Ok(());
        }
        self.bar.finish_and_clear();
        match (std::mem::replace(&mut self.out, Out::Waiting), &self.plan.target) {
            (Out::File(file), Target::File(path)) if !is_broken(record) => {
                file.finish().map_err(|error| at(path, &error))
            }
            (Out::Part(file), Target::File(path)) if !is_broken(record) => {
                file.finish().map_err(|error| at(path, &error))
            }
            // Dropped, they are removed or kept.
            (Out::File(_) | Out::Part(_) | Out::Stdout { .. } | Out::Waiting, _) => Ok(()),
        }
    }

    /// Writes the body of a record that was not streamed: that of a status that fails the row. False if there is none.
    fn take_whole(&mut self, record: &Record) -> io::Result<bool> {
        const NOT_MODIFIED: u16 = 304;
        let Some(status) = record.status else { return Ok(false) };
        let version = record.connection.http_version.unwrap_or(HttpVersion::Http11);
        let text = head_text(&record.raw_head, version, status, &record.headers);
        self.dump(&text)?;
        let is_left_out = (self.plan.unless_failed || self.plan.continued.is_some()) && !record.ok;
        if is_left_out || is_broken(record) || status == NOT_MODIFIED {
            return Ok(false);
        }
        self.name(&record.headers)?;
        self.begin(&text, None, None)?;
        match &record.body {
            Body::None => {}
            Body::Inline(bytes) => self.write(bytes)?,
            Body::Spooled(body) => self.copy(&mut body.reader())?,
            Body::File(path) => self.copy(&mut File::open(path)?)?,
        }
        Ok(true)
    }

    fn copy(&mut self, from: &mut dyn io::Read) -> io::Result<()> {
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            match from.read(&mut block)? {
                0 => return Ok(()),
                n => self.write(block.get(..n).unwrap_or_default())?,
            }
        }
    }

    /// `-J`: takes the name that the server gives, if it gives one. It is one that a row's file may have: no path, and not
    /// hidden.
    fn name(&mut self, headers: &Headers) -> io::Result<()> {
        let Some(named_by) = self.plan.named_by.take() else { return Ok(()) };
        let Some(name) = headers.first("content-disposition").and_then(filename) else { return Ok(()) };
        let name = name.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
        let path = PathBuf::from(safe_path(name, 0));
        let named = |what: &str| {
            let what = format!("the server has named the file {}, {what}", path.display());
            io::Error::new(io::ErrorKind::AlreadyExists, what)
        };
        WholeFile::check(&path)
            .map_err(|error| named(&format!("which cannot be written: {error}: -o NAME names another")))?;
        if named_by == NamedBy::ServerKeeping && path.symlink_metadata().is_ok() {
            return Err(named("which is there: --overwrite replaces it, -o NAME names another"));
        }
        self.plan.target = Target::File(path);
        Ok(())
    }

    /// `-D`.
    fn dump(&self, head: &[u8]) -> io::Result<()> {
        match &self.plan.dump_header {
            None => Ok(()),
            Some(path) if path == Path::new("-") => terminal::stdout().write_all(head),
            Some(path) => whole(path)
                .and_then(|mut file| {
                    file.write_all(head)?;
                    file.finish()
                })
                .map_err(|error| at(path, &error)),
        }
    }

    fn begin(&mut self, head: &[u8], bytes: Option<u64>, begun: Option<&Begun>) -> io::Result<()> {
        self.out = match &self.plan.target {
            Target::Screen | Target::Stdout => Out::Stdout { begun: false },
            Target::File(path) => match self.plan.continued.as_ref().zip(begun) {
                Some((continued, begun)) => {
                    Out::Part(part(path, continued, begun).map_err(|error| at(path, &error))?)
                }
                None => Out::File(whole(path).map_err(|error| at(path, &error))?),
            },
        };
        if self.plan.include {
            match &mut self.out {
                Out::Waiting | Out::Stdout { .. } => terminal::stdout().write_all(head)?,
                Out::File(file) => file.write_all(head)?,
                Out::Part(file) => file.write_all(head)?,
            }
        }
        if self.plan.bar {
            self.bar = bar(bytes);
        }
        Ok(())
    }

    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        self.bar.inc(block.len() as u64);
        match &mut self.out {
            Out::Waiting => Ok(()),
            Out::File(file) => file.write_all(block).map_err(|error| self.plan.told(&error)),
            Out::Part(file) => file.write_all(block).map_err(|error| self.plan.told(&error)),
            Out::Stdout { begun } => {
                let is_first = !std::mem::replace(begun, true);
                let looked_at = block.get(..LOOKED_AT_BYTES).unwrap_or(block);
                if is_first && self.plan.target == Target::Screen && looked_at.contains(&0) {
                    return Err(io::Error::other(
                        "the body is binary and could mess up the terminal: -o FILE saves it, -o - prints it",
                    ));
                }
                let mut stdout = io::stdout().lock();
                stdout.write_all(block).and_then(|()| stdout.flush())
            }
        }
    }
}

impl Plan {
    /// An error of its file.
    fn told(&self, error: &io::Error) -> io::Error {
        match &self.target {
            Target::File(path) => at(path, error),
            Target::Screen | Target::Stdout => io::Error::new(error.kind(), error.to_string()),
        }
    }
}

/// The file of a body that is fetched in several runs. The engine has checked that a 206 goes on where it was asked to, with the
/// same body.
fn part(path: &Path, continued: &Continued, head: &Begun) -> io::Result<PartFile> {
    const PARTIAL: u16 = 206;
    let left = continued.left.as_ref().filter(|_| head.status == PARTIAL);
    let validator = left.map_or_else(|| validator(&head.headers), |left| Some(left.validator.clone()));
    PartFile::open(path, &continued.url, validator, left.map(|left| (left, 1)), MODE)
}

/// True if what is left can never be continued: the next run begins anew.
fn cannot_be_continued(record: &Record) -> bool {
    const RANGE_NOT_SATISFIABLE: u16 = 416;
    let kind = record.failure.as_ref().map(|failure| failure.kind);
    record.status == Some(RANGE_NOT_SATISFIABLE) || kind == Some(ErrorKind::BodyRangeMismatch)
}

/// What proves that a later response is of the same body: a strong entity tag, or a date of a second in which it can no longer have
/// changed (RFC 9110, section 8.8.2.2). A body that was decoded has no ranges.
fn validator(headers: &Headers) -> Option<String> {
    if headers.first("content-encoding").is_some() {
        return None;
    }
    let tag = headers.first("etag").filter(|tag| tag.starts_with(b"\""));
    let date = headers
        .first("last-modified")
        .filter(|changed| headers.first("date").is_some_and(|date| date != *changed));
    let text = String::from_utf8(tag.or(date)?.to_vec()).ok()?;
    header::check("if-range", &text).is_ok().then_some(text)
}

/// True if there is no complete response. A status that fails the row is a complete response.
fn is_broken(record: &Record) -> bool {
    record.failure.as_ref().is_some_and(|failure| failure.kind != ErrorKind::Status)
}

fn whole(path: &Path) -> io::Result<WholeFile> {
    WholeFile::create(path, MODE)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The progress bar of a body that does not go to the terminal.
fn bar(bytes: Option<u64>) -> ProgressBar {
    let (text, bar) = match bytes {
        Some(bytes) => ("{bytes} of {total_bytes}  {bytes_per_sec}  {eta} left", ProgressBar::new(bytes)),
        None => ("{bytes}  {bytes_per_sec}", ProgressBar::no_length()),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.with_style(ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
