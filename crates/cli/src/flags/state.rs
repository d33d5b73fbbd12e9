//! The state that a run keeps beside its outputs, to be resumed from.

use std::path::Path;

use overlapped_fetch::durable::{Begin, Durability, Durable};
use overlapped_fetch::sink::Format;

use super::fetch::{self, Flags};
use super::identity::identity;
use super::sinks::Sinks;
use crate::exit::Error;

/// The state is beside the directory of files, if there is one, as it stays there; else beside the first output that is a
/// file: a device and standard output have nothing to go on with.
///
/// # Errors
///
/// [`Error::Usage`]: a run that keeps no state is to be resumed.
pub(super) fn durable(flags: &Flags, query: Option<&str>, sinks: &Sinks) -> Result<Option<Durable>, Error> {
    let goes_on = flags.resume || flags.retry_failed;
    let durability = match flags.durability {
        fetch::Durability::Each => Durability::Each,
        fetch::Durability::Group => Durability::Group,
        fetch::Durability::None if goes_on => {
            return Err(Error::Usage("--durability none keeps no state to resume from".to_owned()));
        }
        fetch::Durability::None => return Ok(None),
    };
    let outputs = sinks.outputs.iter().map(|output| output.path.as_path());
    let mut outputs = outputs.filter(|path| !path.starts_with("/dev"));
    let Some(first) = outputs.clone().next() else {
        let what = "--resume and --retry-failed need an output: -o FILE or -o DIR/";
        return if goes_on { Err(Error::Usage(what.to_owned())) } else { Ok(None) };
    };
    let begin = match (flags.overwrite, flags.retry_failed, flags.resume) {
        (true, _, _) => Begin::Overwrite,
        (_, true, _) => Begin::RetryFailed,
        (_, _, true) => Begin::Resume,
        (false, false, false) => Begin::Anew,
    };
    // The outputs may have been given in another order when the run began.
    let has_run = |path: &&Path| Durable::beside(path).directory.join("job.json").symlink_metadata().is_ok();
    let folder = sinks.outputs.iter().find(|output| output.format == Format::Files);
    let beside = outputs.find(has_run).or(folder.map(|folder| folder.path.as_path())).unwrap_or(first);
    Ok(Some(Durable {
        begin,
        durability,
        outputs: sinks.ordered().into_iter().cloned().collect(),
        settings: identity(flags, query, sinks.has_archive()),
        ..Durable::beside(beside)
    }))
}
