//! Records as batches of Arrow: the columns of docs/reference/records.md, typed.
//!
//! A body is its bytes in one column, whatever they are; `chain`, `headers` and `notes` are lists; `meta` is JSON text.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder as _, BooleanBuilder, Float64Builder, LargeBinaryBuilder, StringBuilder,
    TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, RecordBatchOptions, StringArray, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{Field, Schema, SchemaRef};
use overlapped_proto::limits;
use overlapped_proto::record::column::Fields;
use overlapped_proto::sanitize::redact;

use crate::record::{Body, Hop, Nanos, Record, header_text};

/// Builds a batch of records.
///
/// ```
/// use overlapped_fetch::arrow::Batch;
/// use overlapped_fetch::{Record, record::Row};
///
/// let mut batch = Batch::default();
/// batch.push(&Record::new(Row(7), "https://example.org/"))?;
/// let batch = batch.finish();
/// assert_eq!(batch.num_rows(), 1);
/// assert_eq!(batch.schema().field(0).name(), "row");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct Batch {
    columns: Columns,
    fields: Fields,
    rows: usize,
    bytes: usize,
}

impl Batch {
    /// An empty batch with these of the large columns.
    #[must_use]
    pub fn new(fields: Fields) -> Self {
        Self { fields, ..Self::default() }
    }

    /// Adds a record. A body that has a file of its own stays there.
    ///
    /// # Errors
    ///
    /// A body on disk cannot be read.
    ///
    /// # Blocking
    ///
    /// On the disk, for a body that is there.
    pub fn push(&mut self, record: &Record) -> io::Result<()> {
        let body = if self.fields.body { body(&record.body)? } else { None };
        self.columns.push(record, body.as_deref());
        self.rows += 1;
        let texts = record.url.len() + record.meta.as_ref().map_or(0, |meta| meta.len());
        self.bytes += body.map_or(0, |body| body.len()) + record.headers.bytes() + texts;
        Ok(())
    }

    /// The number of records.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of bodies, heads and other texts of any length in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch; the next records begin another.
    pub fn finish(&mut self) -> RecordBatch {
        let (schema, arrays) = std::mem::take(&mut self.columns).finish(self.fields);
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        if self.fields.body && bytes <= limits::TABLE_BATCH_BYTES_KEPT_MAX {
            // The next one is likely to be as large. Growing to that would copy it several times.
            self.columns.body = LargeBinaryBuilder::with_capacity(rows, bytes);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .expect("each record has a value in every column")
    }
}

/// The columns of a [`Batch`].
#[must_use]
pub fn schema(fields: Fields) -> SchemaRef {
    Columns::default().finish(fields).0
}

/// The bytes of a body, which may be on disk. One that has a file of its own stays there.
fn body(body: &Body) -> io::Result<Option<Cow<'_, [u8]>>> {
    Ok(match body {
        Body::None | Body::File(_) => None,
        Body::Inline(bytes) => Some(Cow::Borrowed(bytes)),
        Body::Spooled(spooled) => {
            let mut bytes = Vec::new();
            spooled.reader().read_to_end(&mut bytes)?;
            Some(Cow::Owned(bytes))
        }
    })
}

/// A column for each line: its name, its builder, and its value, null or not.
macro_rules! columns {
    (|$record:ident, $body:ident| $($name:ident: $builder:ty = $value:expr;)+) => {
        #[derive(Default)]
        struct Columns {
            $($name: $builder,)+
        }

        impl Columns {
            fn push(&mut self, $record: &Record, $body: Option<&[u8]>) {
                $(self.$name.append_option($value);)+
            }

            fn finish(mut self, fields: Fields) -> (SchemaRef, Vec<ArrayRef>) {
                let columns: [(&str, ArrayRef); _] = [$((stringify!($name), Arc::new(self.$name.finish())),)+];
                let (fields, arrays): (Vec<_>, _) = columns
                    .into_iter()
                    .filter(|(name, _)| has(fields, name))
                    .map(|(name, array)| (nullable(name, array.as_ref()), array))
                    .unzip();
                (Arc::new(Schema::new(fields)), arrays)
            }
        }
    };
}

columns! {
    |record, body|
    row: UInt64Builder = Some(record.row.0);
    id: StringBuilder = record.id.as_deref();
    url: StringBuilder = Some(redact(&record.url));
    final_url: StringBuilder = record.final_url.as_deref().map(redact);
    host: StringBuilder = record.host.as_deref();
    method: StringBuilder = Some(record.method.as_str());
    status: UInt16Builder = record.status;
    ok: BooleanBuilder = Some(record.ok);
    error: StringBuilder = record.failure.as_ref().map(|failure| failure.kind.name());
    error_message: StringBuilder = record.failure.as_ref().map(|failure| &*failure.message);
    exitcode: UInt8Builder = Some(record.failure.as_ref().map_or(0, |failure| failure.kind.curl_code()));
    attempts: UInt16Builder = Some(record.attempts);
    redirects: UInt32Builder = u32::try_from(record.chain.len()).ok();
    chain: Chains = Some(&*record.chain);
    http_version: StringBuilder = record.connection.http_version.map(|version| version.as_str());
    remote_ip: Addresses = record.connection.remote.map(|remote| remote.ip());
    remote_port: UInt16Builder = record.connection.remote.map(|remote| remote.port());
    reused: BooleanBuilder = record.connection.reused;
    headers: Heads = Some(record.headers.iter());
    content_type: StringBuilder = record.headers.first("content-type").map(header_text);
    etag: StringBuilder = record.headers.first("etag").map(header_text);
    last_modified: StringBuilder = record.headers.first("last-modified").map(header_text);
    bytes: UInt64Builder = Some(record.bytes);
    wire_bytes: UInt64Builder = Some(record.wire_bytes);
    body: LargeBinaryBuilder = body;
    body_path: StringBuilder = path(&record.body);
    sha256: StringBuilder = record.sha256.map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    truncated: BooleanBuilder = record.truncated;
    notes: Words = Some(record.notes.iter().map(|note| note.name()));
    started: Times = record.started_unix_us;
    blocked_ms: Float64Builder = record.timing.blocked.map(Nanos::as_millis_f64);
    dns_ms: Float64Builder = record.timing.dns.map(Nanos::as_millis_f64);
    connect_ms: Float64Builder = record.timing.connect.map(Nanos::as_millis_f64);
    tls_ms: Float64Builder = record.timing.tls.map(Nanos::as_millis_f64);
    send_ms: Float64Builder = record.timing.send.map(Nanos::as_millis_f64);
    wait_ms: Float64Builder = record.timing.wait.map(Nanos::as_millis_f64);
    receive_ms: Float64Builder = record.timing.receive.map(Nanos::as_millis_f64);
    total_ms: Float64Builder = record.timing.dns.or(record.timing.connect).or(record.timing.send).map(|_| record.timing.total().as_millis_f64());
    elapsed_ms: Float64Builder = Some(record.elapsed.as_millis_f64());
    meta: StringBuilder = record.meta.as_deref();
}

fn has(fields: Fields, name: &str) -> bool {
    match name {
        "headers" => fields.headers,
        "body" | "body_path" => fields.body,
        _ => true,
    }
}

fn nullable(name: &str, array: &dyn Array) -> Field {
    Field::new(name, array.data_type().clone(), true)
}

fn path(body: &Body) -> Option<Cow<'_, str>> {
    match body {
        Body::File(path) => Some(path.to_string_lossy()),
        Body::None | Body::Inline(_) | Body::Spooled(_) => None,
    }
}

/// Lists, by the number of items of each.
#[derive(Default)]
struct Lists(Vec<usize>);

impl Lists {
    fn finish(&mut self, items: ArrayRef) -> ListArray {
        let lengths = OffsetBuffer::from_lengths(std::mem::take(&mut self.0));
        ListArray::new(Arc::new(nullable("item", items.as_ref())), lengths, items, None)
    }

    fn of_structs(&mut self, columns: Vec<(&str, ArrayRef)>) -> ListArray {
        let columns =
            columns.into_iter().map(|(name, array)| (Arc::new(nullable(name, array.as_ref())), array));
        self.finish(Arc::new(StructArray::from(columns.collect::<Vec<_>>())))
    }
}

/// Lists of words.
#[derive(Default)]
struct Words {
    lists: Lists,
    words: StringBuilder,
}

impl Words {
    fn append_option<'a>(&mut self, words: Option<impl Iterator<Item = &'a str>>) {
        let before = self.words.len();
        words.into_iter().flatten().for_each(|word| self.words.append_value(word));
        self.lists.0.push(self.words.len() - before);
    }

    fn finish(&mut self) -> ListArray {
        self.lists.finish(Arc::new(self.words.finish()))
    }
}

/// Lists of headers: name in lower case, and value.
#[derive(Default)]
struct Heads {
    lists: Lists,
    names: StringBuilder,
    values: StringBuilder,
}

impl Heads {
    fn append_option<'a>(&mut self, fields: Option<impl Iterator<Item = (&'a str, &'a [u8])>>) {
        let before = self.names.len();
        for (name, value) in fields.into_iter().flatten() {
            self.names.append_value(name);
            self.values.append_value(header_text(value));
        }
        self.lists.0.push(self.names.len() - before);
    }

    fn finish(&mut self) -> ListArray {
        let (names, values) = (Arc::new(self.names.finish()), Arc::new(self.values.finish()));
        self.lists.of_structs(vec![("name", names), ("value", values)])
    }
}

/// Lists of redirects.
#[derive(Default)]
struct Chains {
    lists: Lists,
    urls: StringBuilder,
    statuses: UInt16Builder,
    totals: Float64Builder,
}

impl Chains {
    fn append_option(&mut self, hops: Option<&[Hop]>) {
        let hops = hops.unwrap_or_default();
        for hop in hops {
            self.urls.append_value(redact(&hop.url));
            self.statuses.append_value(hop.status);
            self.totals.append_value(hop.total.as_millis_f64());
        }
        self.lists.0.push(hops.len());
    }

    fn finish(&mut self) -> ListArray {
        let (urls, statuses) = (Arc::new(self.urls.finish()), Arc::new(self.statuses.finish()));
        let totals = Arc::new(self.totals.finish());
        self.lists.of_structs(vec![("url", urls), ("status", statuses), ("total_ms", totals)])
    }
}

/// Addresses. The one before is most often the same, and is not formatted again.
#[derive(Default)]
struct Addresses {
    texts: StringBuilder,
    last: Option<(IpAddr, String)>,
}

impl Addresses {
    fn append_option(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return self.texts.append_null() };
        match &self.last {
            Some((last, text)) if *last == address => self.texts.append_value(text),
            Some(_) | None => {
                let (_, text) = self.last.insert((address, address.to_string()));
                self.texts.append_value(text);
            }
        }
    }

    fn finish(&mut self) -> StringArray {
        self.texts.finish()
    }
}

/// Points in time, in UTC.
#[derive(Default)]
struct Times(TimestampMicrosecondBuilder);

impl Times {
    fn append_option(&mut self, unix_us: Option<i64>) {
        self.0.append_option(unix_us);
    }

    fn finish(&mut self) -> arrow_array::TimestampMicrosecondArray {
        self.0.finish().with_timezone("UTC")
    }
}
