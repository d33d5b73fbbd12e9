//! `job.json`, the manifest: identifies a run in readable form, so that a run is resumed only with the same list and
//! settings.
//!
//! It holds no secrets: see the resume identity.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use overlapped_proto::input::{Format, Options};
use overlapped_proto::journal;
use overlapped_proto::limits;
use overlapped_proto::prefix::Prefix;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::identity::{self, Identity};
use crate::body::spool::RunId;
use crate::error::Error;
use crate::fs::Moment;
use crate::table_list;

/// The version of the manifest. Other versions are refused.
const FORMAT: u64 = 3;

/// The source of the list, as far as it can be identified again.
#[derive(Clone, Debug)]
pub(crate) enum Listed {
    /// A file, and how it is to be read if it is a table.
    File(PathBuf, Option<Format>, Options),
    /// A source without a path, described in words.
    Elsewhere(&'static str),
}

/// The manifest of a run that begins at `began`. `replaces`: it may replace existing files.
pub(super) fn new(
    run: u64,
    listed: &Listed,
    settings: &Identity,
    replaces: bool,
    began: Moment,
) -> Result<Value, Error> {
    let input = match listed {
        Listed::File(path, ..) => {
            identity(path).map_err(|error| Error::input(&path.display().to_string(), 0, error))?
        }
        Listed::Elsewhere(what) => json!({ "from": what }),
    };
    let version = env!("CARGO_PKG_VERSION");
    Ok(json!({
        "format": FORMAT,
        "program": format!("overlapped {version}"),
        "run": format!("{run:016x}"),
        "input": input,
        IDENTITY: identity::VERSION,
        "settings": settings.encode(),
        REPLACES: replaces,
        BEGAN: [json!(began.0), json!(began.1)],
    }))
}

/// Serialises a manifest, with a checksum of its fields.
pub(super) fn encode(manifest: &Value) -> String {
    let mut manifest = manifest.clone();
    if let Some(fields) = manifest.as_object_mut() {
        let sum = sum_of(fields);
        fields.insert(SUM.to_owned(), sum.into());
    }
    format!("{manifest:#}\n")
}

/// Parses a manifest and verifies its checksum.
pub(super) fn decode(text: &[u8]) -> Result<Value, String> {
    let damaged =
        |how: &str| format!("it is damaged, or was changed by hand{how}: only --overwrite begins anew");
    let mut manifest: Value =
        serde_json::from_slice(text).map_err(|error| damaged(&format!(" ({error})")))?;
    let fields = manifest.as_object_mut().ok_or_else(|| damaged(" (no JSON object)"))?;
    let sum = fields.remove(SUM);
    // Other versions may compute it differently; they are refused later.
    let known = fields.get("format").and_then(Value::as_u64) == Some(FORMAT);
    if known && sum != Some(sum_of(fields).into()) {
        return Err(damaged(""));
    }
    Ok(manifest)
}

/// The checksum of the fields, sorted by name.
fn sum_of(fields: &Map<String, Value>) -> String {
    let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
    let text = sorted.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>();
    format!("{:08x}", journal::checksum(text.as_bytes()))
}

/// When the run began, by the clock of its file system.
pub(super) fn began(manifest: &Value) -> Option<Moment> {
    let moment = manifest.get(BEGAN)?.as_array()?;
    Some((moment.first()?.as_i64()?, moment.get(1)?.as_u64()?))
}

/// The identifier of the run, if the manifest has a valid one.
pub(super) fn run(manifest: &Value) -> Option<RunId> {
    let run = manifest.get("run")?.as_str()?;
    u64::from_str_radix(run, 16).ok().map(RunId)
}

/// True if the run may replace existing files. A resumed run keeps this.
pub(super) fn replaces(manifest: &Value) -> bool {
    manifest.get(REPLACES).and_then(Value::as_bool).unwrap_or(false)
}

const IDENTITY: &str = "settings_version";
const REPLACES: &str = "replaces_files";
const BEGAN: &str = "began";
const SUM: &str = "crc32c";

/// Identifies a list by its length and a hash of its two ends. What lies between is hashed while it is read, and the
/// journal records how far. So a run begins without reading its list twice; when it resumes, the part read before is
/// hashed again and compared.
fn identity(path: &Path) -> io::Result<Value> {
    let meta = path.metadata()?;
    // A pipe is not opened: it can be read only once.
    if !meta.is_file() {
        return Ok(json!({ "from": "a file that is not a plain one" }));
    }
    Ok(json!({
        "path": std::path::absolute(path)?.display().to_string(),
        "bytes": meta.len(),
        "ends_sha256": ends(&mut File::open(path)?, meta.len())?,
    }))
}

/// The hash of the first and the last block within the first `bytes`.
fn ends(file: &mut File, bytes: u64) -> io::Result<String> {
    let mut block = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(limits::IDENTITY_BLOCK_BYTES.min(bytes)).read_to_end(&mut block)?;
    let last = bytes.saturating_sub(limits::IDENTITY_BLOCK_BYTES);
    file.seek(SeekFrom::Start(last))?;
    file.take(bytes - last).read_to_end(&mut block)?;
    Ok(hex(&Sha256::digest(&block)))
}

/// A list that matches the one a run was begun with.
#[derive(Debug)]
pub(super) struct SameList {
    /// The checksum of what was read before.
    pub(super) prefix: Option<Prefix>,
    /// Its earlier length in bytes, if it has grown.
    pub(super) grown_from: Option<u64>,
}

/// Verifies that the list is the one that the run was begun with, with rows appended or not: by its length, its two ends
/// and the checksum of what was `read`.
///
/// # Errors
///
/// The list differs; the message names the difference and what to do.
pub(super) fn same_list(
    earlier: &Value,
    listed: &Listed,
    read: Option<journal::Listed>,
) -> Result<SameList, Error> {
    let input = earlier.get("input");
    let of = |name| input.and_then(|input| input.get(name));
    let known = of("bytes").and_then(Value::as_u64).zip(of("ends_sha256"));
    let (Listed::File(path, format, columns), Some((bytes, ends_before))) = (listed, known) else {
        return Ok(SameList { prefix: None, grown_from: None });
    };
    let failed = |error| Error::input(&path.display().to_string(), 0, error);
    let other = |what: &str| {
        Err(Error::state(format!(
            "{} is not the list that the run was begun with: {what}. Put that list back, or fetch this one with \
             another -o; --overwrite begins anew",
            path.display()
        )))
    };
    if !path.metadata().map_err(failed)?.is_file() {
        return other("it is no longer a regular file");
    }
    let mut file = File::open(path).map_err(failed)?;
    let now = file.metadata().map_err(failed)?.len();
    if now < bytes {
        return other(&format!("it had {bytes} bytes and has {now}"));
    }
    if ends_before.as_str() != Some(ends(&mut file, bytes).map_err(failed)?.as_str()) {
        return other("its content has changed");
    }
    if now > bytes && !grows_by_rows(&mut file, bytes).map_err(failed)? {
        return other("its last row has changed");
    }
    let mut prefix = Prefix::default();
    if let Some(read) = read {
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        match table_list::open(path, &file, *format, columns, 0).map_err(failed)? {
            Some(table) => hash(table.read, read.bytes, &mut prefix),
            None => hash(&file, read.bytes, &mut prefix),
        }
        .map_err(failed)?;
        if prefix.listed() != read {
            return other("its content has changed");
        }
    }
    Ok(SameList { prefix: Some(prefix), grown_from: (now > bytes).then_some(bytes) })
}

/// True if what follows the first `bytes` of a list is further rows, and not more of the last one. False for a compressed
/// list, a table and a JSON array, which cannot grow by appending.
fn grows_by_rows(file: &mut File, bytes: u64) -> io::Result<bool> {
    if bytes == 0 {
        return Ok(true);
    }
    let (mut first, mut around) = (Vec::new(), Vec::new());
    file.seek(SeekFrom::Start(0))?;
    file.take(limits::IDENTITY_BLOCK_BYTES.min(bytes)).read_to_end(&mut first)?;
    file.seek(SeekFrom::Start(bytes - 1))?;
    file.take(2).read_to_end(&mut around)?;
    const PACKED: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"PAR1", b"ARROW1"];
    let packed = PACKED.iter().any(|magic| first.starts_with(magic));
    let array = first.trim_ascii_start().first() == Some(&b'[');
    Ok(!packed && !array && around.contains(&b'\n'))
}

/// Hashes the first `bytes` of a list.
pub(super) fn hash(mut list: impl Read, bytes: u64, prefix: &mut Prefix) -> io::Result<()> {
    let mut block = vec![0; limits::OUTPUT_BUFFER_BYTES];
    let mut at = 0;
    while at < bytes {
        let room = block.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
        let count = list.read(block.get_mut(..room).expect("the room is within the block"))?;
        if count == 0 {
            break;
        }
        prefix.read(at, block.get(..count).expect("a list gives no more bytes than the block holds"));
        at += count as u64;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares the manifest of an earlier run with the one of this run.
///
/// # Errors
///
/// They differ; the message names each difference.
pub(super) fn compare(earlier: &Value, now: &Value) -> Result<(), Error> {
    for (what, reads) in [("format", FORMAT), (IDENTITY, identity::VERSION)] {
        if earlier.get(what) != Some(&reads.into()) {
            let found = earlier.get(what).unwrap_or(&Value::Null);
            return Err(Error::state(format!(
                "the run was begun by another version: its job.json has {what} {found}, but this program reads {reads}: \
                 go on with the program that began the run, or begin anew with --overwrite"
            )));
        }
    }
    let mut differences = Vec::new();
    // The content of a file is compared elsewhere.
    let is_file = |manifest: &Value| manifest.get("input").is_some_and(|input| input.get("bytes").is_some());
    let parts = match is_file(earlier) && is_file(now) {
        true => [("settings", "")].as_slice(),
        false => &[("input", "the list "), ("settings", "")],
    };
    for &(part, what) in parts {
        let empty = Map::new();
        let of = |manifest: &Value| manifest.get(part).and_then(Value::as_object).cloned();
        let (was, is) = (of(earlier).unwrap_or_else(|| empty.clone()), of(now).unwrap_or(empty));
        let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
        for name in names.filter(|name| was.get(*name) != is.get(*name)) {
            let (was, is) = (shown(was.get(name)), shown(is.get(name)));
            differences.push(format!("{what}{name} was {was} and is {is}"));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::state(format!(
        "this is not the run that was begun: {}. Give the same again to go on with it, or fetch with another -o; \
         --overwrite begins anew",
        differences.join("; ")
    )))
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "not set".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named() {
        let manifest = |from: &str, method: &str| {
            json!({
                "format": FORMAT,
                IDENTITY: identity::VERSION,
                "run": "x",
                "input": {"from": from},
                "settings": {"method": method},
            })
        };
        assert!(compare(&manifest("a pipe", "GET"), &manifest("a pipe", "GET")).is_ok());
        let error = compare(&manifest("a pipe", "GET"), &manifest("a tape", "POST")).unwrap_err().to_string();
        assert!(
            error.contains(
                "the list from was a pipe and is a tape; method was GET and is POST. Give the same"
            ),
            "{error}"
        );
        let older = json!({"format": 2});
        let error = compare(&older, &manifest("a pipe", "GET")).unwrap_err().to_string();
        assert!(error.contains("has format 2, but") && error.contains("the program that began"), "{error}");
        let mut newer = manifest("a pipe", "GET");
        newer[IDENTITY] = json!(identity::VERSION + 1);
        assert!(compare(&newer, &manifest("a pipe", "GET")).unwrap_err().to_string().contains(IDENTITY));
    }

    #[test]
    fn a_changed_manifest_is_refused() {
        let text = encode(&json!({"format": FORMAT, "run": "x", "settings": {"method": "GET"}}));
        assert!(decode(text.as_bytes()).is_ok());
        for wrong in [&*text.replace("GET", "PUT"), "", "[]", text.split_at(text.len() / 2).0] {
            let told = decode(wrong.as_bytes()).unwrap_err();
            assert!(
                told.contains("changed by hand") && told.ends_with("only --overwrite begins anew"),
                "{told}"
            );
        }
        assert!(decode(br#"{"format": 1}"#).is_ok(), "a manifest of another version is refused later");
    }
}
