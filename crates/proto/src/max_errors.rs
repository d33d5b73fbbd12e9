//! `--max-errors`: the number or share of failed rows at which a run is aborted.

use crate::limits;

/// The limit on failed rows.
///
/// ```
/// use overlapped_proto::max_errors::MaxErrors;
///
/// let few = MaxErrors::parse("3").unwrap();
/// assert!(!few.reached(2, 1_000) && few.reached(3, 3));
/// let share = MaxErrors::parse("2.5%").unwrap();
/// assert!(!share.reached(25, 1_001) && share.reached(25, 1_000));
/// assert!(!share.reached(50, 50)); // too early to tell
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxErrors {
    /// The run ends when this number of rows has failed; at least 1.
    Rows(u64),
    /// The run ends when this share of the rows that are done has failed, in millionths. It applies once
    /// [`limits::MAX_ERRORS_ROWS_MIN`] rows are done.
    Millionths(u32),
}

impl MaxErrors {
    /// Reads `10` or `2.5%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().ok().filter(|rows| *rows > 0).map(Self::Rows);
        };
        let millionths = percent.parse::<f64>().ok()? * 10_000.0;
        (1.0..=1e6).contains(&millionths).then_some(Self::Millionths(millionths as u32))
    }

    /// True if `failed` of `done` rows reach the limit.
    #[must_use]
    pub fn reached(self, failed: u64, done: u64) -> bool {
        match self {
            Self::Rows(max) => failed >= max,
            Self::Millionths(share) => {
                done >= limits::MAX_ERRORS_ROWS_MIN
                    && u128::from(failed) * 1_000_000 >= u128::from(done) * u128::from(share)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let check =
            |text: &str, expected: Option<MaxErrors>| assert_eq!(MaxErrors::parse(text), expected, "{text}");
        check("1", Some(MaxErrors::Rows(1)));
        check("5%", Some(MaxErrors::Millionths(50_000)));
        check("0.1%", Some(MaxErrors::Millionths(1_000)));
        check("100%", Some(MaxErrors::Millionths(1_000_000)));
        for wrong in ["", "0", "-1", "0%", "101%", "nan%", "inf%", "%", "x", "1.5", "0.00001%"] {
            check(wrong, None);
        }
    }
}
