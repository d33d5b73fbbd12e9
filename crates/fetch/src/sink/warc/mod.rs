//! WARC 1.1: what was asked and answered, as other tools archive it.
//!
//! **States.** Records are appended to `F.warc.gz`, each a member of gzip of its own, and to further files when one is full
//! (`place.rs`). A file begins with a `warcinfo`. A row has a `request`, if anything came, a `response` (or a `revisit`), if that was one, and always a
//! `metadata` record, and all of them are in one file. The checkpoint is a [`Place`]: the number of the file, its end, and a checksum of
//! all files before it. A run that resumes truncates the file to there, and removes the files behind it, so that no row is there twice and
//! no member is half. What is behind a checkpoint is never believed.
//!
//! **Retries.** An archive is a history: the records of a row that failed stay when it is fetched once more, and those of the new attempt
//! follow. So a retry rewrites nothing, whatever the size of the archive, and what a `revisit` refers to is always there.
//!
//! **Limits.** A large body is read twice from where the engine keeps it, a piece at a time: a record's head has its digests. The digests of
//! payloads are in a table of bounded size ([`Seen`]), so an identical payload is found if the first one was not too long ago, in this
//! process. Lines of an index wait in a file until the end, and are sorted in bounded memory (`index.rs`).
//!
//! **Failures.** An error of the disk ends the run, like that of any output. A file that is in the place of the next one ends it
//! too, and is kept. A body that cannot be read again ends the run: its record would be torn.

mod index;
mod member;
mod place;
mod seen;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, digest};
use overlapped_proto::http1::{CHUNK_END, LAST_CHUNK, write_chunk_size};
use overlapped_proto::input::url::parse;
use overlapped_proto::journal::{Checkpoint, SinkId};
use overlapped_proto::limits;
use overlapped_proto::record::cdxj::Capture;
use overlapped_proto::record::column::Fields;
use overlapped_proto::record::warc::{
    Date, Digest, Head, Kind, RecordId, field_of, info, is_chunked, is_compressed, response_head,
    stands_for_itself, target, truncated,
};
use overlapped_proto::record::{Body, Record, ndjson};

use self::index::Index;
pub(crate) use self::index::lines;
use self::member::Members;
pub(crate) use self::place::{Place, file, index as index_path};
use self::seen::{Capture as First, Payload, Seen};
use super::lines::fill;
use super::{Beginning, Cut, Existing, Opening, OutputFile, Sink};
use crate::body::spool::RunId;
use crate::clock::Clock;
use crate::fs::{Folder, open_patiently};

/// How an archive is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarcOptions {
    /// The size of a file at which the next one begins.
    pub bytes_max: u64,
    /// Write an index (CDXJ) beside it.
    pub cdxj: bool,
}

impl Default for WarcOptions {
    fn default() -> Self {
        Self { bytes_max: limits::WARC_FILE_BYTES, cdxj: false }
    }
}

/// An archive.
pub(super) struct Warc {
    path: PathBuf,
    options: WarcOptions,
    run: RunId,
    /// Its name in a durable run.
    id: Option<SinkId>,
    members: Members,
    /// Where the file begins that is written to.
    place: Place,
    /// How to sync the files that were full since the last cut.
    full: Vec<Sync>,
    seen: Seen,
    index: Option<Index>,
    /// When it was opened, in microseconds since 1970: the time of what has none.
    opened_unix_us: i64,
    piece: Vec<u8>,
    /// The block of a `metadata` record.
    block: Vec<u8>,
}

type Sync = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl Warc {
    /// # Errors
    ///
    /// A file is there that is to be kept, or of an earlier archive whose first file has this name; those of [`OutputFile`].
    pub(super) fn open(opening: Opening) -> io::Result<Self> {
        let Opening { id, path, beginning, options } = opening;
        let clock = Clock::start();
        let (run, place, id) = match &beginning {
            Beginning::NoState => (RunId::draw(), Place::default(), None),
            Beginning::Begun(run) => (*run, Place::default(), Some(id)),
            Beginning::Resumed { run, checkpoint, .. } => (*run, Place::of(checkpoint)?, Some(id)),
        };
        let warc = options.warc;
        let is_new = !matches!(beginning, Beginning::Resumed { .. });
        if is_new {
            place::check(&path)?;
        }
        let index =
            if warc.cdxj { Some(Index::open(&path, &place, is_new, options.existing)?) } else { None };
        let current = file(&path, place.number);
        let output = if is_new {
            OutputFile::create(current, options.existing)?
        } else {
            remove_behind(&path, place.number)?;
            OutputFile::resume(current, &place.end.into())?
        };
        let is_empty = output.is_empty();
        let mut archive = Self {
            members: Members::new(output, place::is_packed(&path)),
            path,
            options: warc,
            run,
            id,
            place,
            full: Vec::new(),
            seen: Seen::default(),
            index,
            opened_unix_us: clock.unix_us(clock.now()),
            piece: vec![0; limits::WARC_PIECE_BYTES],
            block: Vec::new(),
        };
        if is_empty {
            archive.write_info()?;
        }
        Ok(archive)
    }

    fn write_info(&mut self) -> io::Result<()> {
        let block = info(env!("CARGO_PKG_VERSION"));
        let name = file_name(&self.path, self.place.number);
        let id = RecordId::new(self.run.0, self.position(), None, 0, Kind::Info);
        let head = Head { file: Some(&name), ..head(Kind::Info, id, Date::new(self.opened_unix_us)) };
        self.members.write(&head, &[&block])
    }

    /// Bytes of all files so far.
    fn position(&self) -> u64 {
        self.place.before + self.members.offset()
    }

    /// Begins the next file.
    fn rotate(&mut self) -> io::Result<()> {
        let next = file(&self.path, self.place.number + 1);
        let cut = self.members.cut()?;
        if self.id.is_some() {
            self.full.extend(cut.sync);
        }
        let opened = OutputFile::create(next.clone(), Existing::Keep);
        self.members.go_on(opened.map_err(|error| super::at(&next, &error))?);
        self.place = self.place.after(cut.end);
        self.write_info()
    }

    fn write_row(&mut self, record: &Record) -> io::Result<()> {
        let place = self.position();
        let date = Date::new(self.write_redirects(record, place)?);
        let run = self.run.0;
        let name = |kind| RecordId::new(run, place, Some(record.row), 0, kind);
        let target = target_of(record.final_url.as_deref().unwrap_or(&record.url));
        let common = Head {
            row: Some(record.row),
            target: target.as_deref(),
            ip: record.connection.remote.filter(|_| is_direct(record)).map(|remote| remote.ip()),
            ..head(Kind::Metadata, name(Kind::Metadata), date)
        };
        let response = name(Kind::Response);
        let is_answered = record.status.is_some();
        let request = name(Kind::Request);
        if let Some(sent) = &record.sent {
            let head = Head {
                kind: Kind::Request,
                id: request,
                concurrent: is_answered.then_some(response),
                truncated: if sent.is_whole { None } else { Some("unspecified") },
                ..common
            };
            self.members.write(&head, &[&sent.head, &sent.body])?;
        }
        if let (Some(status), Some(target)) = (record.status, target.as_deref()) {
            let message = Message::of(record, status);
            self.write_response(&message, Head { kind: Kind::Response, id: response, ..common }, target)?;
        }
        let asked = record.sent.as_ref().map(|_| request);
        let concurrent = if is_answered { Some(response) } else { asked };
        let head = Head { concurrent, ip: None, ..common };
        self.block.clear();
        ndjson::write(record, &Fields { headers: false, body: false }, &mut self.block);
        self.members.write(&head, &[&self.block])
    }

    /// Writes the redirects of a row, of which only the heads were kept, and returns when its last request began, in microseconds since 1970.
    fn write_redirects(&mut self, record: &Record, place: u64) -> io::Result<i64> {
        let mut unix_us = record.started_unix_us.unwrap_or(self.opened_unix_us);
        let number_of_hops = record.chain.len();
        for (number, hop) in record.chain.iter().enumerate() {
            let after = number_of_hops - number;
            let name = |kind| RecordId::new(self.run.0, place, Some(record.row), after, kind);
            let target = target_of(&hop.url);
            if let (Some(heads), Some(target)) = (hop.heads.as_deref(), target.as_deref()) {
                let response = name(Kind::Response);
                let common = Head {
                    row: Some(record.row),
                    target: Some(target),
                    ip: hop.remote.filter(|_| is_direct(record)),
                    ..head(Kind::Request, name(Kind::Request), Date::new(unix_us))
                };
                self.members.write(&Head { concurrent: Some(response), ..common }, &[&heads.request])?;
                let body = heads.body.clone().map_or(Body::None, Body::Inline);
                let message = Message {
                    head: Cow::Borrowed(&heads.response),
                    body: &body,
                    status: hop.status,
                    is_chunked: is_chunked(&heads.response, hop.status, &record.method),
                    truncated: if heads.body.is_some() { None } else { Some("unspecified") },
                    is_http2: false,
                };
                self.write_response(&message, Head { kind: Kind::Response, id: response, ..common }, target)?;
            }
            unix_us = unix_us.saturating_add(i64::try_from(hop.total.0 / 1_000).unwrap_or(i64::MAX));
        }
        Ok(unix_us)
    }

    fn write_response(&mut self, message: &Message<'_>, common: Head<'_>, target: &str) -> io::Result<()> {
        let mut piece = std::mem::take(&mut self.piece);
        let measured = message.measure(&mut piece)?;
        let whole = message.truncated.is_none().then_some(&measured.payload);
        let first = whole
            .filter(|_| measured.bytes >= limits::WARC_REVISIT_BYTES_MIN)
            .map(|digest| Payload { digest: *digest, is_chunked: message.is_chunked });
        let original = first.and_then(|payload| self.seen.find(&payload));
        let kind = match (message.status, &original) {
            (304, _) => Kind::NotModified,
            (_, Some(_)) => Kind::Identical,
            (_, None) => Kind::Response,
        };
        let head = Head {
            kind,
            original: original.as_ref().filter(|_| kind == Kind::Identical).map(First::original),
            truncated: message.truncated,
            is_http2: message.is_http2,
            payload: whole.filter(|_| kind != Kind::NotModified),
            ..common
        };
        let offset = self.members.offset();
        match kind {
            Kind::Response => {
                let (block, bytes) = match measured.block {
                    Some(block) => block,
                    None => message.digest(&mut piece)?,
                };
                let is_stored = bytes < limits::WARC_PACKED_BYTES_MIN || is_compressed(&message.head);
                let head = Head { block: &block, bytes, ..head };
                match message.parts() {
                    Some(parts) if bytes < limits::WARC_PACKED_BYTES_MIN => {
                        self.members.write_digested(&head, &parts)?;
                    }
                    Some(_) | None => {
                        self.members.begin(&head, is_stored)?;
                        message.each(&mut piece, &mut |part| self.members.put(part.bytes()))?;
                        self.members.end()?;
                    }
                }
                if let Some(payload) = first {
                    let first = First { id: head.id, unix_us: head.date.unix_us(), target: target.into() };
                    self.seen.insert(payload, first);
                }
            }
            Kind::Identical | Kind::NotModified => self.members.write(&head, &[&message.head])?,
            Kind::Info | Kind::Request | Kind::Metadata => unreachable!("it is no response"),
        }
        self.piece = piece;
        // What has not changed is in another archive. Of what is not whole the head tells a length, or chunks, that do not follow,
        // which ends the response of a server that plays it back.
        let is_played = kind != Kind::NotModified && message.truncated.is_none();
        let Some(index) = self.index.as_mut().filter(|_| is_played) else { return Ok(()) };
        let media_type = field_of(&message.head, "content-type").unwrap_or_default();
        index.push(&Capture {
            target,
            unix_us: head.date.unix_us(),
            status: message.status,
            media_type: (kind == Kind::Response).then_some(media_type),
            digest: head.payload,
            offset,
            bytes: self.members.offset() - offset,
            file: &file_name(&self.path, self.place.number),
        })
    }
}

impl Sink for Warc {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        if self.members.offset() >= self.options.bytes_max {
            self.rotate()?;
        }
        self.write_row(record)
    }

    fn commit(&mut self) -> io::Result<()> {
        self.members.flush()?;
        self.index.as_mut().map_or(Ok(()), Index::flush)
    }

    fn cut(&mut self) -> io::Result<Cut> {
        self.commit()?;
        if self.id.is_none() {
            return Ok(Cut::default());
        }
        let cut = self.members.cut()?;
        let mut syncs = std::mem::take(&mut self.full);
        syncs.extend(cut.sync);
        let mut place = Place { end: cut.end, ..self.place };
        if let Some(index) = &mut self.index {
            let (end, sync) = index.cut()?;
            place.index = end;
            syncs.extend(sync);
        }
        let sync = move || syncs.into_iter().try_for_each(|sync| sync());
        Ok(Cut { checkpoint: Some(Checkpoint::from(place)), names: Vec::new(), sync: Some(Box::new(sync)) })
    }

    fn id(&self) -> Option<&SinkId> {
        self.id.as_ref()
    }

    fn seal(&mut self) -> io::Result<()> {
        self.commit()?;
        let stays = self.id.is_some();
        self.index.as_mut().map_or(Ok(()), |index| index.seal(stays))
    }
}

/// False if a proxy was at the other end.
fn is_direct(record: &Record) -> bool {
    record.sent.as_deref().is_none_or(|sent| sent.is_direct)
}

/// The URL of a request as an archive has it.
fn target_of(url: &str) -> Option<Cow<'_, str>> {
    if stands_for_itself(url) {
        return Some(Cow::Borrowed(url));
    }
    target(&parse(url).ok()?).map(|target| Cow::Owned(target.into_owned()))
}

/// A head of which the rest is to be said.
fn head(kind: Kind, id: RecordId, date: Date) -> Head<'static> {
    const NONE: Digest = [0; 20];
    Head {
        kind,
        id,
        date,
        row: None,
        target: None,
        ip: None,
        concurrent: None,
        original: None,
        truncated: None,
        is_http2: false,
        file: None,
        payload: None,
        block: &NONE,
        bytes: 0,
    }
}

fn file_name(path: &Path, number: u32) -> String {
    file(path, number).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes the files that a killed run has begun behind its last checkpoint.
fn remove_behind(path: &Path, number: u32) -> io::Result<()> {
    let folder = Folder::of(path)?;
    for number in number + 1.. {
        let behind = file(path, number);
        let name = behind.file_name().unwrap_or_default();
        if !folder.find(name)?.is_some_and(|found| found.is_file() && found.is_own()) {
            return if number > 1 { folder.sync() } else { Ok(()) };
        }
        folder.remove(name)?;
    }
    Ok(())
}

/// A response.
struct Message<'a> {
    head: Cow<'a, [u8]>,
    body: &'a Body,
    status: u16,
    /// Its body is written in chunks.
    is_chunked: bool,
    /// Why its body is not all of it.
    truncated: Option<&'static str>,
    is_http2: bool,
}

/// A part of a message.
enum Part<'a> {
    /// Of its body.
    Data(&'a [u8]),
    /// The head, or what frames the body.
    Around(&'a [u8]),
}

/// What is known of a message before it is written.
struct Measured {
    payload: Digest,
    /// Bytes of the payload.
    bytes: u64,
    /// The digest of its block, and its bytes; `None` if the body is in memory, so that it can be told when it is needed.
    block: Option<(Digest, u64)>,
}

impl<'a> Message<'a> {
    /// The last response of a row.
    fn of(record: &'a Record, status: u16) -> Self {
        let (head, truncated) = (response_head(record), truncated(record));
        let is_chunked = truncated.is_none() && is_chunked(&head, status, &record.method);
        let is_http2 = record.raw_head.is_empty();
        Self { head, body: &record.body, status, is_chunked, truncated, is_http2 }
    }

    /// Reads it once. `piece`: the room for pieces of a body on disk.
    fn measure(&self, piece: &mut [u8]) -> io::Result<Measured> {
        match self.body {
            Body::None => return Ok(Measured { payload: digest_of(&[]), bytes: 0, block: None }),
            Body::Inline(body) => {
                return Ok(Measured { payload: digest_of(&[body]), bytes: body.len() as u64, block: None });
            }
            Body::Spooled(_) | Body::File(_) => {}
        }
        let (mut payload, mut block) = (sha1(), sha1());
        let (mut bytes, mut block_bytes) = (0, 0);
        self.each(piece, &mut |part| {
            if let Part::Data(data) = part {
                bytes += data.len() as u64;
                payload.update(data);
            }
            block_bytes += part.bytes().len() as u64;
            block.update(part.bytes());
            Ok(())
        })?;
        Ok(Measured { payload: finished(payload), bytes, block: Some((finished(block), block_bytes)) })
    }

    /// The digest of its block, and its bytes.
    fn digest(&self, piece: &mut [u8]) -> io::Result<(Digest, u64)> {
        if let Some(parts) = self.parts() {
            return Ok((digest_of(&parts), parts.iter().map(|part| part.len() as u64).sum()));
        }
        let (mut block, mut bytes) = (sha1(), 0);
        self.each(piece, &mut |part| {
            bytes += part.bytes().len() as u64;
            block.update(part.bytes());
            Ok(())
        })?;
        Ok((finished(block), bytes))
    }

    /// All of it, if it is in memory and has no chunks.
    fn parts(&self) -> Option<[&[u8]; 2]> {
        match self.body {
            _ if self.is_chunked => None,
            Body::None => Some([&self.head, &[]]),
            Body::Inline(body) => Some([&self.head, body]),
            Body::Spooled(_) | Body::File(_) => None,
        }
    }

    /// Its parts in order. `piece`: the room for those of a body on disk.
    fn each(&self, piece: &mut [u8], take: &mut dyn FnMut(Part<'_>) -> io::Result<()>) -> io::Result<()> {
        take(Part::Around(&self.head))?;
        each(self.body, piece, &mut |data| {
            if !self.is_chunked {
                return take(Part::Data(data));
            }
            let mut size = Vec::with_capacity(10);
            write_chunk_size(data.len(), &mut size);
            take(Part::Around(&size))?;
            take(Part::Data(data))?;
            take(Part::Around(CHUNK_END))
        })?;
        if self.is_chunked { take(Part::Around(LAST_CHUNK)) } else { Ok(()) }
    }
}

impl Part<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Data(bytes) | Self::Around(bytes) => bytes,
        }
    }
}

/// The pieces of a body in order: all but the last are full, and none is empty.
fn each(body: &Body, piece: &mut [u8], take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut spooled;
    let mut file;
    let reader: &mut dyn io::Read = match body {
        Body::None => return Ok(()),
        Body::Inline(bytes) => return bytes.chunks(piece.len()).try_for_each(take),
        Body::Spooled(body) => {
            spooled = body.reader();
            &mut spooled
        }
        Body::File(path) => {
            file = open_patiently(path)?;
            &mut file
        }
    };
    loop {
        let filled = fill(reader, piece)?;
        if filled > 0 {
            take(piece.get(..filled).expect("a read fits into its buffer"))?;
        }
        if filled < piece.len() {
            return Ok(());
        }
    }
}

fn sha1() -> Context {
    Context::new(&SHA1_FOR_LEGACY_USE_ONLY)
}

fn finished(context: Context) -> Digest {
    context.finish().as_ref().try_into().expect("a SHA-1 has 20 bytes")
}

/// The digest of a block that is in memory. One part is hashed without a context, which is allocated.
fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut filled = parts.iter().filter(|part| !part.is_empty());
    let (first, others) = (filled.next().copied().unwrap_or_default(), filled);
    if others.clone().next().is_none() {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, first);
        return digest.as_ref().try_into().expect("a SHA-1 has 20 bytes");
    }
    let mut context = sha1();
    context.update(first);
    others.for_each(|part| context.update(part));
    finished(context)
}
