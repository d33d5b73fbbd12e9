//! Compression of outputs: a sequence of gzip members or zstd frames.
//!
//! Each checkpoint ends a member, so a file that is truncated to any checkpoint is whole, and what follows is appended to it.
//! Members are concatenated as both formats allow (RFC 1952, 2.2; RFC 8878, 3.1).

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use overlapped_proto::limits::OUTPUT_BUFFER_BYTES;

use crate::packing::Packing;

/// Compresses what is appended to a file. It is memory only: its user writes what it gives.
pub(super) struct Packer {
    packing: Packing,
    /// The member that is not ended yet; its window is freed with it.
    member: Option<Member>,
}

enum Member {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Member {
    fn begin(packing: Packing) -> io::Result<Self> {
        Ok(match packing {
            // Neither a name nor a time is in the header, so that equal records give equal bytes.
            Packing::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Packing::Zstd => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    fn packed(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Packer {
    pub(super) fn new(packing: Packing) -> Self {
        Self { packing, member: None }
    }

    /// Takes bytes, and gives compressed ones if there is a block of them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let member = self.open()?;
        member.writer().write_all(bytes)?;
        let packed = member.packed();
        Ok(if packed.len() >= OUTPUT_BUFFER_BYTES { std::mem::take(packed) } else { Vec::new() })
    }

    /// Gives all that a reader needs for what was taken so far, and goes on with the member.
    pub(super) fn flush(&mut self) -> io::Result<Vec<u8>> {
        let Some(member) = &mut self.member else { return Ok(Vec::new()) };
        member.writer().flush()?;
        Ok(std::mem::take(member.packed()))
    }

    /// Ends the member, if there is one.
    pub(super) fn end(&mut self) -> io::Result<Vec<u8>> {
        self.member.take().map_or_else(|| Ok(Vec::new()), Member::end)
    }

    /// A member without content: an empty file is not valid in either format.
    pub(super) fn empty(&mut self) -> io::Result<Vec<u8>> {
        self.open()?;
        self.end()
    }

    fn open(&mut self) -> io::Result<&mut Member> {
        let member = match self.member.take() {
            Some(member) => member,
            None => Member::begin(self.packing)?,
        };
        Ok(self.member.insert(member))
    }
}

/// A writer that compresses, if that is asked for.
pub(crate) struct Packed<W> {
    packer: Option<Packer>,
    to: W,
}

impl<W: Write> Packed<W> {
    pub(crate) fn new(packing: Option<Packing>, to: W) -> Self {
        Self { packer: packing.map(Packer::new), to }
    }

    /// Ends it with at least one member.
    pub(crate) fn end(self) -> io::Result<W> {
        let Self { packer, mut to } = self;
        if let Some(mut packer) = packer {
            packer.open()?;
            to.write_all(&packer.end()?)?;
        }
        Ok(to)
    }
}

impl<W: Write> Write for Packed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(packer) = &mut self.packer else { return self.to.write(bytes) };
        let packed = packer.push(bytes)?;
        self.to.write_all(&packed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What such a file contains; nothing, if it is empty. The window of its frames is that of this program's own outputs.
///
/// # Errors
///
/// There is no memory for a decoder. Reading fails if the file is damaged or cut short.
pub(crate) fn contents<'a>(
    packing: Option<Packing>,
    file: impl Read + 'a,
) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut file = BufReader::with_capacity(OUTPUT_BUFFER_BYTES, file);
    let unpacked: Box<dyn Read> = match packing.filter(|_| !file.fill_buf().is_ok_and(<[u8]>::is_empty)) {
        None => return Ok(Box::new(file)),
        Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(file)),
        Some(Packing::Zstd) => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
    };
    Ok(Box::new(BufReader::with_capacity(OUTPUT_BUFFER_BYTES, unpacked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is truncated to the end of any member holds all that was taken before.
    fn check(packing: Packing) {
        let (mut packer, mut file, mut text) = (Packer::new(packing), Vec::new(), Vec::new());
        for member in 0..4_usize {
            for piece in 0..member * 40 {
                let line = format!("{member} {piece} {}\n", "x".repeat(member * 1_000));
                file.extend(packer.push(line.as_bytes()).unwrap());
                text.extend_from_slice(line.as_bytes());
                if piece % 7 == 0 {
                    file.extend(packer.flush().unwrap());
                }
            }
            file.extend(packer.end().unwrap());
            let mut found = Vec::new();
            contents(Some(packing), &*file).unwrap().read_to_end(&mut found).unwrap();
            assert!(found == text, "{packing:?} {member}");
        }
        assert!(packer.end().unwrap().is_empty() && packer.flush().unwrap().is_empty());
        let mut found = Vec::new();
        let cut = file.len() - 1;
        assert!(contents(Some(packing), &file[..cut]).unwrap().read_to_end(&mut found).is_err());
        let empty = packer.empty().unwrap();
        assert!(!empty.is_empty());
        found.clear();
        contents(Some(packing), &*empty).unwrap().read_to_end(&mut found).unwrap();
        assert!(found.is_empty());
    }

    #[test]
    fn a_file_can_be_truncated_to_the_end_of_any_member() {
        Packing::ALL.into_iter().for_each(check);
    }
}
