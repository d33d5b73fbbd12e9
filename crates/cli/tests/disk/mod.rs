//! Intercepts the program's calls to the disk: logs them, kills the program at a call, or lets a call fail.

#![allow(dead_code, reason = "no test file needs all of it")]

pub(crate) mod replay;
pub(crate) mod scene;
pub(crate) mod record;
#[path = "../archive/mod.rs"]
mod archive;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Which call is meant, and what happens there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trip {
    /// The names of the calls that count; empty: all but a read.
    pub(crate) calls: &'static str,
    /// A part of the paths that count.
    pub(crate) file: &'static str,
    /// The how manieth of them, from 1.
    pub(crate) at: usize,
    pub(crate) act: Act,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    KillBefore,
    KillAfter,
    /// Half of what is to be written is; other calls are made.
    KillHalf,
    /// Only half is written, and the program is told so.
    Short,
    /// The call fails with this error.
    Fail(i32),
    /// So do all that follow.
    FailOn(i32),
}

pub(crate) const EINTR: i32 = 4;
pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;

impl Trip {
    /// At a call, whatever it is.
    pub(crate) fn at(at: usize, act: Act) -> Self {
        Self { calls: "", file: "", at, act }
    }
}

/// Has the calls of a program to files below `root` taken down in `record`; at `trip` something happens.
pub(crate) fn watch(command: &mut Command, root: &Path, record: &Path, trip: Option<Trip>) {
    command.env("LD_PRELOAD", shim()).env("DISK_ROOT", root).env("DISK_RECORD", record);
    let Some(Trip { calls, file, at, act }) = trip else { return };
    command.env("DISK_CALL", calls).env("DISK_FILE", file).env("DISK_AT", at.to_string());
    let done = match act {
        Act::KillBefore => "kill-before".to_owned(),
        Act::KillAfter => "kill-after".to_owned(),
        Act::KillHalf => "kill-half".to_owned(),
        Act::Short => "short".to_owned(),
        Act::Fail(error) | Act::FailOn(error) => error.to_string(),
    };
    command.env("DISK_DO", done);
    if matches!(act, Act::FailOn(_)) {
        command.env("DISK_ON", "1");
    }
}

fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disk/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shim-{}.so", std::process::id()));
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(compiled.unwrap().success(), "the C compiler refuses {source}");
        library
    })
}

/// How many of `all` are tried: a sample, or with `OVERLAPPED_DISK=all` every one.
pub(crate) fn sample(all: usize, some: usize) -> impl Iterator<Item = usize> {
    let whole = std::env::var("OVERLAPPED_DISK").is_ok_and(|value| value == "all");
    (1..=all).step_by(if whole { 1 } else { (all / some).max(1) })
}

/// For the log of a test.
#[expect(clippy::print_stderr, reason = "a test's log is what it is for")]
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}
