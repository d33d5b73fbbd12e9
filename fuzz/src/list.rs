//! A list in every format: the same rows however its blocks are cut, in order, and the same again from any row on.

use overlapped_proto::input::{Format, Options, Reader, RowRead};
use overlapped_proto::job::Row;

use crate::take::Take;

const FORMATS: [Format; 5] = [Format::Text, Format::Ndjson, Format::Json, Format::Csv, Format::Tsv];

/// Reads what follows the first bytes as a list; those choose its format, and where its blocks are cut.
pub fn list(data: &[u8]) {
    let mut take = Take(data);
    let (format, cuts) = (FORMATS[usize::from(take.byte()) % FORMATS.len()], take.bytes(3));
    let (rows, whole) = read(Reader::new(format, Options::default()), take.0, &[]);
    assert_eq!((&rows, &whole), (&read(Reader::new(format, Options::default()), take.0, cuts).0, &whole));
    for (at, (row, ..)) in rows.iter().enumerate() {
        assert_eq!(*row, at as u64, "rows are numbered without a gap");
    }
    // Where an array is damaged no row begins.
    let begins = |at: &usize| rows.get(*at).is_some_and(|(_, _, seen)| !seen.starts_with("0 "));
    let Some(middle) = (0..=rows.len() / 2).rev().find(begins) else { return };
    let (row, offset, _) = &rows[middle];
    if let Some(reader) = Reader::resume(format, Options::default(), Row(*row), *offset) {
        let from = usize::try_from(*offset).unwrap();
        assert_eq!(
            read(reader, &take.0[from..], cuts),
            (rows[middle..].to_vec(), whole),
            "from row {row} on"
        );
    }
}

/// Its number, where it begins, and what it is.
type Seen = (u64, u64, String);

fn read(mut reader: Reader, mut list: &[u8], cuts: &[u8]) -> (Vec<Seen>, String) {
    let mut rows = Vec::new();
    let mut sink =
        |row: RowRead| rows.push((row.row().0, row.offset, format!("{} {:?}", row.bytes, row.job)));
    let mut cuts = cuts.iter().cycle();
    let mut end = Ok(());
    while !list.is_empty() && end.is_ok() {
        let length = cuts.next().map_or(list.len(), |&cut| 1 + usize::from(cut % 61)).min(list.len());
        end = reader.push(&list[..length], &mut sink);
        list = &list[length..];
    }
    let end = end.and_then(|()| reader.finish(&mut sink));
    (rows, format!("{end:?}"))
}
