//! One line a record: NDJSON and CSV.

use std::io::{self, Write};

use overlapped_proto::limits;
use overlapped_proto::record::column::Fields;
use overlapped_proto::record::{Record, csv, ndjson};

use super::{Cut, OutputFile, Sink};

/// Writes one line a record.
pub struct Lines<W> {
    writer: W,
    buffer: Vec<u8>,
    fields: Fields,
    format: Format,
    cut: fn(&mut W) -> io::Result<Cut>,
}

enum Format {
    Ndjson,
    Csv(csv::Guard),
}

impl<W: Write + Send> Lines<W> {
    /// JSON, one object a line.
    pub fn ndjson(writer: W, fields: Fields) -> Self {
        Self { writer, buffer: Vec::new(), fields, format: Format::Ndjson, cut: no_cut }
    }

    /// Comma-separated values, with a header line.
    pub fn csv(writer: W, fields: Fields, guard: csv::Guard) -> Self {
        let mut buffer = Vec::new();
        csv::header(&fields, &mut buffer);
        Self { writer, buffer, fields, format: Format::Csv(guard), cut: no_cut }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Lines<OutputFile> {
    /// The same for a run that is durable. A file that is not empty has its header already.
    #[must_use]
    pub fn durable(mut self) -> Self {
        if !self.writer.is_empty() {
            self.buffer.clear();
        }
        self.cut = OutputFile::cut;
        self
    }
}

/// What need not be durable.
fn no_cut<W>(_: &mut W) -> io::Result<Cut> {
    Ok(Cut::default())
}

impl<W: Write + Send> Sink for Lines<W> {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        match self.format {
            Format::Ndjson => ndjson::write(record, &self.fields, &mut self.buffer),
            Format::Csv(guard) => csv::write(record, &self.fields, guard, &mut self.buffer),
        }
        if self.buffer.len() >= limits::OUTPUT_BUFFER_BYTES { self.write_out() } else { Ok(()) }
    }

    fn commit(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.writer.flush()
    }

    fn cut(&mut self) -> io::Result<Cut> {
        self.commit()?;
        (self.cut)(&mut self.writer)
    }
}
