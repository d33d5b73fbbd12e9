//! `job.json`: what a run is, in a form a person can read, so that a run that goes on is the same run.
//!
//! Never a secret: values of headers that may carry one are left out, and so are passwords and tokens.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use overlapped_proto::{limits, redirect};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::body::spool::RunId;
use crate::config::Config;
use crate::error::Error;

/// The version of the manifest. Another one is refused.
const FORMAT: u64 = 1;

/// Settings that change what the results mean, by name.
pub(crate) type Settings = Vec<(String, String)>;

/// Where the list comes from, as far as it can be known again.
#[derive(Clone, Debug)]
pub(crate) enum Listed {
    /// A file.
    File(PathBuf),
    /// Something that has no name of its own; what it is stands in the settings, if anywhere.
    Elsewhere(&'static str),
}

/// The manifest of a run; `replaces`: it may replace files.
pub(super) fn new(
    run: u64,
    listed: &Listed,
    settings: &[(String, String)],
    replaces: bool,
) -> Result<Value, Error> {
    let input = match listed {
        Listed::File(path) => {
            identity(path).map_err(|error| Error::input(&path.display().to_string(), 0, error))?
        }
        Listed::Elsewhere(what) => json!({ "from": what }),
    };
    let settings: Map<_, _> =
        settings.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let version = env!("CARGO_PKG_VERSION");
    Ok(json!({
        "format": FORMAT,
        "program": format!("overlapped {version}"),
        "run": format!("{run:016x}"),
        "input": input,
        "settings": settings,
        REPLACES: replaces,
    }))
}

/// Which run it is, if it says so.
pub(super) fn run(manifest: &Value) -> Option<RunId> {
    let run = manifest.get("run")?.as_str()?;
    u64::from_str_radix(run, 16).ok().map(RunId)
}

/// Whether the run may replace files, which it goes on doing.
pub(super) fn replaces(manifest: &Value) -> bool {
    manifest.get(REPLACES).and_then(Value::as_bool).unwrap_or(false)
}

const REPLACES: &str = "replaces_files";

/// What a list is known by: reading all of it again would take longer than many a run.
fn identity(path: &Path) -> io::Result<Value> {
    let meta = path.metadata()?;
    // A pipe is not opened: it can be read only once.
    if !meta.is_file() {
        return Ok(json!({ "from": "a file that is not a plain one" }));
    }
    let file = File::open(path)?;
    let since = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(json!({
        "path": std::path::absolute(path)?.display().to_string(),
        "bytes": meta.len(),
        "modified": format!("{}.{:09}", since.as_secs(), since.subsec_nanos()),
        "ends_sha256": ends(file, meta.len())?,
    }))
}

/// The hash of the first and the last block.
fn ends(mut file: File, bytes: u64) -> io::Result<String> {
    let mut block = Vec::new();
    Read::by_ref(&mut file).take(limits::IDENTITY_BLOCK_BYTES).read_to_end(&mut block)?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(limits::IDENTITY_BLOCK_BYTES)))?;
    file.take(limits::IDENTITY_BLOCK_BYTES).read_to_end(&mut block)?;
    Ok(hex(&Sha256::digest(&block)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The settings of the engine that change what the results mean. What changes only how fast they come is not among them.
pub(crate) fn settings(config: &Config) -> Settings {
    let request = &config.request;
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| match redirect::harmless(name) {
            true => format!("{name}: {value}"),
            false => format!("{name}: (not kept)"),
        })
        .collect();
    let body = request.body.as_ref().map(|body| format!("{} bytes", body.len()));
    let fail: Vec<_> =
        config.response.fail.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
    [
        ("method", request.method.to_string()),
        ("headers", headers.join(", ")),
        ("request body", body.unwrap_or_default()),
        ("compressed", request.compressed.to_string()),
        ("strict HTTP", config.response.strict_http.to_string()),
        ("redirects", config.max_redirects.to_string()),
        ("bodies", config.response.body.to_string()),
        ("sha256", config.response.sha256.to_string()),
        ("largest body", config.response.max_bytes.to_string()),
        ("failing statuses", fail.join(",")),
        ("ordered", config.ordered.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// # Errors
///
/// The run that is to go on is another one; the message says what differs.
pub(super) fn compare(earlier: &Value, now: &Value) -> Result<(), Error> {
    if earlier.get("format") != now.get("format") {
        let found = earlier.get("format").unwrap_or(&Value::Null);
        return Err(Error::state(format!(
            "the run was begun by another version: its job.json has format {found}, and this program reads {FORMAT}"
        )));
    }
    let mut differences = Vec::new();
    for (part, what) in [("input", "the list's "), ("settings", "")] {
        let empty = Map::new();
        let of = |manifest: &Value| manifest.get(part).and_then(Value::as_object).cloned();
        let (was, is) = (of(earlier).unwrap_or_else(|| empty.clone()), of(now).unwrap_or(empty));
        let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
        for name in names.filter(|name| *name != "path" && was.get(*name) != is.get(*name)) {
            differences.push(format!(
                "{what}{name} was {} and is {}",
                shown(was.get(name)),
                shown(is.get(name))
            ));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::state(format!("this is not the run that was begun: {}", differences.join("; "))))
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "not there".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_kept() {
        let mut config = Config::default();
        config.request.headers =
            vec![("X-Api-Key".into(), "s3cret".into()), ("Accept-Language".into(), "de".into())];
        config.request.user = Some(("me".into(), "s3cret".into()));
        config.request.bearer = Some("s3cret".into());
        config.request.body = Some("s3cret".into());
        let text = format!("{:?}", settings(&config));
        assert!(!text.contains("s3cret") && text.contains("X-Api-Key") && text.contains("de"), "{text}");
    }

    #[test]
    fn a_difference_is_named() {
        let manifest = |bytes: u64, method: &str| json!({"format": 1, "run": "x", "input": {"path": "a", "bytes": bytes}, "settings": {"method": method}});
        assert!(compare(&manifest(1, "GET"), &manifest(1, "GET")).is_ok());
        let error = compare(&manifest(1, "GET"), &manifest(2, "POST")).unwrap_err().to_string();
        assert!(error.ends_with("the list's bytes was 1 and is 2; method was GET and is POST"), "{error}");
        let newer = json!({"format": 2});
        assert!(compare(&newer, &manifest(1, "GET")).unwrap_err().to_string().contains("format 2"));
    }
}
