//! Content codings, undone in bounded steps: whatever a body expands to, no more than the space that is offered is
//! produced at once. This file never allocates by a number that a server sent.

use std::io;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

/// Undoes all codings of one body.
pub(crate) struct Decoder {
    /// The last coding that was applied comes first: its stage sees the bytes of the wire.
    stages: Vec<Stage>,
}

/// One coding, and the bytes that wait for it.
struct Stage {
    coding: Coding,
    /// What the stage before has put out and this one has not taken.
    waiting: Vec<u8>,
    taken: usize,
    /// No input has come at all: a body of no bytes is not a damaged one.
    untouched: bool,
    ended: bool,
}

enum Coding {
    Gzip(Decompress),
    /// With zlib's frame as RFC 9110 says, or without, as some servers do; the first byte tells.
    Deflate(Option<Decompress>),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(ZstdDecoder<'static>),
}

/// How one step of a coding went.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

impl Decoder {
    /// For the codings of `Content-Encoding` fields, in the order of the wire. `None`: nothing to undo, or a coding
    /// that nobody here knows, whose bytes are kept as they came.
    pub(crate) fn new<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, Failure> {
        let mut stages = Vec::new();
        for name in fields.flat_map(|field| field.split(|&byte| byte == b',')) {
            let coding = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Coding::Gzip(Decompress::new_gzip(15)),
                b"deflate" => Coding::Deflate(None),
                b"br" => Coding::Brotli(Box::new(brotli())),
                b"zstd" => Coding::Zstd(zstd_decoder().map_err(|error| corrupt(&error.to_string()))?),
                _ => return Ok(None),
            };
            if stages.len() == limits::ENCODINGS_MAX {
                let message = format!("more than {} content codings", limits::ENCODINGS_MAX);
                return Err(Failure::new(ErrorKind::DecodeChain, message));
            }
            stages.push(Stage { coding, waiting: Vec::new(), taken: 0, untouched: true, ended: false });
        }
        stages.reverse();
        Ok(if stages.is_empty() { None } else { Some(Self { stages }) })
    }

    /// Decodes from the front of `input` into `output` and returns how much it wrote; 0: all input is taken and
    /// nothing more comes of it.
    pub(crate) fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<usize, Failure> {
        pull(&mut self.stages, input, output)
    }

    /// Must be called when the body has ended: what was decoded is only then known to be whole.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        if self.stages.iter().all(|stage| stage.ended || stage.untouched) {
            Ok(())
        } else {
            Err(corrupt("the compressed body ends too early"))
        }
    }
}

/// The output of the last of `stages`, each of which draws on the one before.
fn pull(stages: &mut [Stage], input: &mut &[u8], output: &mut [u8]) -> Result<usize, Failure> {
    let Some((last, before)) = stages.split_last_mut() else { return Ok(0) };
    loop {
        if last.taken == last.waiting.len() && !before.is_empty() {
            last.waiting.resize(limits::DECODE_STEP_BYTES, 0);
            let filled = pull(before, input, &mut last.waiting)?;
            last.waiting.truncate(filled);
            last.taken = 0;
        }
        let Stage { coding, waiting, taken, untouched, ended } = last;
        let source = if before.is_empty() { *input } else { waiting.get(*taken..).unwrap_or_default() };
        *untouched &= source.is_empty();
        let step = if *ended && !coding.continues(source) {
            // What follows the end of the data is passed over, as browsers and curl do.
            Step { read: source.len(), written: 0, ended: true }
        } else {
            coding.step(source, output)?
        };
        *ended = step.ended || (*ended && step.read == 0 && step.written == 0);
        if before.is_empty() {
            *input = input.get(step.read..).unwrap_or_default();
        } else {
            *taken += step.read;
        }
        if step.written > 0 || step.read == 0 {
            return Ok(step.written);
        }
    }
}

impl Coding {
    /// After the end of one member another one may follow.
    fn continues(&mut self, source: &[u8]) -> bool {
        match self {
            Self::Gzip(inflate) => {
                let another = source.first() == Some(&0x1f);
                if another {
                    *inflate = Decompress::new_gzip(15);
                }
                another
            }
            Self::Zstd(_) => !source.is_empty(),
            Self::Deflate(_) | Self::Brotli(_) => false,
        }
    }

    fn step(&mut self, source: &[u8], output: &mut [u8]) -> Result<Step, Failure> {
        match self {
            Self::Gzip(inflate) => step_zlib(inflate, source, output),
            Self::Deflate(inflate) => {
                let Some(first) = source.first() else {
                    return Ok(Step { read: 0, written: 0, ended: false });
                };
                let framed = first & 0x0f == 8 && first >> 4 <= 7;
                step_zlib(inflate.get_or_insert_with(|| Decompress::new(framed)), source, output)
            }
            Self::Brotli(state) => step_brotli(state, source, output),
            Self::Zstd(decoder) => step_zstd(decoder, source, output),
        }
    }
}

fn step_zlib(inflate: &mut Decompress, source: &[u8], output: &mut [u8]) -> Result<Step, Failure> {
    let (read, written) = (inflate.total_in(), inflate.total_out());
    let status = inflate
        .decompress(source, output, FlushDecompress::None)
        .map_err(|error| corrupt(&error.to_string()))?;
    let progress = |total: u64, before: u64| usize::try_from(total - before).unwrap_or(usize::MAX);
    Ok(Step {
        read: progress(inflate.total_in(), read),
        written: progress(inflate.total_out(), written),
        ended: matches!(status, Status::StreamEnd),
    })
}

fn brotli() -> BrotliState<StandardAlloc, StandardAlloc, StandardAlloc> {
    BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default())
}

fn step_brotli(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    source: &[u8],
    output: &mut [u8],
) -> Result<Step, Failure> {
    let (mut available_in, mut read) = (source.len(), 0);
    let (mut available_out, mut written, mut total) = (output.len(), 0, 0);
    let result = BrotliDecompressStream(
        &mut available_in,
        &mut read,
        source,
        &mut available_out,
        &mut written,
        output,
        &mut total,
        state,
    );
    match result {
        BrotliResult::ResultFailure => Err(corrupt("not a brotli stream")),
        BrotliResult::ResultSuccess => Ok(Step { read, written, ended: true }),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {
            Ok(Step { read, written, ended: false })
        }
    }
}

fn zstd_decoder() -> io::Result<ZstdDecoder<'static>> {
    let mut decoder = ZstdDecoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG_MAX))?;
    Ok(decoder)
}

fn step_zstd(decoder: &mut ZstdDecoder<'_>, source: &[u8], output: &mut [u8]) -> Result<Step, Failure> {
    let mut input = InBuffer::around(source);
    let mut space = OutBuffer::around(output);
    let wanted = decoder.run(&mut input, &mut space).map_err(|error| {
        let message = error.to_string();
        let window = message.contains("too much memory");
        let kind = if window { ErrorKind::DecodeWindow } else { ErrorKind::DecodeCorrupt };
        Failure::new(kind, message)
    })?;
    Ok(Step { read: input.pos(), written: space.pos(), ended: wanted == 0 })
}

fn corrupt(what: &str) -> Failure {
    Failure::new(ErrorKind::DecodeCorrupt, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    /// Decodes `body` in pieces of `piece` bytes.
    fn decode(codings: &str, body: &[u8], piece: usize) -> Result<Vec<u8>, ErrorKind> {
        let decoder = Decoder::new([codings.as_bytes()].into_iter()).map_err(|failure| failure.kind)?;
        let mut decoder = decoder.expect("a known coding");
        let mut decoded = Vec::new();
        for mut input in body.chunks(piece) {
            let mut block = [0; 100];
            loop {
                match decoder.decode(&mut input, &mut block).map_err(|failure| failure.kind)? {
                    0 => break,
                    n => decoded.extend_from_slice(&block[..n]),
                }
            }
            assert!(input.is_empty());
        }
        decoder.finish().map_err(|failure| failure.kind)?;
        Ok(decoded)
    }

    fn check(codings: &str, body: &[u8], expected: &Result<Vec<u8>, ErrorKind>) {
        for piece in [1, 7, 64, 100_000] {
            assert_eq!(&decode(codings, body, piece), expected, "{codings}, in pieces of {piece}");
        }
    }

    fn text() -> Vec<u8> {
        (0..20_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut framed = ZlibEncoder::new(Vec::new(), Compression::fast());
        framed.write_all(data).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(data).unwrap();
        (framed.finish().unwrap(), bare.finish().unwrap())
    }

    #[test]
    fn every_coding_in_every_split() {
        check("gzip", &gzip(&text()), &Ok(text()));
        check("x-gzip", &gzip(&text()), &Ok(text()));
        let (framed, bare) = deflate(&text());
        check("deflate", &framed, &Ok(text()));
        check("deflate", &bare, &Ok(text()));
        check("zstd", &zstd::encode_all(&text()[..], 1).unwrap(), &Ok(text()));
    }

    #[test]
    fn several_codings_and_several_members() {
        check("gzip, zstd", &zstd::encode_all(&gzip(&text())[..], 1).unwrap(), &Ok(text()));
        check("gzip", &[gzip(b"one "), gzip(b"two")].concat(), &Ok(b"one two".to_vec()));
        check("gzip", &[gzip(b"one"), b"\0\0garbage".to_vec()].concat(), &Ok(b"one".to_vec()));
        check("gzip", b"", &Ok(Vec::new()));
    }

    #[test]
    fn damage_is_found() {
        let whole = gzip(&text());
        check("gzip", &whole[..whole.len() - 1], &Err(ErrorKind::DecodeCorrupt));
        check("gzip", b"this is not gzip", &Err(ErrorKind::DecodeCorrupt));
        check("br", b"\xff\xff\xff\xff", &Err(ErrorKind::DecodeCorrupt));
        let zstd = zstd::encode_all(&text()[..], 1).unwrap();
        check("zstd", &zstd[..zstd.len() / 2], &Err(ErrorKind::DecodeCorrupt));
        let mut flipped = whole;
        let crc = flipped.len() - 6;
        flipped[crc] ^= 1;
        check("gzip", &flipped, &Err(ErrorKind::DecodeCorrupt));
    }

    #[test]
    fn codings_are_counted_over_all_fields() {
        let fields = [&b"gzip, gzip, gzip"[..], b"gzip, gzip, gzip"];
        let refused = Decoder::new(fields.into_iter()).err().map(|failure| failure.kind);
        assert_eq!(refused, Some(ErrorKind::DecodeChain));
        assert!(Decoder::new([&b"identity"[..]].into_iter()).unwrap().is_none());
        assert!(Decoder::new([&b"gzip, unknown"[..]].into_iter()).unwrap().is_none());
    }
}
