//! Line formats: NDJSON, CSV, TSV, and a HAR without its end.

use std::io::{self, Read, Write};

use overlapped_proto::limits;
use overlapped_proto::record::column::{Fields, Gap};
use overlapped_proto::record::{Body, Record, csv, har, ndjson, tsv};

use super::{Cut, OutputFile, Sink, SinkId};

/// Writes one line for each record.
pub struct Lines<W> {
    writer: W,
    buffer: Vec<u8>,
    fields: Fields,
    format: Format,
    id: Option<SinkId>,
    cut: fn(&mut W) -> io::Result<Cut>,
}

/// Bytes of a body encoded at once. A multiple of three, so that Base64 needs no padding in between.
const PIECE_BYTES: usize = 3 * (limits::OUTPUT_BUFFER_BYTES / 8);

enum Format {
    Ndjson,
    Csv(csv::Guard),
    Tsv(csv::Guard),
    Har {
        /// The time of rows that never started.
        unix_us: i64,
        /// No entry is there yet.
        is_first: bool,
    },
}

impl<W: Write + Send> Lines<W> {
    /// JSON, one object a line.
    pub fn ndjson(writer: W, fields: Fields) -> Self {
        Self { writer, buffer: Vec::new(), fields, format: Format::Ndjson, id: None, cut: no_cut }
    }

    /// Comma-separated values, with a header line.
    pub fn csv(writer: W, fields: Fields, guard: csv::Guard) -> Self {
        let mut buffer = Vec::new();
        csv::header(&fields, &mut buffer);
        Self { writer, buffer, fields, format: Format::Csv(guard), id: None, cut: no_cut }
    }

    /// Tab-separated values, with a header line.
    pub fn tsv(writer: W, fields: Fields, guard: csv::Guard) -> Self {
        let mut buffer = Vec::new();
        tsv::header(&fields, &mut buffer);
        Self { writer, buffer, fields, format: Format::Tsv(guard), id: None, cut: no_cut }
    }

    /// The beginning of a HAR, and its entries. `unix_us`: the time of a row that never started; `is_first`: no entry is
    /// there yet.
    pub(super) fn har(writer: W, fields: Fields, unix_us: i64, is_first: bool) -> Self {
        let mut buffer = Vec::new();
        har::begin(env!("CARGO_PKG_VERSION"), &mut buffer);
        Self { writer, buffer, fields, format: Format::Har { unix_us, is_first }, id: None, cut: no_cut }
    }

    /// Writes a line whose body is encoded in pieces: `buffer` holds the rest of it, and `gap` is the position of the
    /// body. So the encoded body takes no more memory than one piece.
    fn write_around(&mut self, gap: Gap, body: &Body) -> io::Result<()> {
        let behind = self.buffer.split_off(gap.at);
        let mut in_memory: &[u8];
        let mut spooled;
        let reader: &mut dyn Read = match body {
            Body::Inline(bytes) => {
                in_memory = bytes;
                &mut in_memory
            }
            Body::Spooled(body) => {
                spooled = body.reader();
                &mut spooled
            }
            Body::None | Body::File(_) => unreachable!("only a body that is read leaves a gap"),
        };
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let filled = fill(reader, &mut piece)?;
            let bytes = piece.get(..filled).expect("a read fits into its buffer");
            match self.format {
                Format::Ndjson | Format::Har { .. } => ndjson::push_piece(gap.form, bytes, &mut self.buffer),
                Format::Csv(_) | Format::Tsv(_) => csv::push_piece(gap.form, bytes, &mut self.buffer),
            }
            if filled < PIECE_BYTES {
                break;
            }
            self.write_out()?;
        }
        self.buffer.extend_from_slice(&behind);
        Ok(())
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Lines<OutputFile> {
    /// For a durable run, under this name. A file that is not empty already has its header.
    #[must_use]
    pub fn durable(mut self, id: SinkId) -> Self {
        self.id = Some(id);
        if !self.writer.is_empty() {
            self.buffer.clear();
        }
        self.complete()
    }

    /// Writes what follows the last line, and returns the file.
    pub(super) fn write_end(&mut self, end: &[u8]) -> io::Result<&mut OutputFile> {
        self.buffer.extend_from_slice(end);
        self.commit()?;
        Ok(&mut self.writer)
    }

    /// A file that is whole at the end of the run, if it is compressed.
    pub(super) fn complete(mut self) -> Self {
        self.cut = OutputFile::cut;
        self
    }
}

/// The cut of a writer without durability.
fn no_cut<W: Write>(writer: &mut W) -> io::Result<Cut> {
    writer.flush().map(|()| Cut::default())
}

impl<W: Write + Send> Sink for Lines<W> {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let (fields, whole_max, out) = (&self.fields, limits::OUTPUT_BUFFER_BYTES, &mut self.buffer);
        let gap = match self.format {
            Format::Ndjson => ndjson::write_around(record, fields, whole_max, out),
            Format::Csv(guard) => csv::write_around(record, fields, guard, whole_max, out),
            Format::Har { unix_us, ref mut is_first } => {
                if !std::mem::take(is_first) {
                    out.push(b',');
                }
                har::write_around(record, *fields, unix_us, whole_max, out)
            }
            Format::Tsv(guard) => tsv::write_around(record, fields, guard, whole_max, out),
        };
        if let Some(gap) = gap {
            self.write_around(gap, &record.body)?;
        }
        if self.buffer.len() >= limits::OUTPUT_BUFFER_BYTES { self.write_out() } else { Ok(()) }
    }

    fn commit(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.writer.flush()
    }

    fn id(&self) -> Option<&SinkId> {
        self.id.as_ref()
    }

    fn cut(&mut self) -> io::Result<Cut> {
        self.write_out()?;
        (self.cut)(&mut self.writer)
    }

    fn seal(&mut self) -> io::Result<()> {
        (self.cut)(&mut self.writer).map(drop)
    }
}

/// Reads until `block` is full or the body ends.
pub(super) fn fill(reader: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use overlapped_proto::job::Row;

    use super::*;

    /// A line is the same whether its body was encoded whole or piece by piece.
    fn check(body: Vec<u8>) {
        let mut record = Record::new(Row(7), "http://a/");
        record.body = Body::Inline(body.into());
        let guard = csv::Guard::Formulas;
        let fields = Fields::default();
        let mut whole = Vec::new();
        ndjson::write(&record, &fields, &mut whole);
        let mut pieces = Lines::ndjson(Vec::new(), fields);
        pieces.accept(&mut record).and_then(|()| pieces.commit()).unwrap();
        assert!(pieces.writer == whole);
        whole.clear();
        csv::header(&fields, &mut whole);
        csv::write(&record, &fields, guard, &mut whole);
        let mut pieces = Lines::csv(Vec::new(), fields, guard);
        pieces.accept(&mut record).and_then(|()| pieces.commit()).unwrap();
        assert!(pieces.writer == whole);
    }

    #[test]
    fn large_bodies_are_encoded_piece_by_piece() {
        for bytes in [PIECE_BYTES, limits::OUTPUT_BUFFER_BYTES + 1, 4 * PIECE_BYTES, 1_000_003] {
            check("=\u{20ac}\"\n,\u{1}".bytes().cycle().take(bytes / 8 * 8).collect());
            check((0..bytes).map(|byte| (byte % 256) as u8).collect());
        }
    }
}
