//! Estimates the number of rows of a list that are still to be read, for the progress display.

/// The part of a list that is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the list, where that is known.
    pub bytes: Option<u64>,
    /// The first row that is fetched.
    pub begin: u64,
    /// The row behind the last one; [`u64::MAX`]: to the end of the list.
    pub end: u64,
    /// The number of partitions, of which one is fetched.
    pub parts: u32,
}

/// How far a list was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Rows from the beginning of the list.
    pub rows: u64,
    /// Bytes from the beginning of the list.
    pub bytes: u64,
    /// Rows of the extent that were seen.
    pub seen: u64,
    /// Those of them that belong to the partition.
    pub own: u64,
}

impl Extent {
    /// The number of rows still to be read from `position` on. `None`: the length of the list is unknown.
    ///
    /// ```
    /// use overlapped_proto::unread::{Extent, Position};
    ///
    /// let list = Extent { bytes: Some(1_000), begin: 0, end: u64::MAX, parts: 1 };
    /// let position = Position { rows: 10, bytes: 250, seen: 10, own: 10 };
    /// assert_eq!(list.unread(position), Some(30));
    /// ```
    #[must_use]
    pub fn unread(self, position: Position) -> Option<u64> {
        let by_length = self.bytes.filter(|_| position.rows > 0 && position.bytes > 0).map(|bytes| {
            let rows = u128::from(position.rows) * u128::from(bytes) / u128::from(position.bytes);
            u64::try_from(rows).unwrap_or(u64::MAX)
        });
        let by_limit = (self.end < u64::MAX).then_some(self.end);
        let end = [by_length, by_limit].into_iter().flatten().min()?;
        let rows = end.saturating_sub(position.rows.max(self.begin));
        let (own, seen) = match position.seen {
            0 => (1, u64::from(self.parts.max(1))),
            seen => (position.own, seen),
        };
        let own = u128::from(rows) * u128::from(own) / u128::from(seen);
        Some(u64::try_from(own).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Extent = Extent { bytes: Some(10_000), begin: 0, end: u64::MAX, parts: 1 };

    fn check(extent: Extent, rows: u64, bytes: u64, own: u64, expected: Option<u64>) {
        let seen = rows.min(extent.end).saturating_sub(extent.begin);
        let position = Position { rows, bytes, seen, own };
        assert_eq!(extent.unread(position), expected, "{extent:?} at {position:?}");
    }

    #[test]
    fn limits_and_parts_are_known() {
        check(WHOLE, 100, 1_000, 100, Some(900));
        check(WHOLE, 0, 0, 0, None);
        check(Extent { end: 300, ..WHOLE }, 100, 1_000, 100, Some(200));
        check(Extent { end: 5_000, ..WHOLE }, 100, 1_000, 100, Some(900)); // more than there are
        check(Extent { begin: 400, ..WHOLE }, 100, 1_000, 0, Some(600));
        check(Extent { begin: 400, ..WHOLE }, 500, 5_000, 100, Some(500));
        check(Extent { begin: 400, end: 600, ..WHOLE }, 500, 5_000, 100, Some(100));
        check(Extent { parts: 4, ..WHOLE }, 100, 1_000, 20, Some(180)); // as they come, not as they should
        check(Extent { begin: 400, parts: 4, ..WHOLE }, 100, 1_000, 0, Some(150));
        check(Extent { bytes: None, end: 300, ..WHOLE }, 100, 1_000, 100, Some(200));
        check(Extent { bytes: None, ..WHOLE }, 100, 1_000, 100, None);
    }
}
