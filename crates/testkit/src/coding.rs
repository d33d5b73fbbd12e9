//! Content codings: encoded bodies, damaged bodies, and decompression bombs of any size that need little memory here.

use std::io::Write;

use bytes::Bytes;

use crate::script::Step;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// The zlib format, which RFC 9110 calls `deflate`.
    Deflate,
    /// Deflate without the zlib wrapper, which some servers send under the same name.
    RawDeflate,
    Brotli,
    Zstd,
}

impl Coding {
    pub(crate) fn named(name: &str) -> Option<Coding> {
        match name {
            "gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            "raw-deflate" => Some(Coding::RawDeflate),
            "br" => Some(Coding::Brotli),
            "zstd" => Some(Coding::Zstd),
            _ => None,
        }
    }

    /// The name in `Content-Encoding`.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate | Coding::RawDeflate => "deflate",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }

    pub(crate) fn encode(self, body: &[u8]) -> Vec<u8> {
        const FITS: &str = "writing to memory does not fail";
        match self {
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(body).expect(FITS);
                encoder.finish().expect(FITS)
            }
            Coding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(body).expect(FITS);
                encoder.finish().expect(FITS)
            }
            Coding::RawDeflate => {
                let mut encoder =
                    flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(body).expect(FITS);
                encoder.finish().expect(FITS)
            }
            Coding::Brotli => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
                encoder.write_all(body).expect(FITS);
                encoder.into_inner()
            }
            Coding::Zstd => zstd::encode_all(body, 3).expect(FITS),
        }
    }
}

/// A defect of an encoded body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// The second half is missing.
    Truncated,
    /// A byte in the middle is changed.
    Corrupt,
    /// The last byte, which belongs to the checksum if there is one, is changed.
    Tail,
    /// Nine bytes of garbage follow.
    Garbage,
    /// The body is split into two members, if the coding has members.
    Members,
    /// The body is not encoded at all.
    Plain,
}

impl Damage {
    pub(crate) fn named(name: &str) -> Option<Damage> {
        match name {
            "none" => Some(Damage::None),
            "truncated" => Some(Damage::Truncated),
            "corrupt" => Some(Damage::Corrupt),
            "tail" => Some(Damage::Tail),
            "garbage" => Some(Damage::Garbage),
            "members" => Some(Damage::Members),
            "plain" => Some(Damage::Plain),
            _ => None,
        }
    }

    pub(crate) fn encode(self, coding: Coding, body: &[u8]) -> Vec<u8> {
        let flip = |mut packed: Vec<u8>, index: usize| {
            if let Some(byte) = packed.get_mut(index) {
                *byte ^= 0x55;
            }
            packed
        };
        match self {
            Damage::None => coding.encode(body),
            Damage::Plain => body.to_vec(),
            Damage::Truncated => {
                let mut packed = coding.encode(body);
                packed.truncate(packed.len() / 2);
                packed
            }
            Damage::Corrupt => {
                let packed = coding.encode(body);
                let middle = packed.len() / 2;
                flip(packed, middle)
            }
            Damage::Tail => {
                let packed = coding.encode(body);
                let last = packed.len().saturating_sub(1);
                flip(packed, last)
            }
            Damage::Garbage => {
                let mut packed = coding.encode(body);
                packed.extend_from_slice(b"123456789");
                packed
            }
            Damage::Members => {
                let (first, second) = body.split_at(body.len() / 2);
                let mut packed = coding.encode(first);
                packed.extend(coding.encode(second));
                packed
            }
        }
    }
}

/// The number of zeros to which one block of a bomb decodes.
const BOMB_BLOCK_BYTES: u64 = 1 << 20;

/// The steps that send `bytes` zeros at the coding's best compression, with a few kilobytes of memory: one self-contained
/// block of a mebibyte is repeated between the header and the trailer of the coding.
pub(crate) fn bomb(coding: Coding, bytes: u64) -> Vec<Step> {
    let times = bytes / BOMB_BLOCK_BYTES;
    let rest = zeros(bytes % BOMB_BLOCK_BYTES);
    let step = |bytes: Vec<u8>| Step::Send(Bytes::from(bytes));
    match coding {
        Coding::Gzip => {
            let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
            let mut tail = deflate(&rest, flate2::FlushCompress::Finish);
            tail.extend_from_slice(&crc_of_zeros(bytes).to_le_bytes());
            tail.extend_from_slice(&((bytes & 0xffff_ffff) as u32).to_le_bytes());
            vec![step(header.to_vec()), deflated_block(times), step(tail)]
        }
        Coding::Deflate => {
            let mut tail = deflate(&rest, flate2::FlushCompress::Finish);
            // Adler-32 of zeros: the sum of bytes stays 1, the sum of sums grows by 1 a byte.
            tail.extend_from_slice(&[((bytes % 65_521) >> 8) as u8, ((bytes % 65_521) & 0xff) as u8, 0, 1]);
            vec![step(vec![0x78, 0x9c]), deflated_block(times), step(tail)]
        }
        Coding::RawDeflate => {
            vec![deflated_block(times), step(deflate(&rest, flate2::FlushCompress::Finish))]
        }
        Coding::Brotli => brotli_bomb(times, &rest),
        Coding::Zstd => {
            // A window of 128 KiB, then RLE blocks.
            let of_zeros = |bytes: u32| {
                let [low, middle, high, _] = (bytes << 3 | 2).to_le_bytes();
                vec![low, middle, high, 0]
            };
            let header = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
            let blocks = Step::Repeat(Bytes::from(of_zeros(1 << 17)), times * (BOMB_BLOCK_BYTES >> 17));
            let mut tail = Vec::new();
            for part in rest.chunks(1 << 17) {
                tail.extend(of_zeros(u32::try_from(part.len()).expect("at most 128 KiB")));
            }
            tail.extend_from_slice(&[1, 0, 0]);
            vec![step(header), blocks, step(tail)]
        }
    }
}

/// A zstd frame whose header declares a window of 2^`window_log` bytes, which the body does not need.
pub(crate) fn zstd_with_window(window_log: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window_log.saturating_sub(10) << 3];
    for part in body.chunks(1 << 10) {
        let header = u32::try_from(part.len()).expect("at most 1 KiB") << 3;
        frame.extend(header.to_le_bytes().into_iter().take(3));
        frame.extend_from_slice(part);
    }
    frame.extend_from_slice(&[1, 0, 0]);
    frame
}

fn zeros(bytes: u64) -> Vec<u8> {
    vec![0; usize::try_from(bytes).expect("a block fits in memory")]
}

fn deflated_block(times: u64) -> Step {
    // A full flush ends on a byte boundary and resets the window, so that the block can be repeated.
    Step::Repeat(Bytes::from(deflate(&zeros(BOMB_BLOCK_BYTES), flate2::FlushCompress::Full)), times)
}

fn deflate(body: &[u8], flush: flate2::FlushCompress) -> Vec<u8> {
    let mut packed = Vec::with_capacity(body.len() / 100 + 1024);
    let mut deflate = flate2::Compress::new(flate2::Compression::best(), false);
    deflate.compress_vec(body, &mut packed, flush).expect("zeros can be packed");
    packed
}

/// Computes the checksum of 1, 2, 4, … zeros by doubling, which is fast even for terabytes.
fn crc_of_zeros(bytes: u64) -> u32 {
    let mut whole = flate2::Crc::new();
    let mut part = flate2::Crc::new();
    part.update(&[0]);
    let mut left = bytes;
    while left > 0 {
        if left % 2 == 1 {
            whole.combine(&part);
        }
        let mut double = flate2::Crc::new();
        double.combine(&part);
        double.combine(&part);
        part = double;
        left /= 2;
    }
    whole.sum()
}

/// Once the encoder's window is full, the blocks between two flushes are equal: the first block also holds the remainder and
/// fills the window, the second is repeated.
fn brotli_bomb(times: u64, rest: &[u8]) -> Vec<Step> {
    const FITS: &str = "writing to memory does not fail";
    let block = zeros(BOMB_BLOCK_BYTES);
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 18);
    encoder.write_all(rest).expect(FITS);
    if times > 0 {
        encoder.write_all(&block).expect(FITS);
    }
    encoder.flush().expect(FITS);
    let mut first = encoder.get_ref().clone();
    encoder.write_all(&block).expect(FITS);
    encoder.flush().expect(FITS);
    let again = encoder.get_ref().get(first.len()..).unwrap_or_default().to_vec();
    let last_and_empty = 3;
    if times < 2 {
        first.push(last_and_empty);
        return vec![Step::Send(Bytes::from(first))];
    }
    vec![
        Step::Send(Bytes::from(first)),
        Step::Repeat(Bytes::from(again), times - 1),
        Step::Send(Bytes::from(vec![last_and_empty])),
    ]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpacked(coding: Coding, packed: &[u8]) -> Box<dyn Read + '_> {
        match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(packed)),
            Coding::Deflate => Box::new(flate2::read::ZlibDecoder::new(packed)),
            Coding::RawDeflate => Box::new(flate2::read::DeflateDecoder::new(packed)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(packed, 1 << 16)),
            Coding::Zstd => Box::new(zstd::Decoder::new(packed).unwrap()),
        }
    }

    const ALL: [Coding; 5] =
        [Coding::Gzip, Coding::Deflate, Coding::RawDeflate, Coding::Brotli, Coding::Zstd];

    #[test]
    fn bodies_unpack() {
        for coding in ALL {
            for body in [b"".as_slice(), b"hello", &[7; 100_000]] {
                let mut out = Vec::new();
                unpacked(coding, &coding.encode(body)).read_to_end(&mut out).unwrap();
                assert_eq!(out, body, "{coding:?}");
            }
        }
    }

    #[test]
    fn bombs_unpack_to_their_length() {
        for coding in ALL {
            for bytes in [0, 1, 131_073, 1 << 20, (1 << 20) + 7, 3 << 20, (40 << 20) + 12_345] {
                let mut packed = Vec::new();
                for step in bomb(coding, bytes) {
                    if let Step::Send(bytes) = step {
                        packed.extend_from_slice(&bytes);
                    } else if let Step::Repeat(bytes, times) = step {
                        packed.extend(bytes.repeat(times as usize));
                    }
                }
                let mut reader = unpacked(coding, &packed);
                let mut block = [0; 1 << 16];
                let mut total = 0;
                loop {
                    let read =
                        reader.read(&mut block).unwrap_or_else(|error| panic!("{coding:?} {bytes}: {error}"));
                    if read == 0 {
                        break;
                    }
                    assert!(block[..read].iter().all(|byte| *byte == 0), "{coding:?} {bytes}");
                    total += read as u64;
                }
                assert_eq!(total, bytes, "{coding:?}");
                assert!(bytes < 1 << 22 || packed.len() as u64 * 900 < bytes, "{coding:?}: {}", packed.len());
            }
        }
    }

    #[test]
    fn a_zstd_window_is_demanded() {
        let body = [1; 5000];
        assert_eq!(zstd::decode_all(zstd_with_window(23, &body).as_slice()).unwrap(), body);
        assert!(zstd::decode_all(zstd_with_window(31, &body).as_slice()).is_err());
    }
}
