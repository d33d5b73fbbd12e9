//! Nouns that agree with their counts, for messages.

/// The count and its noun, with an `s` unless it is one.
///
/// ```
/// use overlapped_proto::plural::counted;
///
/// assert_eq!(counted(1, "row"), "1 row");
/// assert_eq!(counted(2, "row"), "2 rows");
/// ```
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", plural(count, "", "s"))
}

/// What to say of one, or of any other number.
///
/// ```
/// use overlapped_proto::plural::plural;
///
/// assert_eq!([0, 1, 2].map(|rows| plural(rows, "is", "are")), ["are", "is", "are"]);
/// ```
#[must_use]
pub const fn plural(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}
