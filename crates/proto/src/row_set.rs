//! A compressed set of row numbers: a low-water mark below which every row is in the set, and leaves for the rows above
//! it, in the manner of a roaring bitmap.
//!
//! Rows finish nearly in order, so the set is a few kilobytes in practice. A sparse row, such as one that failed, costs
//! two bytes. The worst case is one bit a row: 62.5 MB for 500 million rows.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::job::Row;
use crate::limits::DURABLE_ROWS_MAX;
use crate::varint;

/// Rows in one leaf of the set.
const LEAF_ROWS: u64 = 1 << 16;
const WORDS: usize = 1 << 10;
/// The most rows that a leaf lists one by one: with more, a bitmap is smaller.
const FEW_MAX: usize = 4_096;
/// A leaf with fewer runs than this is encoded as its runs; with more, a bitmap is smaller.
const RUNS_MAX: usize = 1_000;

/// A set of rows.
///
/// ```
/// use overlapped_proto::row_set::RowSet;
/// use overlapped_proto::job::Row;
///
/// let mut done = RowSet::default();
/// for row in [0, 1, 3] {
///     assert!(done.insert(Row(row)));
/// }
/// assert!(!done.insert(Row(3)), "it is in the set already");
/// assert_eq!(done.low(), Row(2));
/// assert_eq!(done.ranges().collect::<Vec<_>>(), [0..2, 3..4]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSet {
    /// The low-water mark: every row below it is in the set, and it is not.
    low: u64,
    /// By number of the leaf. In the leaf that holds `low`, rows below `low` may be absent.
    above: BTreeMap<u64, Leaf>,
}

/// The rows of one leaf, in a representation chosen by their number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leaf {
    Full,
    Part {
        bits: Box<[u64]>,
        count: u64,
    },
    /// Sorted.
    Few(Vec<u16>),
}

impl RowSet {
    /// The first row that is not in the set.
    #[must_use]
    pub fn low(&self) -> Row {
        Row(self.low)
    }

    /// True if the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.low == 0 && self.above.is_empty()
    }

    /// How many rows are in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges().map(|range| range.end - range.start).sum()
    }

    /// True if the row is in the set.
    #[must_use]
    pub fn contains(&self, row: Row) -> bool {
        row.0 < self.low
            || match self.above.get(&(row.0 / LEAF_ROWS)) {
                None => false,
                Some(Leaf::Full) => true,
                Some(Leaf::Part { bits, .. }) => bit(bits, row.0 % LEAF_ROWS),
                Some(Leaf::Few(rows)) => place(rows, row.0 % LEAF_ROWS).is_ok(),
            }
    }

    /// Inserts a row. False if it was in the set before, or is not below [`DURABLE_ROWS_MAX`].
    pub fn insert(&mut self, row: Row) -> bool {
        let new = row.0 < DURABLE_ROWS_MAX && !self.contains(row);
        if new {
            self.fill(row.0 / LEAF_ROWS, row.0 % LEAF_ROWS..row.0 % LEAF_ROWS + 1);
            self.rise();
        }
        new
    }

    /// Inserts every row of a range that is below [`DURABLE_ROWS_MAX`].
    pub fn insert_range(&mut self, rows: Range<u64>) {
        let (mut start, end) = (rows.start.max(self.low), rows.end.min(DURABLE_ROWS_MAX));
        while start < end {
            let leaf = start / LEAF_ROWS;
            let stop = end.min((leaf + 1) * LEAF_ROWS);
            self.fill(leaf, start - leaf * LEAF_ROWS..stop - leaf * LEAF_ROWS);
            start = stop;
        }
        self.rise();
    }

    /// The rows in the set, as maximal ranges in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.first_in(from)?;
            from = self.first_out(start);
            Some(start..from)
        })
    }

    /// The rows of this set that are not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for range in self.ranges() {
            let mut start = range.start;
            while let Some(out) = other.first_in(start).filter(|&out| out < range.end) {
                left.insert_range(start..out);
                start = other.first_out(out);
            }
            left.insert_range(start..range.end);
        }
        left
    }

    /// The first row from `from` on that is in the set.
    fn first_in(&self, from: u64) -> Option<u64> {
        if from < self.low {
            return Some(from);
        }
        self.above.range(from / LEAF_ROWS..).find_map(|(&leaf, part)| {
            let base = leaf * LEAF_ROWS;
            let start = from.saturating_sub(base);
            match part {
                Leaf::Full => Some(base + start),
                Leaf::Part { bits, .. } => scan(bits, start, |word| word).map(|at| base + at),
                Leaf::Few(rows) => rows_from(rows, start).next().map(|at| base + at),
            }
        })
    }

    /// The first row from `from` on that is not in the set.
    fn first_out(&self, from: u64) -> u64 {
        let mut row = from.max(self.low);
        while let Some(part) = self.above.get(&(row / LEAF_ROWS)) {
            let base = row - row % LEAF_ROWS;
            let start = row - base;
            let out = match part {
                Leaf::Full => None,
                Leaf::Part { bits, .. } => scan(bits, start, |word| !word),
                Leaf::Few(rows) => (start..LEAF_ROWS)
                    .zip(rows_from(rows, start).map(Some).chain(std::iter::repeat(None)))
                    .find_map(|(at, found)| (found != Some(at)).then_some(at)),
            };
            if let Some(at) = out {
                return base + at;
            }
            row = base + LEAF_ROWS;
        }
        row
    }

    fn fill(&mut self, leaf: u64, rows: Range<u64>) {
        if rows == (0..LEAF_ROWS) {
            self.above.insert(leaf, Leaf::Full);
            return;
        }
        let part = self.above.entry(leaf).or_insert(Leaf::Few(Vec::new()));
        rows.for_each(|row| part.insert(row));
    }

    /// Raises the low-water mark to the first row that is not in the set, and drops the leaves below it.
    fn rise(&mut self) {
        let low = self.first_out(self.low);
        if low / LEAF_ROWS != self.low / LEAF_ROWS {
            self.above = self.above.split_off(&(low / LEAF_ROWS));
        }
        self.low = low;
    }

    // --- bytes -----------------------------------------------------------------------------------------------

    /// Appends the encoded set.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(self.low, out);
        varint::put(self.above.len() as u64, out);
        let mut last = 0;
        for (&leaf, part) in &self.above {
            varint::put(leaf - last, out);
            last = leaf;
            match part {
                Leaf::Full => out.push(FULL),
                Leaf::Part { bits, .. } => encode_part(bits, out),
                Leaf::Few(rows) => encode_part(&bits_of(rows), out),
            }
        }
    }

    /// Decodes a set from the front of `bytes`; `None` if it is malformed.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut set = Self::default();
        let low = varint::take(bytes).filter(|&low| low <= DURABLE_ROWS_MAX)?;
        set.insert_range(0..low);
        let leaves = varint::take(bytes)?;
        let mut leaf = 0_u64;
        for _ in 0..leaves {
            leaf = leaf.checked_add(varint::take(bytes)?)?;
            let base = leaf.checked_mul(LEAF_ROWS).filter(|&base| base < DURABLE_ROWS_MAX)?;
            let (&form, rest) = bytes.split_first()?;
            *bytes = rest;
            match form {
                FULL => set.insert_range(base..base + LEAF_ROWS),
                RUNS => decode_runs(bytes, base, &mut set)?,
                BITS => decode_bits(bytes, base, &mut set)?,
                _ => return None,
            }
        }
        Some(set)
    }
}

impl Leaf {
    fn insert(&mut self, row: u64) {
        match self {
            Self::Full => {}
            Self::Part { bits, count } => {
                *count += u64::from(set_bit(bits, row));
                if *count == LEAF_ROWS {
                    *self = Self::Full;
                }
            }
            Self::Few(rows) => {
                if let Err(at) = place(rows, row) {
                    // In range: a row within a leaf is below `LEAF_ROWS`, which is 2^16.
                    rows.insert(at, row as u16);
                }
                if rows.len() > FEW_MAX {
                    *self = Self::Part { bits: bits_of(rows), count: rows.len() as u64 };
                }
            }
        }
    }
}

const FULL: u8 = 0;
const RUNS: u8 = 1;
const BITS: u8 = 2;

fn encode_part(bits: &[u64], out: &mut Vec<u8>) {
    let runs: Vec<_> = runs(bits).take(RUNS_MAX).collect();
    if runs.len() == RUNS_MAX {
        out.push(BITS);
        out.extend(bits.iter().flat_map(|word| word.to_le_bytes()));
        return;
    }
    out.push(RUNS);
    encode_ranges(runs.into_iter(), out);
}

/// Appends sorted ranges: their number, and for each its distance from the one before and its length.
pub(crate) fn encode_ranges(ranges: impl ExactSizeIterator<Item = Range<u64>>, out: &mut Vec<u8>) {
    varint::put(ranges.len() as u64, out);
    let mut last = 0;
    for range in ranges {
        varint::put(range.start - last, out);
        varint::put(range.end - range.start, out);
        last = range.end;
    }
}

/// Decodes ranges from the front of `bytes` and passes each to `each`; `None` if they are malformed.
pub(crate) fn decode_ranges(bytes: &mut &[u8], mut each: impl FnMut(Range<u64>)) -> Option<()> {
    let mut last = 0_u64;
    for _ in 0..varint::take(bytes)? {
        let start = last.checked_add(varint::take(bytes)?)?;
        last = start.checked_add(varint::take(bytes)?).filter(|&end| end <= DURABLE_ROWS_MAX)?;
        each(start..last);
    }
    Some(())
}

fn decode_runs(bytes: &mut &[u8], base: u64, set: &mut RowSet) -> Option<()> {
    decode_ranges(bytes, |run| set.insert_range(base + run.start..base + run.end))
}

fn decode_bits(bytes: &mut &[u8], base: u64, set: &mut RowSet) -> Option<()> {
    let raw = varint::take_bytes(bytes, LEAF_ROWS / 8)?;
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("a chunk has eight bytes"));
    let bits: Vec<u64> = raw.chunks_exact(8).map(word).collect();
    runs(&bits).for_each(|run| set.insert_range(base + run.start..base + run.end));
    Some(())
}

/// The ranges of ones.
fn runs(bits: &[u64]) -> impl Iterator<Item = Range<u64>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = scan(bits, from, |word| word)?;
        from = scan(bits, start, |word| !word).unwrap_or(bits.len() as u64 * 64);
        Some(start..from)
    })
}

/// The index of the row in the sorted list, or the index to insert it at.
fn place(rows: &[u16], row: u64) -> Result<usize, usize> {
    rows.binary_search_by_key(&row, |&listed| u64::from(listed))
}

fn rows_from(rows: &[u16], from: u64) -> impl Iterator<Item = u64> {
    let (Ok(first) | Err(first)) = place(rows, from);
    rows.iter().skip(first).map(|&row| u64::from(row))
}

fn bits_of(rows: &[u16]) -> Box<[u64]> {
    let mut bits: Box<[u64]> = vec![0; WORDS].into();
    for &row in rows {
        set_bit(&mut bits, u64::from(row));
    }
    bits
}

/// Sets a bit; true: it was not set before.
fn set_bit(bits: &mut [u64], at: u64) -> bool {
    let word = bits.get_mut((at / 64) as usize).expect("a row within a leaf is below LEAF_ROWS");
    let mask = 1 << (at % 64);
    let new = *word & mask == 0;
    *word |= mask;
    new
}

fn bit(bits: &[u64], at: u64) -> bool {
    let word = bits.get((at / 64) as usize).expect("a row within a leaf is below LEAF_ROWS");
    word >> (at % 64) & 1 == 1
}

/// The first bit from `from` on that is set once `view` is applied to its word.
fn scan(bits: &[u64], from: u64, view: impl Fn(u64) -> u64) -> Option<u64> {
    let first = (from / 64) as usize;
    let mut mask = u64::MAX << (from % 64);
    bits.iter().enumerate().skip(first).find_map(|(index, &word)| {
        let word = view(word) & mask;
        mask = u64::MAX;
        (word != 0).then(|| index as u64 * 64 + u64::from(word.trailing_zeros()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn rows(set: &RowSet) -> BTreeSet<u64> {
        set.ranges().flatten().collect()
    }

    fn check(set: &RowSet, model: &BTreeSet<u64>) {
        assert_eq!(&rows(set), model);
        assert_eq!(set.len(), model.len() as u64);
        assert_eq!(set.is_empty(), model.is_empty());
        assert_eq!(set.low().0, (0..).find(|row| !model.contains(row)).unwrap());
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        let mut rest = bytes.as_slice();
        assert_eq!(RowSet::decode(&mut rest).map(|read| rows(&read)).as_ref(), Some(model));
        assert!(rest.is_empty());
    }

    /// Ranges about the borders of leaves, and single rows.
    fn ranges() -> impl Strategy<Value = Range<u64>> {
        let near = |leaf: u64| (leaf * LEAF_ROWS).saturating_sub(40)..leaf * LEAF_ROWS + 200;
        prop_oneof![
            20 => (0_u64..300).prop_map(|row| row..row + 1),
            20 => (0_u64..300, 0_u64..80).prop_map(|(row, len)| row..row + len),
            10 => (0_u64..4, 0_u64..200)
                .prop_flat_map(move |(leaf, len)| near(leaf).prop_map(move |row| row..row + len)),
            1 => Just(0..LEAF_ROWS),
            1 => Just(2 * LEAF_ROWS..3 * LEAF_ROWS),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40 * ProptestConfig::default().cases / 256))]

        #[test]
        fn as_a_set(inserted in proptest::collection::vec(ranges(), 0..40)) {
            let mut set = RowSet::default();
            let mut model = BTreeSet::new();
            for range in inserted {
                if range.end - range.start == 1 {
                    prop_assert_eq!(set.insert(Row(range.start)), model.insert(range.start));
                } else {
                    set.insert_range(range.clone());
                    model.extend(range.clone());
                }
                for row in [range.start, range.end, range.end.saturating_sub(1)] {
                    prop_assert_eq!(set.contains(Row(row)), model.contains(&row));
                }
            }
            check(&set, &model);
        }

        #[test]
        fn the_difference(a in proptest::collection::vec(ranges(), 0..12), b in proptest::collection::vec(ranges(), 0..12)) {
            let build = |ranges: Vec<Range<u64>>| {
                let mut set = RowSet::default();
                ranges.into_iter().for_each(|range| set.insert_range(range));
                set
            };
            let (a, b) = (build(a), build(b));
            check(&a.without(&b), &rows(&a).difference(&rows(&b)).copied().collect());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = RowSet::decode(&mut bytes.as_slice());
        }
    }

    #[test]
    fn every_other_row_is_as_large_as_its_bits() {
        let mut set = RowSet::default();
        (0..LEAF_ROWS / 2).for_each(|row| assert!(set.insert(Row(row * 2))));
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        assert!(bytes.len() < 8_300, "{}", bytes.len());
        check(&set, &(0..LEAF_ROWS / 2).map(|row| row * 2).collect());
    }

    /// Bytes of rows, whatever the map around them costs.
    fn kept(set: &RowSet) -> usize {
        let of = |leaf: &Leaf| match leaf {
            Leaf::Full => 0,
            Leaf::Part { bits, .. } => bits.len() * 8,
            Leaf::Few(rows) => rows.capacity() * 2,
        };
        set.above.values().map(of).sum()
    }

    /// Two million rows that finish out of order within a window of 100,000; one in a thousand fails, and the first of
    /// all is the last.
    #[test]
    fn a_long_run_keeps_little() {
        const ROWS: u64 = 2_000_000;
        const WINDOW: u64 = 100_000;
        let (mut done, mut failed) = (RowSet::default(), RowSet::default());
        let (mut most, mut most_behind) = (0, 0);
        for start in (0..ROWS).step_by(WINDOW as usize) {
            // A step that has no divisor in common with the window visits every row of it.
            for row in (0..WINDOW).map(|number| start + number * 70_001 % WINDOW).filter(|&row| row > 0) {
                assert!(done.insert(Row(row)));
                if row % 1_000 == 7 {
                    failed.insert(Row(row));
                }
            }
            most = most.max(done.above.len());
            most_behind = most_behind.max(kept(&done));
        }
        assert!(most_behind <= 3 * 8_192, "{most_behind}");
        assert!(most <= (ROWS / LEAF_ROWS + 1) as usize, "{most}");
        assert!(done.insert(Row(0)));
        assert_eq!((done.low(), done.above.len()), (Row(ROWS), 1));
        assert_eq!(failed.len(), ROWS / 1_000);
        assert!(kept(&failed) < 4 * (ROWS / 1_000) as usize, "{}", kept(&failed));
    }

    #[test]
    fn a_leaf_turns_from_a_list_into_bits_and_is_full_at_last() {
        let (mut set, mut model) = (RowSet::default(), BTreeSet::new());
        for row in (0..LEAF_ROWS).map(|number| LEAF_ROWS + number * 40_503 % LEAF_ROWS) {
            assert!(set.insert(Row(row)) && model.insert(row));
            if [1, 100, FEW_MAX, FEW_MAX + 1, 60_000, 65_536].contains(&model.len()) {
                check(&set, &model);
            }
        }
        assert_eq!(set.above.get(&1), Some(&Leaf::Full));
    }

    #[test]
    fn a_run_of_millions_is_a_few_bytes() {
        let mut set = RowSet::default();
        set.insert_range(0..300_000_000);
        set.insert_range(300_000_010..500_000_000);
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        assert_eq!((set.low(), set.len()), (Row(300_000_000), 499_999_990));
    }

    #[test]
    fn a_row_beyond_the_limit_is_refused() {
        let mut set = RowSet::default();
        assert!(!set.insert(Row(DURABLE_ROWS_MAX)));
        assert!(!set.insert(Row(u64::MAX)));
        set.insert_range(DURABLE_ROWS_MAX - 1..u64::MAX);
        assert_eq!(set.len(), 1);
    }
}
