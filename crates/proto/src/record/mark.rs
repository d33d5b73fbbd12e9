//! The mark of a record: how a row of a list is recognised as a result of this program.
//!
//! Results come back through pipes, from copies, and rewritten by other programs (jq, DuckDB, pandas, a spreadsheet). Of all
//! that could mark them, only columns survive that. An extended attribute or a file beside it is lost with the first
//! copy or pipe, a comment is not valid NDJSON or CSV, the order of columns and the beginning of a line are changed by
//! most programs, and a column that is only a mark would be in every record. So the mark is two columns that every record
//! has and that have no meaning in a list.
//!
//! It is for reading only. Which file a run may cut, rewrite or remove is recorded in its journal, which has the name and a
//! checksum of it.

/// The columns that mark a record.
pub const MARKS: [&str; 2] = ["exitcode", "wire_bytes"];

/// True if a row with these columns is a record.
pub fn is_record<'a>(columns: impl Iterator<Item = &'a str> + Clone) -> bool {
    MARKS.iter().all(|mark| columns.clone().any(|column| column == *mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::column::Fields;

    #[test]
    fn every_record_is_marked_and_no_row_of_a_list_is() {
        let mut header = Vec::new();
        crate::record::csv::header(&Fields::default(), &mut header);
        let header = String::from_utf8(header).unwrap();
        assert!(is_record(header.trim_end().split(',')));
        assert!(!is_record(["url", "body", "exitcode"].into_iter()));
        assert!(!is_record([].into_iter()));
    }
}
