//! Content decoding in bounded steps: a step consumes and produces at most `limits::DECODE_STEP_BYTES` of one coding and
//! reports its work, so that the caller can check the deadline in between. Allocations do not depend on numbers from the
//! server, apart from decoder windows, which have limits.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::plural::counted;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

/// Removes all content codings of one body.
pub(crate) struct Decoder {
    /// In the order of decoding: the coding applied last comes first.
    stages: Vec<Stage>,
    /// The limit of the decoded body. It also bounds the input of a coding whose output stays small.
    max_bytes: u64,
    begun: bool,
    /// Set when the coded data has ended: the index of the stage that was followed by too many other bytes.
    over: Option<usize>,
}

/// One coding, and its input buffer.
struct Stage {
    coding: Coding,
    /// Output of the stage before, consumed up to `taken`.
    waiting: Vec<u8>,
    taken: usize,
    /// True if it needs input to make progress.
    hungry: bool,
    /// Its data has ended, or may end here. An empty body is valid.
    ended: bool,
    bytes_in: u64,
    bytes_out: u64,
    /// Bytes after the end of its data.
    trailing: u64,
}

enum Coding {
    Gzip(Decompress),
    /// With a zlib header as in RFC 9110, or raw, as some servers send it; detected by the first byte.
    Deflate(Option<Decompress>),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(DCtx<'static>),
}

/// The result of one step of a coding.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

/// The result of one step of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// `written` bytes of output; `work` counts the bytes that a coding consumed or produced.
    Worked { written: usize, work: usize },
    /// All input is consumed, and no more output follows from it.
    NeedsInput,
    /// The coded data has ended; the bytes after it are ignored.
    Over,
}

impl Decoder {
    /// For the values of `Content-Encoding` fields, in order. `None`: there is nothing to decode, or a coding is unknown,
    /// and the body is kept as received. The decoded body may have `max_bytes`.
    pub(crate) fn new<'a>(
        fields: impl Iterator<Item = &'a [u8]>,
        max_bytes: u64,
    ) -> Result<Option<Self>, Failure> {
        let mut stages = Vec::new();
        for name in fields.flat_map(|field| field.split(|&byte| byte == b',')) {
            let coding = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Coding::Gzip(Decompress::new_gzip(15)),
                b"deflate" => Coding::Deflate(None),
                b"br" => Coding::Brotli(Box::new(brotli())),
                b"zstd" => Coding::Zstd(zstd_decoder()?),
                _ => return Ok(None),
            };
            if stages.len() == limits::ENCODINGS_MAX {
                let message = format!("more than {} content codings", limits::ENCODINGS_MAX);
                return Err(Failure::new(ErrorKind::DecodeChain, message));
            }
            stages.push(Stage::new(coding));
        }
        stages.reverse();
        let decoder = Self { stages, max_bytes, begun: false, over: None };
        Ok(if decoder.stages.is_empty() { None } else { Some(decoder) })
    }

    /// The memory in use.
    pub(crate) fn bytes(&self) -> usize {
        let of = |stage: &Stage| if self.begun { stage.coding.bytes() + stage.waiting.capacity() } else { 0 };
        self.stages.iter().map(of).sum()
    }

    /// The upper bound of the memory that the first step may allocate; `None` after that step.
    pub(crate) fn bytes_to_begin(&self) -> Option<usize> {
        (!self.begun).then(|| self.stages.iter().map(|stage| stage.coding.bytes_max()).sum())
    }

    /// Makes one step: consumes from the front of `input`, produces into `output`, or moves bytes from one coding to the
    /// next. To be called again until it needs input or is over.
    pub(crate) fn step(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Progress, Failure> {
        self.begun = true;
        if self.over.is_some() {
            return Ok(Progress::Over);
        }
        // From the last stage on, so that output is consumed before more is produced.
        for index in (0..self.stages.len()).rev() {
            let (before, rest) = self.stages.split_at_mut(index);
            let (stage, after) = rest.split_first_mut().expect("the index is below the number of stages");
            let source = if before.is_empty() {
                *input
            } else {
                stage.waiting.get(stage.taken..).expect("a stage takes what waits for it")
            };
            if source.is_empty() && stage.hungry {
                continue;
            }
            let source = source.get(..limits::DECODE_STEP_BYTES).unwrap_or(source);
            let taken = source.len();
            let space = match after.first_mut() {
                Some(next) => next.make_room(),
                None => &mut *output,
            };
            // Behind bytes that are ignored no member follows, however they arrive.
            let is_over = stage.trailing > 0;
            let (step, restarts) = advance(&mut stage.coding, stage.ended, is_over, source, space)?;
            if let Some(next) = after.first_mut() {
                next.waiting.truncate(step.written);
            }
            if taken > 0 && step.read == 0 && step.written == 0 {
                return Err(corrupt("the decoder makes no progress"));
            }
            stage.note(&step, restarts, self.max_bytes)?;
            if before.is_empty() {
                *input = input.get(step.read..).expect("a decoder reads what it was given");
            } else {
                stage.taken += step.read;
            }
            if stage.trailing > limits::ENCODED_TRAILING_BYTES_MAX {
                self.over = Some(index);
                return Ok(Progress::Over);
            }
            let written = if after.is_empty() { step.written } else { 0 };
            let renewed = if restarts { limits::DECODE_MEMBER_BYTES } else { 0 };
            return Ok(Progress::Worked { written, work: step.read + step.written + renewed });
        }
        Ok(Progress::NeedsInput)
    }

    /// To be called at the end of the body: only then is the decoded data known to be complete.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        // The stages before one whose data has ended were not read to their end.
        let mut stages = self.stages.iter().skip(self.over.unwrap_or(0));
        if stages.all(|stage| stage.ended || stage.bytes_in == 0) {
            Ok(())
        } else {
            Err(corrupt("the compressed body ends too early"))
        }
    }
}

impl Stage {
    fn new(coding: Coding) -> Self {
        Self {
            coding,
            waiting: Vec::new(),
            taken: 0,
            hungry: true,
            ended: false,
            bytes_in: 0,
            bytes_out: 0,
            trailing: 0,
        }
    }

    /// Space for output of the stage before, once the input buffer is consumed.
    fn make_room(&mut self) -> &mut [u8] {
        self.waiting.resize(limits::DECODE_STEP_BYTES, 0);
        self.taken = 0;
        &mut self.waiting
    }

    /// Accounts for a step. Fails if a coding consumes much and produces little.
    fn note(&mut self, step: &Step, restarted: bool, max_bytes: u64) -> Result<(), Failure> {
        let is_trailing = self.ended && !restarted;
        self.ended = step.ended;
        self.hungry = step.read == 0 && step.written == 0;
        self.bytes_in += step.read as u64;
        self.bytes_out += step.written as u64;
        if is_trailing {
            self.trailing += step.read as u64;
        }
        let wanted = self.bytes_out.saturating_mul(limits::ENCODED_RATIO_MAX).min(max_bytes);
        if self.bytes_in > wanted.saturating_add(limits::ENCODED_BYTES_MIN) {
            let (bytes_in, bytes_out) = (self.bytes_in, self.bytes_out);
            let message = format!(
                "{} of coded data decode to only {}",
                counted(bytes_in, "byte"),
                counted(bytes_out, "byte")
            );
            return Err(Failure::new(ErrorKind::BodyTooLarge, message));
        }
        Ok(())
    }
}

/// One step of a coding, and whether it began another member.
fn advance(
    coding: &mut Coding,
    ended: bool,
    is_over: bool,
    source: &[u8],
    space: &mut [u8],
) -> Result<(Step, bool), Failure> {
    let ended_for_good = ended && !source.is_empty() && (is_over || !coding.continues(source));
    if ended && (ended_for_good || source.is_empty()) {
        // Bytes after the end of the data are ignored, as browsers and curl do.
        return Ok((Step { read: source.len(), written: 0, ended: true }, false));
    }
    Ok((coding.step(source, space)?, ended))
}

impl Coding {
    /// True if another member follows the end of one.
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

    /// The memory in use.
    fn bytes(&self) -> usize {
        match self {
            Self::Gzip(_) | Self::Deflate(_) => limits::INFLATE_BYTES,
            Self::Brotli(state) => {
                let ring = usize::try_from(state.ringbuffer_size).expect("a size in memory");
                limits::BROTLI_TABLES_BYTES + ring
            }
            Self::Zstd(context) => context.sizeof(),
        }
    }

    /// Its upper bound.
    fn bytes_max(&self) -> usize {
        match self {
            Self::Gzip(_) | Self::Deflate(_) => limits::INFLATE_BYTES,
            Self::Brotli(_) => limits::BROTLI_BYTES_MAX,
            Self::Zstd(_) => limits::ZSTD_BYTES_MAX,
        }
    }

    fn step(&mut self, source: &[u8], output: &mut [u8]) -> Result<Step, Failure> {
        match self {
            Self::Gzip(inflate) => step_zlib(inflate, source, output),
            Self::Deflate(inflate) => {
                let inflate = match inflate {
                    // All of the body may have been taken while its last bytes still wait for room.
                    Some(inflate) => inflate,
                    none => match source.first() {
                        Some(first) => none.insert(Decompress::new(first & 0x0f == 8 && first >> 4 <= 7)),
                        None => return Ok(Step { read: 0, written: 0, ended: false }),
                    },
                };
                step_zlib(inflate, source, output)
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
    let progress =
        |total: u64, before: u64| usize::try_from(total - before).expect("a step fits in its buffers");
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

fn zstd_decoder() -> Result<DCtx<'static>, Failure> {
    let mut context = DCtx::try_create().ok_or_else(|| corrupt("no memory for a decoder"))?;
    context.set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG_MAX)).map_err(zstd_failure)?;
    Ok(context)
}

fn step_zstd(context: &mut DCtx<'_>, source: &[u8], output: &mut [u8]) -> Result<Step, Failure> {
    let mut input = InBuffer::around(source);
    let mut space = OutBuffer::around(output);
    let wanted = context.decompress_stream(&mut space, &mut input).map_err(zstd_failure)?;
    Ok(Step { read: input.pos(), written: space.pos(), ended: wanted == 0 })
}

fn zstd_failure(code: usize) -> Failure {
    let message = get_error_name(code);
    let window = message.contains("too much memory");
    Failure::new(if window { ErrorKind::DecodeWindow } else { ErrorKind::DecodeCorrupt }, message)
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

    const MAX: u64 = 1 << 30;

    /// Decodes `body` in pieces of `piece` bytes.
    fn decode(codings: &str, body: &[u8], piece: usize) -> Result<Vec<u8>, ErrorKind> {
        let decoder = Decoder::new([codings.as_bytes()].into_iter(), MAX).map_err(|failure| failure.kind)?;
        let mut decoder = decoder.expect("a known coding");
        let mut decoded = Vec::new();
        for mut input in body.chunks(piece) {
            let mut block = [0; 100];
            loop {
                match decoder.step(&mut input, &mut block).map_err(|failure| failure.kind)? {
                    Progress::Worked { written, work } => {
                        assert!(work <= 2 * limits::DECODE_STEP_BYTES + limits::DECODE_MEMBER_BYTES);
                        decoded.extend_from_slice(&block[..written]);
                    }
                    Progress::NeedsInput => break,
                    Progress::Over => {
                        return decoder.finish().map_err(|failure| failure.kind).map(|()| decoded);
                    }
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
        let refused = Decoder::new(fields.into_iter(), MAX).err().map(|failure| failure.kind);
        assert_eq!(refused, Some(ErrorKind::DecodeChain));
        assert!(Decoder::new([&b"identity"[..]].into_iter(), MAX).unwrap().is_none());
        assert!(Decoder::new([&b"gzip, unknown"[..]].into_iter(), MAX).unwrap().is_none());
    }

    /// Nothing comes of these, however much of them there is.
    #[test]
    fn codings_that_take_and_give_nothing_end_soon() {
        let quiet = gzip(&[]).repeat(200_000);
        let mut names = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
        names.resize(4 << 20, b'n');
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0x40, 0][..], &vec![0; 4 << 20]].concat();
        let nothing = zstd::encode_all(&[][..], 1).unwrap().repeat(400_000);
        for (codings, body) in [
            ("gzip", &quiet),
            ("gzip", &names),
            ("zstd", &skipped),
            ("zstd", &nothing),
            ("gzip, gzip", &gzip(&quiet)),
            ("gzip, zstd, gzip", &gzip(&zstd::encode_all(&quiet[..], 1).unwrap())),
        ] {
            assert_eq!(decode(codings, body, 64 << 10), Err(ErrorKind::BodyTooLarge), "{codings}");
        }
    }

    #[test]
    fn what_is_behind_the_end_is_not_decoded_for_long() {
        let behind = [gzip(b"one"), vec![b'x'; 4 << 20]].concat();
        assert_eq!(decode("gzip", &behind, 1 << 10), Ok(b"one".to_vec()));
        assert_eq!(decode("gzip, gzip", &gzip(&behind), 1 << 10), Ok(b"one".to_vec()));
        // The outer data has ended before the inner.
        let cut = [gzip(&gzip(&text())[..50]), vec![b'x'; 4 << 20]].concat();
        assert_eq!(decode("gzip, gzip", &cut, 1 << 10), Err(ErrorKind::DecodeCorrupt));
    }

    #[test]
    fn a_server_that_flushes_after_each_byte_is_decoded() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for byte in text().iter().cycle().take(250_000) {
            encoder.write_all(&[*byte]).unwrap();
            encoder.flush().unwrap();
        }
        let body = encoder.finish().unwrap();
        assert!(body.len() > 3 << 19, "{}", body.len());
        assert_eq!(decode("gzip", &body, 64 << 10).map(|decoded| decoded.len()), Ok(250_000));
    }
}
