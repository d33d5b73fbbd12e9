//! The list, read ahead a block at a time. Reading and parsing block, so a [`Feed`] is used on the disk view of the
//! executor.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use overlapped_proto::error::ErrorKind;
use overlapped_proto::input::{BadRow, Format, Options, Reader, RowRead, typed, url};
use overlapped_proto::job::{Ask, Job, Row, Shard, Span};
use overlapped_proto::journal::{Listed, Mark};
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::prefix::Prefix;
use overlapped_proto::unread::{Extent, Position};

use super::list_file::ListFile;
use super::unpack::Unpack;
use crate::durable::{DiskFailed, Passed};
use crate::error::Error;
use crate::table_list;

/// Where the rows of a run come from. Input compressed with gzip or zstd is decompressed while it is read.
pub enum Input {
    /// URLs one by one, as from a command line. Pulled on a thread of the executor, so the iterator may block.
    Urls(Box<dyn Iterator<Item = String> + Send>),
    /// Rows one by one, with their own headers, bodies and file names. Pulled in the same way.
    Rows(Box<dyn Iterator<Item = crate::row::Row> + Send>),
    /// Rows in batches, for a list of which more comes only when earlier rows are done. It is called with the most rows that
    /// are wanted, on a thread of the executor, and may wait for the first of them; an empty batch ends the list. An error ends it
    /// too soon: the rows before it are done, then the run fails, and a durable one keeps its state.
    Batches(Batches),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// Any reader, and its name in messages.
    Read(Box<dyn Read + Send>, String),
}

/// The function of [`Input::Batches`].
pub type Batches = Box<dyn FnMut(usize) -> io::Result<Vec<crate::row::Row>> + Send>;

/// How a list is to be read.
///
/// ```
/// use overlapped_fetch::{Bulk, Config, Format, Input, InputOptions, sink};
///
/// let list = "link\nhttp://127.0.0.1:1/a\nhttp://127.0.0.1:1/b\nhttp://127.0.0.1:1/c\n";
/// let mut options = InputOptions { format: Some(Format::Csv), skip: 1, limit: Some(1), ..InputOptions::default() };
/// options.columns.url_column = "link".into();
/// let (records, collected) = sink::collect();
/// Bulk::new(Config::default())?
///     .input(Input::Read(Box::new(list.as_bytes()), "links".into()))
///     .input_options(options)
///     .sink(records)
///     .start()?
///     .wait()?;
/// assert_eq!(collected.take()[0].url.as_ref(), "http://127.0.0.1:1/b");
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct InputOptions {
    /// Its format; `None`: detected by the file's name, then by its first byte.
    pub format: Option<Format>,
    /// How its columns are named.
    pub columns: Options,
    /// Rows skipped at the start. Row numbers do not change.
    pub skip: u64,
    /// The number of rows after these, before `shard` selects among them.
    pub limit: Option<u64>,
    /// One partition of the list by host (`--shard K/N`). Row numbers do not change.
    pub shard: Option<Shard>,
}

impl InputOptions {
    /// One past the last row.
    fn end(&self) -> u64 {
        self.limit.map_or(u64::MAX, |limit| self.skip.saturating_add(limit))
    }

    /// True if a row is to be fetched.
    fn takes(&self, row: &RowRead) -> bool {
        let host = row.job.as_ref().ok().map(|job| job.host);
        self.ranges_over(row) && self.shard.is_none_or(|shard| shard.has(row.row(), host))
    }

    /// True if a row is in the range from which the partition is selected.
    fn ranges_over(&self, row: &RowRead) -> bool {
        (self.skip..self.end()).contains(&row.row().0)
    }

    fn extent(&self, bytes: Option<u64>) -> Extent {
        Extent { bytes, begin: self.skip, end: self.end(), parts: self.shard.map_or(1, |shard| shard.of) }
    }
}

/// A block of rows, and the position in the list after it.
#[derive(Default)]
pub(crate) struct Block {
    pub(crate) rows: Vec<RowRead>,
    pub(crate) bytes_read: u64,
    pub(crate) ended: bool,
    /// The number of rows after these, where it is known.
    pub(crate) unread: Option<u64>,
    /// Its first row and offset, if reading can resume there.
    pub(crate) mark: Option<Mark>,
    /// Rows left out because an earlier run has completed them.
    pub(crate) passed: u64,
    /// Length and checksum of the list up to here, in a durable run.
    pub(crate) listed: Option<Listed>,
    /// The error that ended the list, unless it was read to its end.
    pub(crate) failure: Option<Error>,
}

/// An open list.
pub(crate) struct Feed {
    source: Source,
    name: String,
    options: InputOptions,
    reader: Option<Reader>,
    /// Rows that an earlier run has completed.
    passed: Passed,
    /// True for a regular file, in which reading can resume at any row; still false if it turns out to be compressed.
    plain: bool,
    /// A second handle of the file for reading spilled rows again, until it is published in `list_file`.
    again: Option<File>,
    list_file: Arc<OnceLock<ListFile>>,
    /// The offset at which reading began, and the number of rows before it that are not reported yet.
    began: u64,
    before: u64,
    /// The running checksum of the file, in a durable run.
    prefix: Option<Shared>,
    /// The block read by [`Feed::prime`].
    first: Option<Block>,
    /// Rows and bytes pulled so far from an iterator.
    pulled: u64,
    pulled_bytes: u64,
    /// Parses their URLs.
    urls: url::Parser,
    /// Bytes of the list, where that is known.
    length: Option<u64>,
    /// The number of its rows, where that is known.
    rows: Option<u64>,
    /// Rows seen in the selected range, and those of them in this partition.
    seen: u64,
    own: u64,
    buffer: Vec<u8>,
    /// The beginning of the list, until the format is known.
    head: Vec<u8>,
}

enum Source {
    Urls(Box<dyn Iterator<Item = String> + Send>),
    Rows(Box<dyn Iterator<Item = crate::row::Row> + Send>),
    Batches(Batches),
    Bytes(Unpack),
}

impl Feed {
    /// Opens a list. Also returns its length in bytes, where it is known.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(crate) fn open(
        input: Input,
        options: InputOptions,
        passed: Passed,
        list_file: Arc<OnceLock<ListFile>>,
    ) -> Result<(Self, Option<u64>), Error> {
        let bytes = |read, name: &str| Source::Bytes(Unpack::new(read, name));
        let (mut reader, mut plain, mut began, mut before, mut again) = (None, false, 0, 0, None);
        let (mut table, mut rows) = (false, None);
        let mut prefix = None;
        let (source, name, length) = match input {
            Input::Urls(urls) => (Source::Urls(urls), "given as URLs".to_owned(), None),
            Input::Rows(rows) => (Source::Rows(rows), "given as rows".to_owned(), None),
            Input::Batches(batches) => (Source::Batches(batches), "given as rows".to_owned(), None),
            Input::Stdin => (bytes(Box::new(io::stdin()), ""), "on standard input".to_owned(), None),
            Input::Read(read, name) => (bytes(read, &name), name, None),
            Input::File(path) => {
                let name = path.display().to_string();
                let opened = open_file(&path).and_then(|(mut file, length)| {
                    plain = length.is_some();
                    let mark = passed.mark.filter(|_| plain);
                    let from = mark.map_or(0, |mark| mark.row.0);
                    let lines = table_list::open(&path, &file, options.format, &options.columns, from)?;
                    if let Some(lines) = lines {
                        (table, rows) = (true, lines.rows);
                        (began, before) = mark.map_or((0, 0), |mark| (mark.offset, mark.row.0));
                        let columns = options.columns.clone();
                        reader = Reader::resume(Format::Ndjson, columns, Row(before), began);
                        // Where it is counts in lines, not in bytes of the file.
                        return Ok((lines.read, None));
                    }
                    again = file.try_clone().ok().filter(|_| plain);
                    if let Some(mark) = mark {
                        reader = seek(&mut file, &name, &options, mark)?;
                        (began, before) = reader.as_ref().map_or((0, 0), |_| (mark.offset, mark.row.0));
                    }
                    let read: Box<dyn Read + Send> = Box::new(file);
                    Ok((read, length))
                });
                let (read, length) = opened.map_err(|error| Error::input(&name, 0, error))?;
                // A spooled list has its own checksum. Otherwise the checksum can go on only if nothing is skipped.
                let known = passed.prefix.clone().filter(|known| plain && began <= known.listed().bytes);
                prefix = known.map(|known| Arc::new(Mutex::new(known)));
                let read = match prefix.clone() {
                    None => read,
                    Some(prefix) => Box::new(Hashed { read, at: began, prefix }),
                };
                // Lines are not packed, whatever the table is called.
                (bytes(read, if table { "" } else { &name }), name, length)
            }
        };
        let feed = Self {
            source,
            name,
            options,
            reader,
            passed,
            plain,
            again,
            list_file,
            began,
            before,
            prefix,
            first: None,
            pulled: 0,
            pulled_bytes: 0,
            urls: url::Parser::default(),
            length,
            rows,
            seen: 0,
            own: 0,
            buffer: Vec::new(),
            head: Vec::new(),
        };
        Ok((feed, length))
    }

    /// Reads the first rows ahead, which shows whether the list can be read at all.
    ///
    /// # Errors
    ///
    /// The list cannot be read. Nothing has been fetched or written yet.
    ///
    /// # Blocking
    ///
    /// Until the source has given its first block.
    pub(crate) fn prime(&mut self) -> Result<(), Error> {
        if self.first.is_some() {
            return Ok(());
        }
        let is_empty = |block: &Block| block.rows.is_empty() && block.passed == 0 && !block.ended;
        let mut block = self.read(Vec::new());
        while is_empty(&block) {
            block = self.read(block.rows);
        }
        match block.failure.take() {
            Some(failure) if block.rows.is_empty() => return Err(failure),
            failure => block.failure = failure,
        }
        self.first = Some(block);
        Ok(())
    }

    /// True if it is a regular file, whose first rows can be read without waiting for another process.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// The next rows. Reuses `spare`, which must be empty.
    ///
    /// # Blocking
    ///
    /// Until the source has given a block.
    pub(crate) fn read(&mut self, spare: Vec<RowRead>) -> Block {
        if let Some(first) = self.first.take() {
            return first;
        }
        let passed = std::mem::take(&mut self.before);
        let mut block = Block { rows: spare, passed, ..Block::default() };
        let read = match &mut self.source {
            Source::Urls(urls) => {
                let urls = urls.by_ref().take(block_rows(self.pulled)).collect::<Vec<_>>();
                let ended = urls.is_empty();
                for url in urls {
                    let url = url.trim();
                    self.number(url.len(), |row, urls| typed(row, url, Ask::default(), urls), &mut block);
                }
                self.pulled(ended, &mut block);
                Ok(())
            }
            Source::Rows(rows) => {
                let rows = rows.by_ref().take(block_rows(self.pulled)).collect::<Vec<_>>();
                self.take_rows(rows, &mut block);
                Ok(())
            }
            Source::Batches(batches) => match batches(limits::INPUT_BLOCK_ROWS) {
                Ok(rows) => {
                    self.take_rows(rows, &mut block);
                    Ok(())
                }
                Err(error) => Err(Error::input(&self.name, self.rows(), error)),
            },
            Source::Bytes(read) => {
                self.buffer.resize(limits::INPUT_BLOCK_BYTES, 0);
                let count = read_some(read, &mut self.buffer);
                block.bytes_read = self.began + read.taken();
                let is_short =
                    |was: &u64| matches!(count, Ok(0)) && !read.is_packed() && block.bytes_read < *was;
                match (self.length.filter(is_short), count) {
                    (Some(was), _) => {
                        // Its last line may be a part of one.
                        let now = block.bytes_read;
                        let what = format!("it had {was} bytes when it was opened, and has {now} now");
                        Err(Error::input(&self.name, self.rows(), io::Error::other(what)))
                    }
                    (None, Ok(count)) => {
                        self.buffer.truncate(count);
                        self.parse(&mut block).map_err(|failure| Error::list(&self.name, &failure))
                    }
                    (None, Err(error)) => Err(match error.downcast() {
                        Ok(DiskFailed(error)) => Error::output(error),
                        Err(error) => Error::input(&self.name, self.rows(), error),
                    }),
                }
            }
        };
        block.ended |= read.is_err();
        block.failure = read.err();
        block.unread = if block.ended { Some(0) } else { self.unread(block.bytes_read) };
        block.listed = self.prefix.as_ref().map(|prefix| lock(prefix).listed());
        block
    }

    fn unread(&self, bytes: u64) -> Option<u64> {
        let position = Position { rows: self.rows(), bytes, seen: self.seen, own: self.own };
        let extent = self.options.extent(self.length);
        Extent { end: extent.end.min(self.rows.unwrap_or(u64::MAX)), ..extent }.unread(position)
    }

    /// Rows read so far.
    fn rows(&self) -> u64 {
        self.reader.as_ref().map_or(self.pulled, Reader::rows)
    }

    /// Adds typed rows. None is the end of the list.
    fn take_rows(&mut self, rows: Vec<crate::row::Row>, block: &mut Block) {
        let ended = rows.is_empty();
        for row in rows {
            let (url, ask) = row.into_parts();
            self.number(url.len(), |row, urls| typed(row, url.trim(), ask, urls), block);
        }
        self.pulled(ended, block);
    }

    /// Adds a row from an iterator. Blank values and comments are rows too, unlike in a file.
    fn number(
        &mut self,
        bytes: usize,
        job: impl FnOnce(Row, &mut url::Parser) -> Result<Job, BadRow>,
        block: &mut Block,
    ) {
        let bytes = bytes as u64;
        let job = job(Row(self.pulled), &mut self.urls);
        let read = RowRead { line: self.pulled + 1, offset: 0, bytes, job };
        self.pulled += 1;
        self.pulled_bytes += bytes;
        self.seen += u64::from(self.options.ranges_over(&read));
        self.own += u64::from(self.options.takes(&read));
        pick(&self.options, &self.passed, read, block);
    }

    /// Ends a block from an iterator. An empty one is the end of the list.
    fn pulled(&self, ended: bool, block: &mut Block) {
        block.bytes_read = self.pulled_bytes;
        block.ended = ended || self.pulled >= self.options.end();
    }

    /// Parses the buffer. An empty buffer is the end of the list.
    fn parse(&mut self, block: &mut Block) -> Result<(), Failure> {
        let ended = self.buffer.is_empty();
        if self.reader.is_none() {
            self.head.append(&mut self.buffer);
            let waits = !Format::has_begun(&self.head) || table_list::may_begin(&self.head);
            if !ended && self.head.len() < limits::INPUT_BLOCK_BYTES && waits {
                return Ok(());
            }
            self.buffer = std::mem::take(&mut self.head);
            if let Some(problem) = table_list::misplaced(self.options.format, &self.buffer) {
                return Err(Failure::new(ErrorKind::InputFormat, problem));
            }
        }
        let (options, passed) = (&self.options, &self.passed);
        let (seen, own) = (&mut self.seen, &mut self.own);
        let plain = self.plain && matches!(&self.source, Source::Bytes(read) if !read.is_packed());
        let again = plain && (self.again.is_some() || self.list_file.get().is_some());
        let mut take = |mut row: RowRead| {
            // A row without bytes reports damage to a JSON array; reading cannot resume there.
            if plain && block.mark.is_none() && row.bytes > 0 {
                block.mark = Some(Mark { row: row.row(), offset: row.offset });
            }
            if let (true, Ok(job)) = (again, &mut row.job) {
                job.span = Span::new(row.offset, row.bytes);
            }
            *seen += u64::from(options.ranges_over(&row));
            *own += u64::from(options.takes(&row));
            pick(options, passed, row, block);
        };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            empty @ None => {
                let first = self.buffer.get(..limits::INPUT_BLOCK_BYTES).unwrap_or(&self.buffer);
                let sniffed = || Format::sniff(first, Some(&self.name));
                let format = self.options.format.unwrap_or_else(sniffed);
                empty.insert(Reader::new(format, self.options.columns.clone()))
            }
        };
        let mut parsed = reader.push(&self.buffer, &mut take);
        if ended {
            parsed = parsed.and_then(|()| reader.finish(&mut take));
        }
        block.ended = ended || reader.rows() >= self.options.end();
        if plain
            && self.again.is_some()
            && let Some(reread) = reader.reread()
            && let Some(file) = self.again.take()
        {
            let _ = self.list_file.set(ListFile { file, reread });
        }
        parsed
    }
}

/// Adds the row to the block if it is selected and not done.
fn pick(options: &InputOptions, passed: &Passed, row: RowRead, block: &mut Block) {
    let number = row.row();
    if !options.takes(&row) {
        return;
    }
    if passed.done.contains(number) {
        block.passed += 1;
        return;
    }
    block.rows.push(row);
}

/// The running checksum of the list, shared by its reader and its feed.
type Shared = Arc<Mutex<Prefix>>;

fn lock(prefix: &Shared) -> std::sync::MutexGuard<'_, Prefix> {
    prefix.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A list that is hashed while it is read.
struct Hashed {
    read: Box<dyn Read + Send>,
    at: u64,
    prefix: Shared,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read.read(buffer)?;
        let read = buffer.get(..count).expect("a list gives no more bytes than the buffer holds");
        lock(&self.prefix).read(self.at, read);
        self.at += count as u64;
        Ok(count)
    }
}

/// Rows pulled for one block. The first blocks are small: an iterator may take long for each row, and a row is fetched
/// only when its block is full.
fn block_rows(pulled: u64) -> usize {
    usize::try_from(pulled + 1).unwrap_or(usize::MAX).min(limits::INPUT_BLOCK_ROWS)
}

/// Resumes at a mark if the format allows it. A table is read from its header on.
fn seek(file: &mut File, name: &str, options: &InputOptions, mark: Mark) -> io::Result<Option<Reader>> {
    let mut first = Vec::new();
    Read::by_ref(file).take(limits::INPUT_BLOCK_BYTES as u64).read_to_end(&mut first)?;
    let format = options.format.unwrap_or_else(|| Format::sniff(&first, Some(name)));
    let reader = Reader::resume(format, options.columns.clone(), mark.row, mark.offset);
    file.seek(SeekFrom::Start(reader.as_ref().map_or(0, |_| mark.offset)))?;
    Ok(reader)
}

/// Opens the file of a list. Also returns its length, if it is a plain file.
pub(crate) fn open_file(path: &Path) -> io::Result<(File, Option<u64>)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory, not a list of URLs"));
    }
    Ok((file, if meta.is_file() { Some(meta.len()) } else { None }))
}

/// Reads what there is, and waits for the first of it.
pub(crate) fn read_some(read: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match read.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
