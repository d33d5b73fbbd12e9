//! The list, read ahead a block at a time. Reading and parsing block, so a [`Feed`] lives on the disk lane; nothing
//! here knows who takes the rows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use overlapped_proto::error::ErrorKind;
use overlapped_proto::input::{BadRow, Format, Options, Reader, RowRead};
use overlapped_proto::journal::Mark;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;

use crate::durable::Passed;
use crate::error::Error;

/// Where the rows of a run come from.
pub enum Input {
    /// URLs one by one, as from a command line. Pulled on a thread of the executor, so the iterator may block.
    Urls(Box<dyn Iterator<Item = String> + Send>),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// Anything that can be read, and what to call it in messages.
    Read(Box<dyn Read + Send>, String),
}

/// How a list is to be read.
#[derive(Clone, Debug, Default)]
pub struct InputOptions {
    /// Its format; `None`: by the file's name, else by its first byte.
    pub format: Option<Format>,
    /// How its columns are named.
    pub columns: Options,
    /// Rows passed over at the start. They keep their numbers.
    pub skip: u64,
    /// Rows taken after that.
    pub limit: Option<u64>,
}

/// A block of rows, and how far into the list it reaches.
#[derive(Default)]
pub(crate) struct Block {
    pub(crate) rows: Vec<RowRead>,
    pub(crate) bytes_read: u64,
    pub(crate) ended: bool,
    /// Where it begins, if reading may begin there again.
    pub(crate) mark: Option<Mark>,
}

/// An open list.
pub(crate) struct Feed {
    source: Source,
    name: String,
    options: InputOptions,
    reader: Option<Reader>,
    /// Rows that an earlier run has dealt with.
    passed: Passed,
    /// Reading can begin again anywhere in it.
    plain: bool,
    buffer: Vec<u8>,
}

enum Source {
    Urls(Box<dyn Iterator<Item = String> + Send>),
    Bytes(Box<dyn Read + Send>),
}

impl Feed {
    /// Opens a list; also says how many bytes it has, where that is known.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(crate) fn open(
        input: Input,
        options: InputOptions,
        passed: Passed,
    ) -> Result<(Self, Option<u64>), Error> {
        let (mut reader, mut plain) = (None, false);
        let (source, name, bytes) = match input {
            Input::Urls(urls) => (Source::Urls(urls), "given as URLs".to_owned(), None),
            Input::Stdin => (Source::Bytes(Box::new(io::stdin())), "on standard input".to_owned(), None),
            Input::Read(read, name) => (Source::Bytes(read), name, None),
            Input::File(path) => {
                let name = path.display().to_string();
                let opened = open_file(&path).and_then(|(mut file, bytes)| {
                    plain = bytes.is_some();
                    if let Some(mark) = passed.mark.filter(|_| plain) {
                        reader = seek(&mut file, &name, &options, mark)?;
                    }
                    Ok((file, bytes))
                });
                let (file, bytes) = opened.map_err(|error| Error::input(&name, error))?;
                (Source::Bytes(Box::new(file)), name, bytes)
            }
        };
        Ok((Self { source, name, options, reader, passed, plain, buffer: Vec::new() }, bytes))
    }

    /// The next rows.
    ///
    /// # Blocking
    ///
    /// For as long as the source does.
    pub(crate) fn read(&mut self) -> Result<Block, Error> {
        let mut block = Block::default();
        let more = match &mut self.source {
            Source::Urls(urls) => {
                let mut line = Vec::new();
                for url in urls.by_ref().take(limits::INPUT_BLOCK_ROWS) {
                    line.extend_from_slice(url.replace(['\n', '\r'], "%0A").as_bytes());
                    line.push(b'\n');
                }
                self.buffer = line;
                !self.buffer.is_empty()
            }
            Source::Bytes(read) => {
                self.buffer.resize(limits::INPUT_BLOCK_BYTES, 0);
                let count =
                    read_some(read, &mut self.buffer).map_err(|error| Error::input(&self.name, error))?;
                self.buffer.truncate(count);
                count > 0
            }
        };
        self.parse(&mut block).map_err(|failure| Error::list(&self.name, &failure))?;
        block.ended |= !more;
        Ok(block)
    }

    /// Parses the buffer; an empty one is the end of the list.
    fn parse(&mut self, block: &mut Block) -> Result<(), Failure> {
        let skip = self.options.skip;
        let end = self.options.limit.map_or(u64::MAX, |limit| skip.saturating_add(limit));
        let (passed, plain) = (&self.passed, self.plain);
        let mut take = |row: RowRead| {
            let number = row.row();
            if plain && block.mark.is_none() {
                block.mark = Some(Mark { row: number, offset: row.offset });
            }
            if (skip..end).contains(&number.0) && !passed.done.contains(number) {
                block.rows.push(if passed.in_doubt.contains(number) { unconfirmed(row) } else { row });
            }
        };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            empty @ None => {
                let sniffed = match self.source {
                    Source::Urls(_) => Format::Text,
                    Source::Bytes(_) => Format::sniff(&self.buffer, Some(&self.name)),
                };
                let format = self.options.format.unwrap_or(sniffed);
                empty.insert(Reader::new(format, self.options.columns.clone()))
            }
        };
        if self.buffer.is_empty() {
            reader.finish(&mut take)?;
        } else {
            reader.push(&self.buffer, &mut take)?;
        }
        block.bytes_read = reader.bytes_consumed();
        block.ended = reader.rows() >= end;
        Ok(())
    }
}

/// A row whose request may have been sent by a run that ended before it knew what came of it.
fn unconfirmed(row: RowRead) -> RowRead {
    let Ok(job) = row.job else { return row };
    let message = "an earlier run has sent this request, or was about to, and does not know what came of it; \
                   it is not sent again unasked";
    let failure = Failure::new(ErrorKind::RunUnconfirmed, message);
    let (id, meta) = job.ask.as_deref().map(|ask| (ask.id.clone(), ask.meta.clone())).unwrap_or_default();
    let bad = BadRow { row: job.row, given: job.given().into(), id, meta, failure };
    RowRead { job: Err(bad), ..row }
}

/// Goes on from a mark, if the format allows it: a table is read from its names on.
fn seek(file: &mut File, name: &str, options: &InputOptions, mark: Mark) -> io::Result<Option<Reader>> {
    let mut first = Vec::new();
    Read::by_ref(file).take(limits::INPUT_BLOCK_BYTES as u64).read_to_end(&mut first)?;
    let format = options.format.unwrap_or_else(|| Format::sniff(&first, Some(name)));
    let reader = Reader::resume(format, options.columns.clone(), mark.row, mark.offset);
    file.seek(SeekFrom::Start(reader.as_ref().map_or(0, |_| mark.offset)))?;
    Ok(reader)
}

fn open_file(path: &PathBuf) -> io::Result<(File, Option<u64>)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory, not a list of URLs"));
    }
    Ok((file, if meta.is_file() { Some(meta.len()) } else { None }))
}

fn read_some(read: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match read.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
