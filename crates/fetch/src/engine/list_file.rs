//! Reads rows of a plain file again, by their byte offsets.
//!
//! The file may have changed meanwhile. A row that no longer parses, or that belongs to another host now, becomes a bad
//! row; every row still yields one record.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use overlapped_proto::error::ErrorKind;
use overlapped_proto::input::{BadRow, Reread};
use overlapped_proto::job::{HostKey, Job, Row, Span};
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;

/// A list with random access.
#[derive(Debug)]
pub(crate) struct ListFile {
    pub(crate) file: File,
    pub(crate) reread: Reread,
}

/// A reader of such rows.
pub(crate) struct RowReader<'a> {
    file: &'a File,
    reread: Reread,
    last: Loaded,
}

/// The bytes read last, and their offset.
#[derive(Default)]
struct Loaded {
    bytes: Vec<u8>,
    from: u64,
}

impl ListFile {
    pub(crate) fn row_reader(&self) -> RowReader<'_> {
        RowReader { file: &self.file, reread: self.reread.another(), last: Loaded::default() }
    }
}

impl RowReader<'_> {
    /// The rows of `host` at these offsets, in this order.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn rows(
        &mut self,
        host: HostKey,
        places: &[(Row, Span)],
    ) -> io::Result<Vec<Result<Job, BadRow>>> {
        let mut rows = Vec::with_capacity(places.len());
        for (at, &(row, span)) in places.iter().enumerate() {
            if self.last.text(span).is_none() {
                let following = places.get(at..).expect("an index of the slice");
                self.last.load(self.file, span, following)?;
            }
            // Empty if the file was truncated: then the row does not parse.
            let text = self.last.text(span).unwrap_or_default();
            let job = self.reread.row(row, text).map(|job| Job { span: Some(span), ..job });
            let is_it = job.as_ref().map_or(true, |job| job.host == host);
            rows.push(if is_it { job } else { Err(changed(row, text)) });
        }
        Ok(rows)
    }
}

impl Loaded {
    /// Reads one row together with the following ones that are near. Reads less if the file has been truncated.
    fn load(&mut self, file: &File, first: Span, places: &[(Row, Span)]) -> io::Result<()> {
        let spans = places.iter().map(|(_, span)| span);
        let near =
            |span: &&Span| (first.offset()..first.offset() + limits::SPILL_READ_BYTES).contains(&span.end());
        let end = spans.take_while(near).map(|span| span.end()).max().unwrap_or(first.end());
        let length = end.max(first.end()) - first.offset();
        self.from = first.offset();
        self.bytes.clear();
        self.bytes.resize(usize::try_from(length).expect("a row or a read-ahead fits in memory"), 0);
        let mut read = 0;
        while let Some(rest) = self.bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, self.from + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(read);
        Ok(())
    }

    /// The bytes of a row, if they are loaded.
    fn text(&self, span: Span) -> Option<&[u8]> {
        let start = usize::try_from(span.offset().checked_sub(self.from)?).ok()?;
        self.bytes.get(start..start + usize::try_from(span.bytes()).ok()?)
    }
}

/// The row at this offset now belongs to another host.
fn changed(row: Row, text: &[u8]) -> BadRow {
    BadRow::new(row, text, Failure::new(ErrorKind::InputFormat, "the list was changed while it was fetched"))
}
