//! How a run shows itself.

use super::fetch::{Flags, Progress};
use super::sinks::Main;
use crate::terminal;

/// How the run shows itself on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Show {
    pub(crate) meter: Meter,
    pub(crate) summary: bool,
    /// That there was nothing to do.
    pub(crate) told: bool,
    /// A line for every row.
    pub(crate) rows: bool,
    /// Why the one row failed.
    pub(crate) failure: bool,
}

/// What shows how far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    Bar,
    Lines,
    Nothing,
}

/// What it shows, by the flags and by what standard output gets.
pub(super) fn show(flags: &Flags, one: bool, main: Main) -> Show {
    let meter = match flags.progress {
        _ if flags.silent => Meter::Nothing,
        Progress::Bar => Meter::Bar,
        Progress::Plain => Meter::Lines,
        Progress::None => Meter::Nothing,
        // One row needs none. Lines on the same terminal show that it moves; a bar would tear them apart.
        Progress::Auto if one || flags.verbose => Meter::Nothing,
        Progress::Auto if main != Main::Nothing && terminal::stdout_is_seen() => Meter::Nothing,
        Progress::Auto if terminal::stderr_is_seen() => Meter::Bar,
        Progress::Auto => Meter::Lines,
    };
    Show {
        meter,
        summary: !one && !flags.silent,
        told: !flags.silent,
        rows: flags.verbose && main != Main::Lines,
        failure: one,
    }
}
