//! Reads the list, and puts each row into the spool of its shard.

use std::io::{self, Read};

use overlapped_proto::base64;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::input::{BadRow, Format, HostRow, Hosts, Options, Reader, RowRead};
use overlapped_proto::job::{Ask, HostKey, Job};
use overlapped_proto::journal::Listed;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::partition::Partition;
use overlapped_proto::prefix::Prefix;
use overlapped_proto::record::push_json;
use overlapped_proto::sanitize;
use overlapped_proto::time::Nanos;

use super::Settings;
use super::columns::{Columns, Field};
use super::spool::{Spool, Spooled, push_field};
use crate::engine::feed::{Input, InputOptions, open_file, read_some};
use crate::engine::unpack::Unpack;
use crate::error::Error;
use crate::table_list;

/// A list that is open.
pub(super) struct List {
    read: Box<dyn Read + Send>,
    name: String,
    /// Its format; `None`: to be detected.
    format: Option<Format>,
    columns: Options,
}

/// A list that was read.
pub(super) struct ListRead {
    pub(super) spooled: Spooled,
    pub(super) columns: Columns,
    pub(super) rows: u64,
    pub(super) bad: u64,
    pub(super) by_shard: Vec<u64>,
    /// Rows of the hosts that are spread.
    pub(super) split_rows: Vec<u64>,
    /// The length and the hash of its content: of a packed list, of what is packed; of a table, of its rows as lines.
    pub(super) listed: Listed,
}

impl List {
    /// Opens a list.
    pub(super) fn open(input: Input, options: &InputOptions) -> Result<Self, Error> {
        let unpacked = |read, name: &str| -> Box<dyn Read + Send> { Box::new(Unpack::new(read, name)) };
        let (read, name, format) = match input {
            Input::Stdin => {
                (unpacked(Box::new(io::stdin()), ""), "on standard input".to_owned(), options.format)
            }
            Input::Read(read, name) => (unpacked(read, &name), name, options.format),
            Input::File(path) => {
                let name = path.display().to_string();
                let failed = |error| Error::input(&name, 0, error);
                let (file, _) = open_file(&path).map_err(failed)?;
                let lines = table_list::open(&path, &file, options.format, &options.columns, 0);
                match lines.map_err(failed)? {
                    Some(lines) => (lines.read, name, Some(Format::Ndjson)),
                    None => (unpacked(Box::new(file), &name), name, options.format),
                }
            }
            Input::Urls(_) | Input::Rows(_) | Input::Batches(_) => {
                return Err(Error::config("what is split is a list in a file, or a stream"));
            }
        };
        Ok(Self { read, name, format, columns: options.columns.clone() })
    }

    /// Reads it to its end.
    pub(super) fn read(
        mut self,
        settings: &Settings,
        directory: &std::path::Path,
    ) -> Result<ListRead, Error> {
        let spool = Spool::new(directory, settings.shards);
        let mut rows = Rows {
            partition: Partition::new(settings.shards, settings.key, &settings.splits),
            spool: spool.map_err(|error| Error::output_path(directory, error))?,
            columns: Columns::default(),
            count: 0,
            bad: 0,
            by_shard: vec![0; settings.shards as usize],
            fields: Vec::new(),
            failure: None,
        };
        let (mut prefix, mut read_bytes) = (Prefix::default(), 0);
        let mut block = vec![0; limits::SHARD_READ_BYTES];
        let mut head = Vec::new();
        let mut parser = None;
        loop {
            let count = read_some(&mut *self.read, &mut block);
            let count = count.map_err(|error| Error::input(&self.name, rows.count, error))?;
            let read = block.get(..count).unwrap_or_default();
            prefix.read(read_bytes, read);
            read_bytes += count as u64;
            let told = |failure: Failure| Error::list(&self.name, &failure);
            match &mut parser {
                Some(parser) => rows.parse(parser, read).map_err(told)?,
                None => {
                    head.extend_from_slice(read);
                    let waits = !Format::has_begun(&head) || table_list::may_begin(&head);
                    if count > 0 && head.len() < limits::INPUT_BLOCK_BYTES && waits {
                        continue;
                    }
                    if let Some(problem) = table_list::misplaced(self.format, &head) {
                        return Err(told(Failure::new(ErrorKind::InputFormat, problem)));
                    }
                    let first = head.get(..limits::INPUT_BLOCK_BYTES).unwrap_or(&head);
                    let format = self.format.unwrap_or_else(|| Format::sniff(first, Some(&self.name)));
                    let parser = parser.insert(Parser::new(format, self.columns.clone()));
                    let head = std::mem::take(&mut head);
                    if !head.is_empty() {
                        rows.parse(parser, &head).map_err(told)?;
                    }
                    if count == 0 {
                        rows.parse(parser, &[]).map_err(told)?;
                    }
                }
            }
            if let Some(error) = rows.failure.take() {
                return Err(Error::output_path(directory, error));
            }
            if count == 0 {
                break;
            }
        }
        let Rows { partition, spool, columns, count, bad, by_shard, .. } = rows;
        let (listed, split_rows) = (prefix.listed(), partition.split_rows());
        Ok(ListRead { spooled: spool.end(), columns, rows: count, bad, by_shard, split_rows, listed })
    }
}

/// What parses the list: of plain URLs only their hosts.
enum Parser {
    Text(Box<Hosts>),
    Other(Box<Reader>),
}

impl Parser {
    fn new(format: Format, columns: Options) -> Self {
        match format {
            Format::Text => Self::Text(Box::default()),
            other @ (Format::Ndjson
            | Format::Json
            | Format::Csv
            | Format::Tsv
            | Format::Parquet
            | Format::Arrow) => Self::Other(Box::new(Reader::new(other, columns))),
        }
    }
}

/// Where rows go.
struct Rows {
    partition: Partition,
    spool: Spool,
    columns: Columns,
    count: u64,
    bad: u64,
    by_shard: Vec<u64>,
    /// The fields of the row at hand.
    fields: Vec<u8>,
    /// Why the spool cannot be written.
    failure: Option<io::Error>,
}

impl Rows {
    /// Parses a block; an empty one is the end.
    fn parse(&mut self, parser: &mut Parser, block: &[u8]) -> Result<(), Failure> {
        match (parser, block.is_empty()) {
            (Parser::Text(hosts), false) => hosts.push(block, &mut |row| self.text(row)),
            (Parser::Text(hosts), true) => hosts.finish(&mut |row| self.text(row)),
            (Parser::Other(reader), false) => reader.push(block, &mut |read| self.row(read)),
            (Parser::Other(reader), true) => reader.finish(&mut |read| self.row(read)),
        }
    }

    /// A row that is a plain URL.
    fn text(&mut self, row: HostRow<'_>) {
        self.fields.clear();
        match row.host {
            Ok(_) => push_field(Field::Url as u8, row.text, &mut self.fields),
            // The same text is the same bad row.
            Err(
                ErrorKind::InputUrl | ErrorKind::InputEmpty | ErrorKind::PolicyScheme | ErrorKind::PolicyPort,
            ) => {
                push_field(Field::Url as u8, row.text, &mut self.fields);
            }
            Err(kind) => {
                let given = sanitize::given(row.text, false, limits::GIVEN_BYTES_MAX);
                push_field(Field::Url as u8, bad_url(kind, &given).as_bytes(), &mut self.fields);
            }
        }
        self.put(row.row, row.host.ok());
    }

    fn row(&mut self, read: RowRead) {
        self.fields.clear();
        match read.job {
            Ok(job) => {
                let number = job.row.0;
                self.job(&job);
                self.put(number, Some(job.url.host_str().unwrap_or_default()));
            }
            Err(bad) => {
                let BadRow { row, given, id, meta, failure } = bad;
                self.field(Field::Url, bad_url(failure.kind, &given).as_bytes());
                self.optional(Field::Id, id.as_deref());
                self.meta(meta.as_deref());
                self.put(row.0, None);
            }
        }
    }

    fn job(&mut self, job: &Job) {
        self.field(Field::Url, job.given().as_bytes());
        let Some(ask) = job.ask.as_deref() else { return };
        let Ask {
            id,
            method,
            headers,
            body,
            body_file,
            out,
            etag,
            last_modified,
            sha256,
            timeout,
            meta,
            meta_dropped: _,
        } = ask;
        self.optional(Field::Id, id.as_deref());
        self.optional(Field::Method, method.as_ref().map(|method| method.as_str()));
        if !headers.is_empty() {
            let mut object = Vec::new();
            for (name, value) in headers {
                object.push(if object.is_empty() { b'{' } else { b',' });
                push_json(name, &mut object);
                object.push(b':');
                push_json(value, &mut object);
            }
            object.push(b'}');
            self.field(Field::Headers, &object);
        }
        if let Some(body) = body {
            self.field(Field::Body, base64::encode(body).as_bytes());
        }
        self.optional(Field::BodyFile, body_file.as_deref());
        self.optional(Field::Out, out.as_deref());
        self.optional(Field::Etag, etag.as_deref());
        self.optional(Field::LastModified, last_modified.as_deref());
        if let Some(digest) = sha256 {
            let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            self.field(Field::Sha256, digits.as_bytes());
        }
        if let Some(timeout) = timeout {
            let seconds = if *timeout == Nanos::MAX { 0.0 } else { timeout.as_secs_f64() };
            self.field(Field::Timeout, seconds.to_string().as_bytes());
        }
        self.meta(meta.as_deref());
    }

    fn optional(&mut self, field: Field, text: Option<&str>) {
        if let Some(text) = text {
            self.field(field, text.as_bytes());
        }
    }

    fn field(&mut self, field: Field, bytes: &[u8]) {
        self.columns.see(field);
        push_field(field as u8, bytes, &mut self.fields);
    }

    fn meta(&mut self, meta: Option<&str>) {
        if let Some(meta) = meta {
            self.columns.see_meta(meta);
            push_field(Field::Meta as u8, meta.as_bytes(), &mut self.fields);
        }
    }

    /// Puts the row at hand into its shard.
    fn put(&mut self, row: u64, host: Option<&str>) {
        self.count += 1;
        self.bad += u64::from(host.is_none());
        let shard = self.partition.shard(row, host);
        let in_shard = self.by_shard.get_mut(shard as usize).expect("a shard is one of those");
        *in_shard += 1;
        // Rows of two hosts that are alike in these bits are taken for those of one when they are interleaved.
        let key = host.map_or(row, |host| HostKey::new(host).0.rotate_left(32)) as u32;
        if self.failure.is_none() {
            let fields = &self.fields;
            let put = self.spool.append(shard, row, key, |out| out.extend_from_slice(fields));
            self.failure = put.err();
        }
    }
}

/// What a bad row has for a URL: it can be none, and says what was wrong.
fn bad_url(kind: ErrorKind, given: &str) -> String {
    format!("(bad row: {}) {given}", kind.name())
}
