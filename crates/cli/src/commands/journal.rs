//! `journal`: inspects and repairs the state of a run.

use std::fmt::Write as _;
use std::path::Path;

use overlapped_fetch::durable::{Checked, check, repair};
use overlapped_proto::job::Row;
use overlapped_proto::journal::Frame;
use overlapped_proto::plural::{counted, plural};
use overlapped_proto::sanitize::escape;

use super::print;
use crate::exit::{Ending, Error};
use crate::flags::journal::{Flags, Look};

pub(super) fn run(flags: &Flags) -> Result<Ending, Error> {
    let run = &flags.run;
    match flags.look {
        Look::Cat => cat(run),
        Look::Verify => print(report(&check(run, |_, _, _| {})?).as_bytes()),
        Look::Repair => {
            let cut = repair(run)?;
            let mut text = String::new();
            for (file, at) in &cut {
                let _ =
                    writeln!(text, "{file}: left out from byte {at} on; the whole is kept as {file}.damaged");
            }
            text.push_str(&report(&check(run, |_, _, _| {})?));
            print(text.as_bytes())
        }
    }
}

/// Prints while it reads, so that valid entries before a damaged one are shown.
fn cat(run: &Path) -> Result<Ending, Error> {
    let mut printed = Ok(Ending::Succeeded);
    let checked = check(run, |file, at, frame| {
        if printed.is_ok() {
            printed = print(format!("{file}:{at}  {}\n", told(frame)).as_bytes());
        }
    });
    let ending = printed?;
    checked.map(|_| ending).map_err(Error::from)
}

fn told(frame: &Frame) -> String {
    match frame {
        Frame::Done(group) => {
            let sinks = group.checkpoints.iter();
            let sinks: Vec<_> =
                sinks.map(|(id, at)| format!("{}:{}", escape(id.name()), at.position)).collect();
            let (ok, failed) = (ranges(&group.ok), ranges(&group.failed));
            format!("done  ok {ok}  failed {failed}  sinks {}", sinks.join(" "))
        }
        Frame::Names(named) => format!("names  {}", counted(named.len() as u64, "file")),
        Frame::Intent(rows) => format!("intent  {}", ranges(rows)),
        Frame::Snapshot(state) => {
            let (done, failed) = (state.done.len(), state.failed.len());
            format!(
                "snapshot  {done} done, {failed} of them failed, the first that is missing is {}",
                state.done.low().0
            )
        }
        Frame::Waiting(rows) => {
            format!("waiting  {}", ranges(&rows.iter().map(|waiting| waiting.row).collect::<Vec<_>>()))
        }
        Frame::Ended => "ended".to_owned(),
    }
}

/// Ascending rows as ranges: `1-4,7`.
fn ranges(rows: &[Row]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for row in rows {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == row.0 => *last = row.0,
            _ => runs.push((row.0, row.0)),
        }
    }
    let shown = runs
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    if runs.is_empty() { "-".to_owned() } else { shown.collect::<Vec<_>>().join(",") }
}

/// This number of rows in doubt means that the intents were damaged: then every row that is not done is in doubt.
const DOUBTS_COUNTED_MAX: u64 = 1 << 31;

fn report(checked: &Checked) -> String {
    let Checked { done, failed, waiting, in_doubt, ended, files } = checked;
    let mut text = String::new();
    for (file, bytes, torn) in files {
        let tail = if *torn { ", then a torn write, which is ignored" } else { "" };
        let _ = writeln!(text, "{file}: {}{tail}", counted(*bytes, "byte"));
    }
    let _ = write!(
        text,
        "{} {} done, {failed} of them failed",
        counted(*done, "row"),
        plural(*done, "is", "are")
    );
    if *waiting > 0 {
        let (rows, wait) = (counted(*waiting, "row"), plural(*waiting, "waits", "wait"));
        let _ = write!(text, "; {rows} more {wait} for an earlier row");
    }
    if *in_doubt > DOUBTS_COUNTED_MAX {
        text.push_str("; which others were sent is unknown: no POST is sent again");
    } else if *in_doubt > 0 {
        let _ = write!(text, "; {in_doubt} may have been sent");
    }
    text.push_str(if *ended { "; the list is done\n" } else { "; the list is not done\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_as_ranges() {
        let check = |rows: &[u64], expected: &str| {
            assert_eq!(ranges(&rows.iter().copied().map(Row).collect::<Vec<_>>()), expected);
        };
        check(&[], "-");
        check(&[3], "3");
        check(&[1, 2, 3, 7, 9, 10], "1-3,7,9-10");
    }
}
