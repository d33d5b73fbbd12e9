//! Discards the state of an earlier run: for a run that takes its place, for one without a state, and after a kill on the way.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use serde_json::Value;

use super::directory::Directory;
use super::{Durable, Output, manifest};
use crate::body::spool::Part;
use crate::error::{Error, ErrorClass};
use crate::fs::Folder;
use crate::sink::at;

/// The state of an earlier run that is to be discarded.
pub(super) struct Discarded {
    /// Where it may have left temporary files.
    outputs: Vec<Output>,
    manifest: Value,
}

impl Discarded {
    /// A state of which this manifest was read; it may be damaged. `None`: there is none.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub(super) fn read(
        manifest: Result<Option<Value>, Error>,
        outputs: &[Output],
    ) -> Result<Option<Self>, Error> {
        match manifest {
            Ok(manifest) => Ok(manifest.map(|manifest| Self { outputs: outputs.to_vec(), manifest })),
            Err(error) if error.class() == ErrorClass::Journal => Ok(Some(Self::finished(Value::Null))),
            Err(error) => Err(error),
        }
    }

    /// The state of a run that has left no temporary files.
    pub(super) fn finished(manifest: Value) -> Self {
        Self { outputs: Vec::new(), manifest }
    }

    /// Removes the temporary files of the run, which could not be attributed to a run afterwards, and syncs the removal.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(super) fn remove_parts(&self) -> Result<(), Error> {
        let Some(run) = manifest::run(&self.manifest) else { return Ok(()) };
        let mut folders = self.outputs.iter().map(|output| &output.path).filter(|path| path.is_dir());
        let removed = folders.try_for_each(|path| {
            let remove = || {
                let folder = Folder::open(path)?;
                Part::remove_of(&folder, run, &HashSet::new())?;
                folder.sync()
            };
            remove().map_err(|error| at(path, &error))
        });
        removed.map_err(Error::output)
    }
}

/// Removes what is left of the state of a run that was killed while it removed it: the run had ended, and its outputs are
/// whole. Does nothing if there is a run.
///
/// ```
/// use overlapped_fetch::durable::{Durable, discard_rest};
///
/// let output = std::env::temp_dir().join(format!("killed-{}.ndjson", std::process::id()));
/// let durable = Durable::beside(&output);
/// // The run has removed what identifies it, and was killed before the rest.
/// std::fs::create_dir(&durable.directory)?;
/// std::fs::write(durable.directory.join("journal-1.log"), b"")?;
/// discard_rest(&durable)?;
/// assert!(!durable.directory.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Another process holds the lock; the disk fails.
///
/// # Blocking
///
/// On the disk.
pub fn discard_rest(durable: &Durable) -> Result<(), Error> {
    if durable.directory.symlink_metadata().is_err() {
        return Ok(());
    }
    let mut directory = Directory::open(&durable.directory)?;
    if directory.manifest()?.is_some() {
        return Ok(());
    }
    // The directory is the last to go, so the spools of its run may be there as long as it is.
    let mut removed = directory.begin_anew();
    for spool in spools(&durable.outputs) {
        removed = removed.and_then(|()| match std::fs::remove_file(&spool) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&spool, &error)),
            Ok(()) | Err(_) => Ok(()),
        });
    }
    removed.map_err(Error::output)
}

/// Discards the state of an earlier run beside an output, which a run without a state replaces. Does nothing if there is none.
///
/// ```
/// use overlapped_fetch::durable::{Durable, Output, discard};
/// use overlapped_fetch::sink::Format;
///
/// let output = std::env::temp_dir().join(format!("replaced-{}.ndjson", std::process::id()));
/// discard(&Output::new(Format::Ndjson, output.clone()))?;
/// assert!(!Durable::beside(&output).directory.exists());
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
///
/// # Errors
///
/// Another process holds the lock; the disk fails.
///
/// # Blocking
///
/// On the disk.
pub fn discard(output: &Output) -> Result<(), Error> {
    let path = Durable::beside(&output.path).directory;
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let mut directory = Directory::open(&path)?;
    let removed = match Discarded::read(directory.manifest(), std::slice::from_ref(output))? {
        Some(discarded) => {
            discarded.remove_parts()?;
            directory.forget()
        }
        None => directory.begin_anew(),
    };
    removed.map_err(|error| Error::output_path(&path, error))
}

/// The spools of outputs that are built at the end.
fn spools(outputs: &[Output]) -> Vec<PathBuf> {
    let built = outputs.iter().filter(|output| output.format.is_built());
    built.map(|output| output.appended().into_owned()).collect()
}
