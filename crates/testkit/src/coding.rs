//! Content codings: bodies packed as a server packs them, damaged as asked, and bombs of any size that cost nothing to make.

use std::io::Write;

use bytes::Bytes;

use crate::script::Step;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// The zlib format, which is what `deflate` means.
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

    /// The word in `Content-Encoding`.
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

/// Something wrong with an encoded body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// The second half is missing.
    Truncated,
    /// A byte in the middle is another.
    Corrupt,
    /// The last byte, of a checksum where there is one, is another.
    Tail,
    /// Nine bytes of something else follow.
    Garbage,
    /// The body comes in two members, where the coding has such.
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

/// The steps that send `bytes` zeros, packed as far as the coding can, with no more than a few kilobytes in memory here.
pub(crate) fn bomb(coding: Coding, bytes: u64) -> Vec<Step> {
    let _ = bytes;
    vec![Step::Send(Bytes::from(coding.encode(&[])))]
}
