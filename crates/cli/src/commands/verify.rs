//! `verify`: whether all shards of a plan were fetched, as their manifests say.

use std::fmt::Write as _;

use overlapped_fetch::partition::{PLAN, verify};
use overlapped_proto::plural::plural;
use overlapped_proto::sanitize::escape;

use super::print;
use crate::exit::{Ending, Error};
use crate::flags::verify::Flags;
use crate::report::figures::{count, counted};

/// The most shards and problems that are told one by one.
const TOLD: usize = 20;

pub(super) fn run(flags: &Flags) -> Result<Ending, Error> {
    let plan = match &flags.plan {
        Some(plan) if plan.is_dir() => plan.join(PLAN),
        Some(plan) => plan.clone(),
        None => flags.directory.join(PLAN),
    };
    if !flags.directory.is_dir() {
        return Err(Error::Usage(format!("{} is no directory", flags.directory.display())));
    }
    let found = verify(&flags.directory, &plan)?;
    let there = found.shards - found.missing.len() as u64 - found.problems.len() as u64;
    let mut text = format!(
        "shards    {} of {}\nrows      {}, of which {} failed\n",
        count(there),
        count(found.shards),
        count(found.rows),
        count(found.rows - found.ok),
    );
    for problem in found.problems.iter().take(TOLD) {
        let _ = writeln!(text, "  {}", escape(problem));
    }
    if found.problems.len() > TOLD {
        let _ = writeln!(text, "  and {} more", count((found.problems.len() - TOLD) as u64));
    }
    if !found.missing.is_empty() {
        let told: Vec<_> = found.missing.iter().take(TOLD).map(u32::to_string).collect();
        let more = if found.missing.len() > TOLD { ", ..." } else { "" };
        let missing = found.missing.len() as u64;
        let _ = writeln!(
            text,
            "  {} {} no manifest: {}{more}",
            counted(missing, "shard"),
            plural(missing, "has", "have"),
            told.join(", ")
        );
    }
    print(text.as_bytes())?;
    if !found.problems.is_empty() {
        let wrong = found.problems.len() as u64;
        return Err(Error::Journal(format!(
            "{} {} again with --overwrite",
            counted(wrong, "shard"),
            plural(
                wrong,
                "is not as its manifest says: fetch it",
                "are not as their manifests say: fetch them"
            ),
        )));
    }
    Ok(if found.missing.is_empty() { Ending::Succeeded } else { Ending::RowsFailed })
}
