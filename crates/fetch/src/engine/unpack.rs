//! Decompresses a list in gzip or zstd format, detected by its first bytes.
//!
//! It decompresses while reading, in the memory of the decoder's window. A list whose name says that it is compressed
//! must be; truncation and damage are errors, reported after all rows before them.

use std::io::{self, BufRead as _, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::GzDecoder;
use overlapped_proto::limits;

use crate::durable::DiskFailed;
use crate::packing::Packing;

/// A reader that decompresses if the source is compressed.
///
/// ```
/// use std::io::{Cursor, Read};
/// use overlapped_fetch::Unpack;
///
/// let mut text = String::new();
/// Unpack::new(Box::new(Cursor::new("http://a/\n")), "urls.txt").read_to_string(&mut text)?;
/// assert_eq!(text, "http://a/\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Blocking
///
/// As the source does.
pub struct Unpack {
    state: State,
    packing: Option<Packing>,
    taken: Arc<AtomicU64>,
}

enum State {
    /// Nothing was read yet; the format by the name.
    Unread(Counted, Option<Packing>),
    Plain(Replay),
    Gzip(Box<Gzip>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Replay>>>),
    /// Truncated, damaged, or not the format of its name.
    Broken,
}

/// The first bytes again, then the rest.
type Replay = io::Chain<Cursor<Vec<u8>>, Counted>;

/// Counts the bytes read. It does not read past the end again: a terminal could deliver more, and a spooled list is
/// complete at its first end.
struct Counted {
    read: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    ended: bool,
}

impl Unpack {
    /// Reads `read`; a suffix of its name (`.gz`, `.zst`) may say that it is compressed.
    #[must_use]
    pub fn new(read: Box<dyn Read + Send>, name: &str) -> Self {
        let taken = Arc::new(AtomicU64::new(0));
        let named = Packing::of_name(name).map(|(_, packing)| packing);
        let counted = Counted { read, taken: Arc::clone(&taken), ended: false };
        Self { state: State::Unread(counted, named), packing: None, taken }
    }

    /// True once it is known to be compressed.
    pub(crate) fn is_packed(&self) -> bool {
        self.packing.is_some()
    }

    /// Bytes read from the source so far, before decompression.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Reads the first bytes and detects the format.
    fn open(mut counted: Counted, named: Option<Packing>) -> io::Result<(State, Option<Packing>)> {
        let mut start = Vec::with_capacity(MAGIC_BYTES);
        let mut byte = [0];
        // A byte at a time, and no more than needed: on a terminal the first line must not wait for a second.
        while start.len() < MAGIC_BYTES && Packing::ALL.iter().any(|packing| packing.begins(&start)) {
            match counted.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => start.extend(byte),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let enough = |packing: &Packing| start.len() >= MAGIC_BYTES && packing.begins(&start);
        let found = Packing::ALL.into_iter().find(enough);
        if let Some(named) = named.filter(|_| found.is_none()) {
            let message = format!("it is not {}, as its name says, or is cut short", named.name());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let replay = Cursor::new(start).chain(counted);
        let state = match found {
            None => State::Plain(replay),
            Some(Packing::Gzip) => State::Gzip(Box::new(Gzip::new(BufReader::new(replay)))),
            Some(Packing::Zstd) => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::new(replay))?;
                decoder.window_log_max(limits::LIST_ZSTD_WINDOW_LOG_MAX)?;
                State::Zstd(Box::new(decoder))
            }
        };
        Ok((state, found))
    }

    /// The decoders' messages describe their internals; this one describes the file.
    fn told(&self, error: io::Error) -> io::Error {
        let Some(packing) = self.packing else { return error };
        // A system error comes from the source itself.
        if error.raw_os_error().is_some() || DiskFailed::is_in(&error) {
            return error;
        }
        // What ends too early has the kind of it, for those who take what came before.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return io::Error::new(error.kind(), format!("the {} data are cut short", packing.name()));
        }
        let message = format!("the {} data are damaged: {error}", packing.name());
        io::Error::new(io::ErrorKind::InvalidData, message)
    }
}

/// Concatenated gzip members.
///
/// Zeros after a member are padding, as for `gzip -t`: tapes and file systems with fixed blocks leave them. Anything
/// else that follows must be another member.
struct Gzip {
    /// `None`: after the last member, or after an error.
    member: Option<GzDecoder<BufReader<Replay>>>,
}

impl Gzip {
    fn new(read: BufReader<Replay>) -> Self {
        Self { member: Some(GzDecoder::new(read)) }
    }

    /// The next member, if there is one.
    fn following(mut read: BufReader<Replay>) -> io::Result<Option<GzDecoder<BufReader<Replay>>>> {
        loop {
            let block = match read.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                block => block?,
            };
            if block.is_empty() {
                return Ok(None);
            }
            let zeros = block.iter().take_while(|byte| **byte == 0).count();
            let all = zeros == block.len();
            read.consume(zeros);
            if !all {
                return Ok(Some(GzDecoder::new(read)));
            }
        }
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.member = self.member.take().map(GzDecoder::into_inner).map_or(Ok(None), Self::following)?;
        }
        Ok(0)
    }
}

/// Enough bytes to detect each format.
const MAGIC_BYTES: usize = 4;

impl Read for Unpack {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let State::Unread(..) = self.state
            && let State::Unread(counted, named) = std::mem::replace(&mut self.state, State::Broken)
        {
            (self.state, self.packing) = Self::open(counted, named)?;
        }
        let result = match &mut self.state {
            State::Unread(..) | State::Broken => return Ok(0),
            State::Plain(read) => read.read(buffer),
            State::Gzip(read) => read.read(buffer),
            State::Zstd(read) => read.read(buffer),
        };
        result.map_err(
            |error| {
                if error.kind() == io::ErrorKind::Interrupted { error } else { self.told(error) }
            },
        )
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let count = self.read.read(buffer)?;
        self.ended = count == 0 && !buffer.is_empty();
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"http://a.test/1\nhttp://a.test/2\n";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(text, 1).unwrap()
    }

    /// What comes out, and the error after it; empty for none.
    fn check(name: &str, packed: &[u8], expected: &[u8], error: &str) {
        let mut unpack = Unpack::new(Box::new(Cursor::new(packed.to_vec())), name);
        let mut out = Vec::new();
        let told = unpack.read_to_end(&mut out).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(out, expected, "{name}: {told}");
        assert!(
            told.contains(error) && told.is_empty() == error.is_empty(),
            "{name}: {told:?} is not {error:?}"
        );
        assert!(unpack.taken() <= packed.len() as u64);
    }

    #[test]
    fn what_is_packed_is_known_by_its_first_bytes() {
        check("urls.txt", TEXT, TEXT, "");
        check("urls", b"", b"", "");
        check("urls", b"\x1f", b"\x1f", "");
        check("urls", b"(", b"(", "");
        check("P", b"P*", b"P*", "");
        for name in ["urls", "urls.gz", "URLS.GZ", "urls.zst"] {
            check(name, &gzip(TEXT), TEXT, "");
            check(name, &zstd(TEXT), TEXT, "");
        }
        check("urls", &[gzip(TEXT), gzip(TEXT)].concat(), &[TEXT, TEXT].concat(), "");
        check("urls", &[zstd(TEXT), zstd(TEXT)].concat(), &[TEXT, TEXT].concat(), "");
        check("urls", &[gzip(TEXT), gzip(b""), gzip(TEXT)].concat(), &[TEXT, TEXT].concat(), "");
        check("urls", &[b"\x50\x2a\x4d\x18\x02\0\0\0xx", &zstd(TEXT)[..]].concat(), TEXT, "");
    }

    /// They were taken for a member that is damaged.
    #[test]
    fn zeros_behind_a_gzip_member_are_padding() {
        for zeros in [1, 511, 100_000] {
            let padded = [gzip(TEXT), vec![0; zeros]].concat();
            check("urls.gz", &padded, TEXT, "");
            check("urls.gz", &[&padded[..], &gzip(TEXT)].concat(), &[TEXT, TEXT].concat(), "");
            check("urls.gz", &[&padded[..], b"no member at all"].concat(), TEXT, "damaged");
        }
    }

    #[test]
    fn a_name_that_says_packed_is_a_promise() {
        check("urls.gz", TEXT, b"", "not gzip");
        check("urls.zst", b"", b"", "not zstd");
        check("urls.gz", &[0x1f, 0x8b, 8], b"", "cut short");
    }

    /// It was taken for a list that is damaged.
    #[test]
    fn a_disk_that_fails_does_not_damage_the_list() {
        struct Full;
        impl Read for Full {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other(DiskFailed(io::ErrorKind::StorageFull.into())))
            }
        }
        for packed in [gzip(TEXT), zstd(TEXT)] {
            let cut = packed.len() / 2;
            let mut unpack = Unpack::new(Box::new(Cursor::new(packed).take(cut as u64).chain(Full)), "a");
            assert!(DiskFailed::is_in(&unpack.read_to_end(&mut Vec::new()).unwrap_err()));
        }
    }

    /// An empty list through a pipe was taken for a failure of the disk: it ended twice.
    #[test]
    fn the_end_of_a_list_is_read_once() {
        struct Once(Cursor<Vec<u8>>, bool);
        impl Read for Once {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.0.read(buffer)?;
                assert!(count > 0 || !self.1, "it is read past its end");
                self.1 = count == 0;
                Ok(count)
            }
        }
        for list in [Vec::new(), vec![0x1f], TEXT.to_vec(), gzip(TEXT), zstd(TEXT), gzip(b"")] {
            let mut unpack = Unpack::new(Box::new(Once(Cursor::new(list), false)), "a");
            unpack.read_to_end(&mut Vec::new()).unwrap();
            assert_eq!(unpack.read(&mut [0; 8]).unwrap(), 0);
        }
    }

    #[test]
    fn what_is_damaged_is_an_error_after_what_came_before() {
        let (mut gz, mut zst) = (gzip(TEXT), zstd(TEXT));
        check("a", &gz[..gz.len() - 1], TEXT, "cut short");
        check("a", &zst[..zst.len() - 1], b"", "cut short");
        check("a", &[gzip(TEXT), b"not gzip at all".to_vec()].concat(), TEXT, "damaged");
        let last = gz.len() - 5;
        gz[last] ^= 1;
        check("a", &gz, TEXT, "damaged");
        zst[6] = 0xff;
        let mut unpack = Unpack::new(Box::new(Cursor::new(zst)), "a");
        assert!(unpack.read_to_end(&mut Vec::new()).is_err());
    }
}
