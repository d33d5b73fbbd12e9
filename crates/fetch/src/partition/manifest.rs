//! What was fetched of a shard: a manifest, written last, is the commit of its outputs. A directory of such is whole if each
//! shard of the plan has one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::directory::{is_at, remove_unfinished, sync};
use super::{Label, Plan, read_plain};
use crate::error::Error;
use crate::fs::{WholeFile, try_lock};
use crate::sha256::sha256_of;

/// The version of the manifest's form.
const FORMAT: u64 = 1;

/// The file that is in a directory once all shards are there.
pub const SUCCESS: &str = "_SUCCESS";

/// A shard, and the plan that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub number: u32,
    /// Its rows.
    pub rows: u64,
    /// The fingerprint of the plan.
    pub plan: String,
}

impl Shard {
    /// The shard that a file is, by its name and the plan beside it.
    ///
    /// # Errors
    ///
    /// There is no plan, or none with this shard; the file says that it is another one.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_prefix("shard-").and_then(|rest| rest.strip_suffix(".parquet"));
        let number = number.and_then(|number| number.parse::<u32>().ok());
        let beside = path.with_file_name(super::PLAN);
        let Some(number) = number.filter(|_| beside.exists()) else {
            return Err(Error::config(format!(
                "{} is no shard: a manifest is that of a file shard-NUMBER.parquet with its {} beside it, as \
                 `overlapped shard` writes them",
                path.display(),
                super::PLAN
            )));
        };
        let plan = Plan::read(&beside)?;
        let own = Label::read(path)?;
        if own.as_ref().is_none_or(|own| own.shard != number || own.plan != plan.fingerprint) {
            return Err(Error::config(format!(
                "{} is not shard {number} of {}: it was written by something else, or belongs to another plan or number; \
                 put the shard back, or split the list again",
                path.display(),
                beside.display()
            )));
        }
        let rows = plan.by_shard.get(number as usize).copied().ok_or_else(|| {
            Error::config(format!(
                "{} is not one of the {} of {}",
                path.display(),
                plan.shards(),
                beside.display()
            ))
        })?;
        Ok(Self { number, rows, plan: plan.fingerprint })
    }
}

/// What was fetched of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The shard.
    pub shard: Shard,
    /// Its rows that succeeded.
    pub ok: u64,
    /// The files with its records.
    pub outputs: Vec<ManifestOutput>,
}

/// A file with records of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestOutput {
    /// Its name in the directory of the manifest.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads a manifest; `None`: there is none.
    ///
    /// # Errors
    ///
    /// What is there is no manifest, or cannot be read.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let bytes = match read_plain(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|error| {
                Error::state(format!("the manifest {} cannot be read: {error}", path.display()))
            })?,
        };
        let parsed = serde_json::from_slice(&bytes).ok().and_then(|value| Self::decode(&value));
        let no_manifest =
            || Error::state(format!("{} is no manifest that this version reads", path.display()));
        parsed.map(Some).ok_or_else(no_manifest)
    }

    fn decode(value: &Value) -> Option<Self> {
        let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64);
        let text = |of: &Value, name: &str| Some(of.get(name)?.as_str()?.to_owned());
        let output = |value: &Value| {
            let (name, bytes) = (text(value, "name")?, number(value, "bytes")?);
            // A name of another directory would have another file checked.
            let is_name = Path::new(&name).file_name().is_some_and(|last| last == name.as_str());
            is_name.then_some(ManifestOutput { name, bytes, sha256: text(value, "sha256")? })
        };
        (number(value, "format")? == FORMAT).then_some(())?;
        let manifest = Self {
            shard: Shard {
                number: u32::try_from(number(value, "shard")?).ok()?,
                rows: number(value, "rows")?,
                plan: text(value, "plan")?,
            },
            ok: number(value, "ok")?,
            outputs: value.get("outputs")?.as_array()?.iter().map(output).collect::<Option<Vec<_>>>()?,
        };
        // No command writes one that commits nothing, or more than there is.
        (manifest.ok <= manifest.shard.rows && !manifest.outputs.is_empty()).then_some(manifest)
    }

    /// Writes the manifest of a shard at `path`, for the outputs that are in the same directory: their content is read and
    /// synced first.
    ///
    /// # Errors
    ///
    /// An output or the manifest cannot be read or written; a count does not agree with the plan.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn write(path: &Path, shard: Shard, rows: u64, ok: u64, outputs: &[PathBuf]) -> Result<Self, Error> {
        if rows != shard.rows {
            let number = shard.number;
            return Err(Error::sum(&format!("shard {number} has {} rows, and {rows} were done", shard.rows)));
        }
        let failed = |error| Error::output_path(path, error);
        let outputs = outputs.iter().map(|output| described(output)).collect::<io::Result<Vec<_>>>();
        let manifest = Self { shard, ok, outputs: outputs.map_err(failed)? };
        let outputs = manifest
            .outputs
            .iter()
            .map(|output| json!({"name": output.name, "bytes": output.bytes, "sha256": output.sha256}));
        let text = json!({
            "format": FORMAT,
            "program": format!("overlapped {}", env!("CARGO_PKG_VERSION")),
            "plan": manifest.shard.plan,
            "shard": manifest.shard.number,
            "rows": manifest.shard.rows,
            "ok": ok,
            "failed": rows - ok,
            "outputs": outputs.collect::<Vec<_>>(),
        });
        let folder = folder_of(path);
        let write = || {
            // What was found of the directory was found without this one.
            remove(&folder.join(SUCCESS))?;
            // The names of the outputs are durable before that of the manifest.
            sync(folder)?;
            remove_unfinished(path, folder)?;
            replace(path, format!("{text}\n").as_bytes())?;
            sync(folder)
        };
        write().map_err(failed)?;
        Ok(manifest)
    }

    /// Withdraws a manifest, before its outputs are changed, and [`SUCCESS`] with it.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn withdraw(path: &Path) -> Result<(), Error> {
        let folder = folder_of(path);
        if !folder.exists() {
            return Ok(());
        }
        let withdraw = || {
            // It says more than the manifest, and goes first.
            remove(&folder.join(SUCCESS))?;
            sync(folder)?;
            remove(path)?;
            sync(folder)
        };
        withdraw().map_err(|error| Error::output_path(path, error))
    }

    /// What is wrong with the outputs, if anything is: they are not there, or do not have their length, or their content.
    ///
    /// # Blocking
    ///
    /// On the disk; with `content` until all of them are read.
    #[must_use]
    pub fn problem(&self, path: &Path, content: bool) -> Option<String> {
        self.outputs.iter().find_map(|output| {
            let path = path.with_file_name(&output.name);
            let found = match (content, path.symlink_metadata()) {
                (_, Err(error)) => Err(error),
                (_, Ok(found)) if !found.is_file() => {
                    return Some(format!("{} is no plain file", path.display()));
                }
                (true, Ok(_)) => File::open(&path).and_then(|file| sha256_of(&file)),
                (false, Ok(found)) => Ok((found.len(), output.sha256.clone())),
            };
            match found {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Some(format!("{} is missing", path.display()))
                }
                Err(error) => Some(format!("{} cannot be read: {error}", path.display())),
                Ok((bytes, _)) if bytes != output.bytes => {
                    Some(format!("{} has {bytes} bytes instead of {}", path.display(), output.bytes))
                }
                Ok((_, sha256)) if sha256 != output.sha256 => Some(format!("{} was changed", path.display())),
                Ok(_) => None,
            }
        })
    }
}

/// The lock of a manifest, from before its outputs are touched until it is written or given up: another process that began
/// them anew meanwhile would have half of them committed. It is a file beside the manifest, which a killed process leaves
/// and the next one takes.
#[derive(Debug)]
pub struct ManifestLock {
    path: PathBuf,
    _file: File,
}

impl ManifestLock {
    /// Locks the manifest at `path`.
    ///
    /// # Errors
    ///
    /// Another process has it; the disk fails.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::output_path(path, error);
        let lock = lock_path(path);
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&lock);
        let file = open.map_err(failed)?;
        // One that has just ended has removed the file that was opened here.
        if !(try_lock(&file).map_err(failed)? && is_at(&file, &lock)) {
            return Err(Error::state(format!("another process fetches the shard of {}", path.display())));
        }
        Ok(Self { path: lock, _file: file })
    }

    /// Removes what a killed process has left of the lock of a manifest that is written.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn clear(path: &Path) {
        if lock_path(path).symlink_metadata().is_ok() {
            // Where it is held, or cannot be removed, it stays.
            drop(Self::take(path));
        }
    }
}

fn lock_path(manifest: &Path) -> PathBuf {
    manifest.with_file_name(format!(".{}.lock", manifest.file_name().unwrap_or_default().to_string_lossy()))
}

impl Drop for ManifestLock {
    fn drop(&mut self) {
        // What is left is taken by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

fn described(output: &Path) -> io::Result<ManifestOutput> {
    let file = File::open(output)?;
    let (bytes, sha256) = sha256_of(&file)?;
    file.sync_all()?;
    let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(ManifestOutput { name, bytes, sha256 })
}

/// What was found of the shards of a plan.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The shards of the plan.
    pub shards: u64,
    /// Rows of the shards that are there.
    pub rows: u64,
    /// Those of them that succeeded.
    pub ok: u64,
    /// Shards without a manifest.
    pub missing: Vec<u32>,
    /// What is wrong with the others.
    pub problems: Vec<String>,
}

impl Verified {
    /// True if all shards are there as their manifests say.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.problems.is_empty()
    }
}

/// Checks that each shard of a plan has its manifest `shard-NUMBER.json` in `directory`, and each manifest its outputs, byte
/// for byte. Then `_SUCCESS` is written there, else removed.
///
/// # Errors
///
/// The plan cannot be read; `_SUCCESS` cannot be written.
///
/// # Blocking
///
/// Until all outputs are read.
pub fn verify(directory: &Path, plan: &Path) -> Result<Verified, Error> {
    let plan = Plan::read(plan)?;
    let mut verified = Verified { shards: plan.by_shard.len() as u64, ..Verified::default() };
    for (number, rows) in (0..).zip(&plan.by_shard) {
        let path = directory.join(format!("shard-{number:05}.json"));
        let manifest = match Manifest::read(&path) {
            Ok(None) => {
                verified.missing.push(number);
                continue;
            }
            Ok(Some(manifest)) => manifest,
            Err(error) => {
                verified.problems.push(error.to_string());
                continue;
            }
        };
        let Shard { number: own, rows: done, plan: of } = &manifest.shard;
        let problem = if *of != plan.fingerprint {
            Some(format!("{} is of another plan", path.display()))
        } else if (*own, done) != (number, rows) {
            Some(format!("{} is of shard {own} with {done} rows; the plan has {rows}", path.display()))
        } else {
            manifest.problem(&path, true)
        };
        match problem {
            Some(problem) => verified.problems.push(problem),
            None => {
                verified.rows += done;
                verified.ok += manifest.ok;
            }
        }
    }
    let success = directory.join(SUCCESS);
    let mark = || match verified.is_whole() {
        true => mark_success(&success).and_then(|()| sync(directory)),
        false => remove(&success),
    };
    mark().map_err(|error| Error::output_path(&success, error))?;
    Ok(verified)
}

/// Creates an empty file, which is whole at once: one under a temporary name would be left by a kill.
fn mark_success(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.symlink_metadata()?.is_file() => {
            Ok(())
        }
        created => created.map(drop),
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path, 0o666)?;
    file.write_all(bytes)?;
    file.sync()?;
    file.finish()
}

/// The directory that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
