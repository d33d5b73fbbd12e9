//! The proleptic Gregorian calendar. Years are counted from March, so that the leap day is the last day of a year, and the
//! months before it have a fixed pattern of lengths (153 days in each five).

/// 0000-03-01, in days since 1970-01-01.
const EPOCH: i64 = -719_468;

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar, for the years 0 to 9999.
pub(crate) fn civil(days: i64) -> (u64, u64, u64) {
    const LAST: i64 = 2_932_896; // 9999-12-31
    let days = (days.clamp(EPOCH, LAST) - EPOCH).unsigned_abs();
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

/// Days since 1970-01-01 of a year, month (1 to 12) and day (1 to 31).
///
/// ```
/// assert_eq!(overlapped_proto::calendar::days_since_1970(2000, 2, 29), 11_016);
/// ```
#[must_use]
pub fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year + EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_400_years_is_found_again() {
        let mut last = civil(-1);
        for days in 0..146_097 {
            let (year, month, day) = civil(days);
            let as_i64 = |number: u64| i64::try_from(number).unwrap();
            assert_eq!(days_since_1970(as_i64(year), as_i64(month), as_i64(day)), days);
            assert!((year, month, day) > last && (1..=12).contains(&month) && (1..=31).contains(&day));
            last = (year, month, day);
        }
        assert_eq!(last, (2369, 12, 31));
    }
}
