//! The expected bodies: what the server sends for a row or a target.
//!
//! Every body is a pure function of its target, so that a test detects swapped rows, lost bytes and duplicated bytes. A block of
//! a body is computed from its position, so that bodies of gigabytes need no memory.

/// The alphabet of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// All 256 values.
    Binary,
    /// Letters, digits, spaces, and a line feed at every 64th place.
    Text,
}

/// An infinite body. A route serves a prefix of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) seed: u64,
    pub(crate) alphabet: Alphabet,
}

/// The body of `/bytes/N` for this target, which is the path and the query as requested, such as `/bytes/1024?i=7`.
///
/// ```
/// assert_eq!(overlapped_testkit::bytes_of("/bytes/3", 3).len(), 3);
/// ```
pub fn bytes_of(target: &str, length: usize) -> Vec<u8> {
    Pattern { seed: hash(target), alphabet: Alphabet::Binary }.prefix(length)
}

/// The body of every route that serves text (`/text/N`, `/chunked/N`, `/gzip/N`, …), decoded, for this target.
pub fn text_of(target: &str, length: usize) -> Vec<u8> {
    Pattern { seed: hash(target), alphabet: Alphabet::Text }.prefix(length)
}

/// The body of `/row/N`: a line with its number, then 0 to 1,023 bytes of text; the length depends on the number.
///
/// ```
/// assert!(overlapped_testkit::row_of(17).starts_with(b"row 17\n"));
/// ```
pub fn row_of(row: u64) -> Vec<u8> {
    let mut body = format!("row {row}\n").into_bytes();
    let length = usize::try_from(mix(row) % 1024).expect("below 1,024");
    Pattern { seed: mix(!row), alphabet: Alphabet::Text }.append(0, length, &mut body);
    body
}

impl Pattern {
    pub(crate) fn text(target: &str) -> Pattern {
        Pattern { seed: hash(target), alphabet: Alphabet::Text }
    }

    pub(crate) fn binary(target: &str) -> Pattern {
        Pattern { seed: hash(target), alphabet: Alphabet::Binary }
    }

    pub(crate) fn prefix(self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length);
        self.append(0, length, &mut out);
        out
    }

    /// Appends `length` bytes from position `from`.
    pub(crate) fn append(self, from: u64, length: usize, out: &mut Vec<u8>) {
        let mut position = from;
        let end = from + length as u64;
        while position < end {
            let word = mix(self.seed.wrapping_add(position / 8)).to_le_bytes();
            for byte in word.into_iter().skip((position % 8) as usize) {
                if position == end {
                    break;
                }
                out.push(match self.alphabet {
                    Alphabet::Binary => byte,
                    Alphabet::Text => letter(byte, position),
                });
                position += 1;
            }
        }
    }
}

fn letter(byte: u8, position: u64) -> u8 {
    match byte & 31 {
        _ if position % 64 == 63 => b'\n',
        low @ 0..26 => b'a' + low,
        26 => b' ',
        high => b'0' + (high - 27),
    }
}

/// FNV-1a: a small hash that is the same on every platform.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of SplitMix64: every input bit reaches every output bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_from_the_middle_is_the_middle_of_the_whole() {
        let pattern = Pattern::text("/x");
        let whole = pattern.prefix(1000);
        for (from, length) in [(0, 1000), (1, 7), (8, 8), (63, 2), (997, 3), (5, 0)] {
            let mut part = Vec::new();
            pattern.append(from as u64, length, &mut part);
            assert_eq!(part, whole[from..from + length], "from {from}, {length} bytes");
        }
    }

    #[test]
    fn different_targets_have_different_bodies() {
        assert_ne!(bytes_of("/bytes/64?i=1", 64), bytes_of("/bytes/64?i=2", 64));
        assert_ne!(row_of(1), row_of(2));
    }
}
