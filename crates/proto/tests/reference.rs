//! The reference pages say what the program does.

#![allow(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

use overlapped_proto::error::{ErrorKind, Phase};
use overlapped_proto::input;
use overlapped_proto::job::Row;
use overlapped_proto::notes::Note;
use overlapped_proto::record::column::{BodyNames, Cells, Fields, Name, Value, visit};
use overlapped_proto::record::{Body, Record};

const ERRORS: &str = include_str!("../../../docs/reference/errors.md");
const RECORDS: &str = include_str!("../../../docs/reference/records.md");
const INPUT: &str = include_str!("../../../docs/reference/input.md");

/// The rows of all tables of a page whose first cell is code, as cells; the code without its quotes.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| {
            let (name, rest) = line.split_once('`').unwrap();
            let cells = rest.trim_end_matches('|').split(" | ").skip(1).map(str::trim);
            std::iter::once(name).chain(cells).collect()
        })
        .collect()
}

#[test]
fn errors() {
    let phase = |kind: ErrorKind| match kind.phase() {
        Phase::Input => "input",
        Phase::Dns => "dns",
        Phase::Connect => "connect",
        Phase::Tls => "tls",
        Phase::Send => "send",
        Phase::Head => "head",
        Phase::Body => "body",
        Phase::Sink => "sink",
        Phase::Run => "run",
    };
    let again = |kind: ErrorKind| if kind.is_transient() { "yes" } else { "no" };
    let expected: Vec<_> = ErrorKind::ALL
        .iter()
        .map(|&kind| {
            let (name, code, meaning) = (kind.name(), kind.curl_code(), kind.meaning());
            format!("| `{name}` | {} | {} | {code} | {meaning} |", phase(kind), again(kind))
        })
        .collect();
    let table: Vec<_> = ERRORS.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(table == expected, "the table should be:\n{}", expected.join("\n"));
}

/// Collects the columns and whether they are null in a record to which nothing has happened.
struct Columns(Vec<(&'static str, bool)>);

impl Cells for Columns {
    fn cell(&mut self, name: Name, value: Value<'_>) {
        self.0.push((name.plain, value == Value::Null));
    }

    fn json(&mut self, name: Name, _: impl FnOnce(&mut Vec<u8>)) {
        self.0.push((name.plain, false));
    }

    fn body(&mut self, names: BodyNames, _: &Body) {
        self.0.extend([names.text, names.base64, names.path].map(|name| (name.plain, true)));
    }
}

#[test]
fn columns_of_a_record() {
    let mut columns = Columns(Vec::new());
    visit(&Record::new(Row(0), ""), Fields::default(), &mut columns);
    // A note has no type.
    let described = rows(RECORDS).into_iter().filter(|row| row.len() == 3);
    let described: Vec<_> = described.map(|row| (row[0], row[1].ends_with('?'))).collect();
    assert_eq!(described, columns.0);
}

#[test]
fn notes_of_a_record() {
    let described: Vec<_> = rows(RECORDS).into_iter().filter(|row| row.len() == 2).collect();
    let expected: Vec<_> = Note::ALL.iter().map(|note| vec![note.name(), note.meaning()]).collect();
    assert_eq!(described, expected);
}

#[test]
fn options_of_a_row() {
    let described: Vec<_> = rows(INPUT).into_iter().map(|row| row[0]).collect();
    let options: Vec<_> = std::iter::once("url").chain(input::option_columns()).collect();
    assert_eq!(described, options);
}
