//! `--manifest`: the commit of a shard's outputs. A run that has one is not repeated.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use overlapped_fetch::Input;
use overlapped_fetch::durable::{Begin, Output};
use overlapped_fetch::partition::{Manifest, ManifestLock, Shard};
use overlapped_fetch::sink::{Format, WarcOptions};

use crate::exit::{Ending, Error};
use crate::flags::plan::Plan;
use crate::report::figures::{count, counted};
use crate::terminal;

/// The manifest that a run is to write.
pub(super) struct Commit {
    path: PathBuf,
    shard: Shard,
    outputs: Vec<Output>,
    warc: WarcOptions,
    /// Held until the manifest is written, or this is dropped.
    lock: Option<ManifestLock>,
}

/// What is to be done about the manifest of a run.
pub(super) enum Found {
    /// The shard was fetched before.
    Done(Ending),
    /// It is to be written at the end, if one was asked for.
    Nothing(Option<Commit>),
}

/// Looks for the manifest, before anything else is touched.
///
/// # Errors
///
/// There is one of another shard or plan; the list is no shard; an output is none that a manifest can name.
pub(super) fn look(plan: &Plan) -> Result<Found, Error> {
    let Some(path) = &plan.manifest else { return Ok(Found::Nothing(None)) };
    let Input::File(list) = &plan.input else {
        return Err(Error::Usage("--manifest is that of a shard: give its file as the only list".to_owned()));
    };
    let shard = Shard::of(list)?;
    let outputs = plan.sinks.outputs.clone();
    // However each is spelled.
    let folder = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
    };
    let has_files = outputs.iter().any(|output| output.format == Format::Files);
    let is_beside = |output: &Output| folder(&output.path) == folder(path);
    if outputs.is_empty() || has_files || !outputs.iter().all(is_beside) {
        return Err(Error::Usage(
            "--manifest names the outputs in its own directory: give it one beside -o FILE, and no -o DIR/"
                .to_owned(),
        ));
    }
    let mut commit = Commit { path: path.clone(), shard, outputs, warc: plan.sinks.warc, lock: None };
    let begin = plan.durable.as_ref().map(|durable| durable.begin);
    if matches!(begin, Some(Begin::Overwrite | Begin::RetryFailed)) {
        commit.lock = Some(ManifestLock::take(path)?);
        Manifest::withdraw(path)?;
        return Ok(Found::Nothing(Some(commit)));
    }
    let mut found = Manifest::read(path)?;
    if found.is_none() {
        commit.lock = Some(ManifestLock::take(path)?);
        // One that has just ended has written it.
        found = Manifest::read(path)?;
    }
    let Some(manifest) = found else { return Ok(Found::Nothing(Some(commit))) };
    let told = path.display();
    if manifest.shard != commit.shard {
        return Err(Error::Usage(format!(
            "{told} is the manifest of another shard or plan: --overwrite replaces it and its outputs"
        )));
    }
    let has: BTreeSet<&str> = manifest.outputs.iter().map(|output| output.name.as_str()).collect();
    if !commit.is_of(&has) {
        return Err(Error::Usage(format!(
            "{told} is that of other outputs ({}): give the same, or --overwrite",
            Vec::from_iter(has).join(", ")
        )));
    }
    if let Some(problem) = manifest.problem(path, false) {
        return Err(Error::Journal(format!("{told}: {problem}; --overwrite fetches the shard again")));
    }
    ManifestLock::clear(path);
    let failed = manifest.shard.rows - manifest.ok.min(manifest.shard.rows);
    if plan.show.told {
        let rows = counted(manifest.shard.rows, "row");
        terminal::say(format_args!(
            "overlapped: nothing to do: {told} says that {rows} are done, {} of them failed",
            count(failed)
        ));
    }
    Ok(Found::Done(if failed > 0 { Ending::RowsFailed } else { Ending::Succeeded }))
}

impl Commit {
    /// Writes the manifest.
    ///
    /// # Errors
    ///
    /// It cannot be written; the rows are not those of the shard.
    pub(super) fn write(self, rows: u64, ok: u64) -> Result<(), Error> {
        let files: Vec<_> =
            self.outputs.iter().flat_map(|output| output.format.complete(&output.path, self.warc)).collect();
        Manifest::write(&self.path, self.shard, rows, ok, &files)?;
        Ok(())
    }

    /// True if these are the names of files that the outputs of this command may have.
    fn is_of(&self, names: &BTreeSet<&str>) -> bool {
        let mut left = names.clone();
        let mut take = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| left.remove(name))
        };
        let mut has_least = true;
        for output in &self.outputs {
            has_least &= output.format.least(&output.path, self.warc).iter().all(&mut take);
            // The further files of an archive follow each other, as many as there are.
            output.format.further(&output.path).take_while(&mut take).for_each(drop);
        }
        has_least && left.is_empty()
    }
}
