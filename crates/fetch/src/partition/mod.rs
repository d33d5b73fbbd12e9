//! Splits a list into shards, each a table in Parquet, for as many machines: a host is in one shard.
//!
//! The list is read once. Its rows go to a spool, in blocks of their shards; then each shard is read back, its hosts are
//! interleaved, and it is written under a temporary name, synced and renamed. `plan.json` comes last: a directory without it
//! has no shards that count. Memory is bounded by the number of shards, not by that of rows. The same list and settings give
//! the same bytes.

mod manifest;
mod write;
mod read;
mod directory;
mod label;
mod columns;
mod spool;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use overlapped::{Executor, block_on};
use overlapped_proto::limits;
pub use overlapped_proto::partition::Key;
use overlapped_proto::plural::counted;
use serde_json::{Map, Value, json};

pub use self::manifest::{Manifest, ManifestLock, ManifestOutput, SUCCESS, Shard, Verified, verify};

use self::directory::Directory;
use self::label::Label;
use self::read::List;
use self::write::Writer;
use crate::engine::feed::{Input, InputOptions};
use crate::error::Error;
use crate::sha256::sha256_hex;

/// How a list is split.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of shards.
    pub shards: u32,
    /// What is in one shard.
    pub key: Key,
    /// Hosts, or domains, that are spread over so many shards.
    pub splits: Vec<(Box<str>, u32)>,
    /// Replace the shards that are there.
    pub overwrite: bool,
    /// Threads that write.
    pub threads: usize,
}

/// The most shards of a list: each has a buffer of at least 4 KiB.
pub const SHARDS_MAX: u32 = limits::PARTITIONS_MAX;

/// What was written.
#[derive(Clone, Debug)]
pub struct Partitioned {
    /// Rows of the list.
    pub rows: u64,
    /// Those of them that cannot be fetched. They are in the shards like any other.
    pub bad: u64,
    /// Rows by shard.
    pub by_shard: Vec<u64>,
    /// Rows of each host, or domain, that was to be spread, in the order of the settings.
    pub split_rows: Vec<u64>,
    /// Bytes of the largest file.
    pub largest_bytes: u64,
    /// The SHA-256 of `plan.json`.
    pub fingerprint: String,
}

/// The file that says which shards there are, within their directory.
pub const PLAN: &str = "plan.json";

/// The version of the plan's form.
const FORMAT: u64 = 1;

/// The name of a shard's file.
#[must_use]
pub fn shard_name(shard: u32) -> String {
    format!("shard-{shard:05}.parquet")
}

/// Splits a list into shards in `directory`, which is created if it is not there.
///
/// ```
/// use overlapped_fetch::partition::{Key, Settings, partition};
/// use overlapped_fetch::{Input, InputOptions};
///
/// let directory = std::env::temp_dir().join(format!("shards-{}", std::process::id()));
/// let list = std::io::Cursor::new("http://a.test/1\nhttp://a.test/2\nhttp://b.test/\n");
/// let input = Input::Read(Box::new(list), "the list".to_owned());
/// let settings =
///     Settings { shards: 2, key: Key::Host, splits: Vec::new(), overwrite: false, threads: 1 };
/// let done = partition(input, &InputOptions::default(), &settings, &directory)?;
/// assert_eq!((done.rows, done.bad, done.by_shard.iter().sum::<u64>()), (3, 0, 3));
/// assert!(directory.join("plan.json").exists() && directory.join("shard-00001.parquet").exists());
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
///
/// # Errors
///
/// The list cannot be read; the directory has shards already, or cannot be written. Then there is no `plan.json`, and what
/// is left of the shards is replaced by the next try.
///
/// # Blocking
///
/// Until all is written.
pub fn partition(
    input: Input,
    options: &InputOptions,
    settings: &Settings,
    directory: &Path,
) -> Result<Partitioned, Error> {
    if !(1..=SHARDS_MAX).contains(&settings.shards) {
        return Err(Error::config(format!("a list is split into 1 to {SHARDS_MAX} shards")));
    }
    for (place, (name, _)) in settings.splits.iter().enumerate() {
        let key = settings.key.of(name);
        if settings.splits.iter().take(place).any(|(other, _)| settings.key.of(other) == key) {
            return Err(Error::config(format!("{key} is to be split twice: give it one number of shards")));
        }
    }
    let list = List::open(input, options)?;
    let directory = Directory::begin(directory, settings.overwrite)?;
    let read = list.read(settings, directory.path())?;
    let (rows, bad, by_shard, input) = (read.rows, read.bad, read.by_shard.clone(), read.listed);
    let split_rows = read.split_rows.clone();
    let split: Map<String, Value> =
        settings.splits.iter().map(|(name, parts)| (name.to_string(), (*parts).into())).collect();
    let plan = json!({
        "format": FORMAT,
        "program": format!("overlapped {}", env!("CARGO_PKG_VERSION")),
        "n": settings.shards,
        "key": settings.key.name(),
        "hash": "xxh3_64(key) mod n",
        "split": split,
        "input": {"bytes": input.bytes, "xxh3": format!("{:016x}", input.sum)},
        "rows": rows,
        "bad": bad,
        "rows_by_shard": by_shard,
    });
    let plan = format!("{plan}\n");
    let fingerprint = sha256_hex(plan.as_bytes());
    let writer = Arc::new(Writer::new(read, directory.path(), &fingerprint));
    let largest_bytes = write_all(&writer, settings, &directory)?;
    directory.commit(plan.as_bytes())?;
    Ok(Partitioned { rows, bad, by_shard, split_rows, largest_bytes, fingerprint })
}

/// Writes the shards, and gives them their names. Returns the length of the largest file.
///
/// A few are synced one by one, by the threads that write them. Of many, that would take longer than all else: they keep their
/// temporary names until the file system is synced once.
fn write_all(writer: &Arc<Writer>, settings: &Settings, directory: &Directory) -> Result<u64, Error> {
    let together = settings.shards as usize > limits::SYNCED_FILES_MAX;
    let threads = settings.threads.max(1);
    let built = Executor::builder().max_workers(threads).thread_name("overlapped-shard").build();
    let executor = built.map_err(|error| Error::no_thread(Some(error)))?;
    let each = Arc::clone(writer);
    let write = move |shard| {
        let (file, bytes) = each.write(shard)?;
        if together {
            return Ok((Some(file), bytes));
        }
        file.sync()?;
        file.finish()?;
        Ok((None, bytes))
    };
    let mut written = executor.map(0..settings.shards, write).window(2 * threads);
    let mut waiting = Vec::new();
    let largest = block_on(async {
        let mut largest = 0;
        while let Some(result) = written.next().await {
            let (file, bytes) =
                result.map_err(|error| Error::task("a shard", &error))?.map_err(Error::output)?;
            waiting.extend(file);
            largest = largest.max(bytes);
        }
        Ok(largest)
    })?;
    directory.name(waiting)?;
    Ok(largest)
}

/// What a plan says.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rows by shard.
    pub by_shard: Vec<u64>,
    /// The SHA-256 of the file.
    pub fingerprint: String,
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is none.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let bytes = read_plain(path).map_err(|error| {
            let hint = match error.kind() == io::ErrorKind::NotFound {
                true => ": the directory of the shards has one, once all of them are written",
                false => "",
            };
            Error::state(format!("the plan {name} cannot be read: {error}{hint}"))
        })?;
        let plan: Option<Value> = serde_json::from_slice(&bytes).ok();
        let of = |name: &str| plan.as_ref().and_then(|plan| plan.get(name));
        if of("format").and_then(Value::as_u64) != Some(FORMAT) {
            return Err(Error::state(format!(
                "{name} is no plan of `overlapped shard` that this version reads: split the list again"
            )));
        }
        let rows = of("rows_by_shard").and_then(Value::as_array);
        let by_shard: Option<Vec<u64>> = rows.and_then(|rows| rows.iter().map(Value::as_u64).collect());
        let sums = |rows: &Vec<u64>| {
            let all = rows.iter().try_fold(0_u64, |sum, rows| sum.checked_add(*rows));
            of("n").and_then(Value::as_u64) == Some(rows.len() as u64)
                && of("rows").and_then(Value::as_u64) == all
        };
        let by_shard = by_shard.filter(sums).ok_or_else(|| {
            Error::journal(path, "its numbers do not add up: it was changed by hand; split the list again")
        })?;
        Ok(Self { by_shard, fingerprint: sha256_hex(&bytes) })
    }

    /// For a message: how many shards there are.
    #[must_use]
    pub fn shards(&self) -> String {
        counted(self.by_shard.len() as u64, "shard")
    }
}

/// The content of a plan or a manifest. A pipe would be waited for, and a large file is none of either.
fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let found = path.metadata()?;
    if !found.is_file() || found.len() > limits::PLAN_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file of at most 16 MiB"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limits::PLAN_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
