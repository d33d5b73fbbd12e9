//! The compression formats of lists and outputs, by name and by first bytes.

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    pub(crate) const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// The format that the end of a name says, in any case, and the name before it.
    pub(crate) fn of_name(name: &str) -> Option<(&str, Self)> {
        Self::ALL.into_iter().find_map(|packing| {
            let from = name.len().checked_sub(packing.suffix().len())?;
            let (before, end) = name.split_at_checked(from)?;
            end.eq_ignore_ascii_case(packing.suffix()).then_some((before, packing))
        })
    }

    /// True if these bytes begin such data; of fewer than four bytes, if they may.
    pub(crate) fn begins(self, bytes: &[u8]) -> bool {
        let is = |magic: &[u8]| bytes.iter().zip(magic).all(|(byte, wanted)| byte == wanted);
        match self {
            Self::Gzip => is(&[0x1f, 0x8b]),
            // The second is the frame that some compressors put in front, with what is no data (RFC 8878, 3.1.2).
            Self::Zstd => {
                let skippable = bytes.first().is_none_or(|byte| byte & 0xf0 == 0x50);
                is(&[0x28, 0xb5, 0x2f, 0xfd])
                    || skippable
                        && bytes.iter().skip(1).zip(&[0x2a, 0x4d, 0x18]).all(|(byte, wanted)| byte == wanted)
            }
        }
    }
}
