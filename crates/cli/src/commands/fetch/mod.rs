//! `fetch`: runs the engine with the settings of the command line, shows the progress, and prints the summary.

mod dry;
mod title;
mod again;
mod one;
mod over;
mod manifest;
mod sinks;
mod pictures;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};

use overlapped_fetch::durable::{Earlier, discard};
use overlapped_fetch::sink::Format;
use overlapped_fetch::{
    Bulk, CookieLines, ErrorClass, Input, Stop, Summary, check_open_files_limit, raise_open_files_limit,
};
use overlapped_proto::plural::plural;
use overlapped_proto::sanitize::escape;

use self::one::One;
use self::pictures::Pictures;
use crate::exit::{Ending, Error};
use crate::flags::cookies::{Cookies, Kept};
use crate::flags::fetch::Flags;
use crate::flags::plan::{Plan, plan};
use crate::flags::sinks::{Main, Sinks};
use crate::report::figures::counted;
use crate::report::watch::{Seen, Watch};
use crate::report::{summary, write_whole};
use crate::terminal;

impl From<overlapped_fetch::Error> for Error {
    fn from(error: overlapped_fetch::Error) -> Self {
        match error.class() {
            ErrorClass::Config | ErrorClass::Input | ErrorClass::State => Self::Usage(error.to_string()),
            ErrorClass::StateExists => Self::Usage(format!(
                "{error}: --resume resumes it, --retry-failed also fetches the failed rows again, \
                 --overwrite discards it"
            )),
            ErrorClass::Journal | ErrorClass::Sum | ErrorClass::Internal => Self::Journal(error.to_string()),
            ErrorClass::Output | ErrorClass::Resource => Self::Output(error.to_string()),
            ErrorClass::OutputClosed => Self::OutputClosed,
        }
    }
}

pub(super) fn run(flags: Flags, words: &[OsString]) -> Result<Ending, Error> {
    title::hide_secrets();
    let mut plan = plan(flags)?;
    if plan.dry_run {
        return dry::run(plan);
    }
    if matches!(plan.input, Input::Stdin) && io::stdin().is_terminal() {
        terminal::say(format_args!(
            "overlapped: reading URLs from the terminal, one a line; ^D ends the list"
        ));
    }
    let commit = match manifest::look(&plan)? {
        manifest::Found::Done(ending) => return Ok(ending),
        manifest::Found::Nothing(commit) => commit,
    };
    if let Some((ending, rows)) = over::look(&mut plan)? {
        // All of them have succeeded.
        commit.map_or(Ok(()), |commit| commit.write(rows, rows))?;
        return Ok(ending);
    }
    fit_open_files(&mut plan)?;
    for (path, lines) in plan.cookies.iter().flat_map(|cookies| &cookies.read) {
        for what in passed_over(*lines) {
            let path = path.display().to_string();
            terminal::say(format_args!("overlapped: -b {}: {what}: passed over", escape(&path)));
        }
    }
    let writes_only_files = plan.sinks.main == Main::Nothing
        && plan.sinks.outputs.iter().all(|output| output.format == Format::Files);
    let pictures = Pictures::of(&plan);
    let mut made = sinks::Made::default();
    // The settings and the list are checked before an output is touched.
    let mut bulk = Bulk::new(plan.config)?.input(plan.input).input_options(plan.input_options);
    let mut earlier = None;
    if let Some(durable) = plan.durable.take() {
        made.parents(&plan.sinks)?;
        let found;
        (bulk, found) = bulk.durable(durable)?;
        if found.finished {
            commit.map_or(Ok(()), |commit| commit.write(found.rows, found.rows - found.failed))?;
            return Ok(over::told(&found, plan.show));
        }
        if plan.show.summary && (found.rows + found.again.len() > 0 || found.grown_from.is_some()) {
            terminal::say(format_args!("{}", summary::resumed(&found)));
        }
        earlier = Some(found);
    } else if plan.sinks.overwrite {
        let outputs = plan.sinks.outputs.iter();
        outputs.filter(|output| !output.path.starts_with("/dev")).try_for_each(discard)?;
    }
    bulk = bulk.check_list()?;
    let one = plan.sinks.one.take().map(One::new);
    if let Some(one) = &one {
        bulk = bulk.receiver(one.clone()).sink(Box::new(one.clone()));
    }
    for sink in sinks::open(&plan.sinks, plan.show, earlier.as_ref(), &mut made)? {
        bulk = bulk.sink(sink);
    }
    if let Some(pictures) = &pictures {
        bulk = bulk.sink(Box::new(pictures.clone()));
    }
    let run = bulk.start()?;
    made.keep();
    let watch = Watch::start(run.control(), plan.show.meter);
    let result = run.wait();
    let seen = watch.end();
    one.iter().for_each(One::end);
    // Also after a run that has failed: sites have set them.
    let kept = plan.cookies.as_ref().map_or(Ok(()), keep);
    let run = result.map_err(|error| resumable(stopped(error.into(), &plan.sinks), earlier.is_some()))?;
    kept?;
    if plan.show.summary {
        terminal::say_wrapped(&summary::text(&run, seen.held));
        if let Some(next) = next(&run, earlier.as_ref(), writes_only_files, words) {
            terminal::say_lines(&next);
        }
    }
    for name in &run.insecure_unmet {
        terminal::say(format_args!(
            "overlapped: --insecure-host {} was not needed: no row of this run asked for https at this host",
            escape(name)
        ));
    }
    for (pin, why) in &run.resolve_unmet {
        terminal::say(format_args!("overlapped: --resolve {} {why}", escape(pin)));
    }
    let went_on = earlier.as_ref().is_some_and(|found| found.rows > 0 || !found.again.is_empty());
    // Rows of an earlier command, and those that are left, may be of them.
    if let Some(unmet) = summary::hosts_unmet(&run.hosts_unmet)
        && plan.show.summary
        && run.finished
        && !went_on
    {
        terminal::say_wrapped(&unmet);
    }
    if run.stopped_by == Some(Stop::MaxErrors) {
        let failed = run.progress.rows_done - run.progress.ok;
        terminal::say(format_args!(
            "overlapped: stopped by a limit: {failed} of {} failed (--max-errors); what is written is kept",
            counted(run.progress.rows_done, "row")
        ));
    }
    if let Some(path) = &plan.summary {
        write_whole(path, summary::json(&run, seen.held).as_bytes())?;
    }
    let note = match (went_on, run.finished) {
        (false, true) => None,
        (true, true) => Some("a run that was resumed: only the rows that were fetched since"),
        (_, false) => Some("a run that was stopped: not all of its rows"),
    };
    pictures.map_or(Ok(()), |pictures| pictures.write(note))?;
    if let Some(commit) = commit.filter(|_| run.finished) {
        let (rows, failed) = earlier.as_ref().map_or((0, 0), |earlier| (earlier.rows, earlier.failed));
        let now = &run.progress;
        let rows = rows + now.rows_done;
        commit.write(rows, rows - failed - (now.rows_done - now.ok))?;
    }
    let failed_before = earlier.is_some_and(|earlier| earlier.failed > 0);
    Ok(ending(&run, &seen, failed_before))
}

/// Writes the jar to where `-c` says.
fn keep(cookies: &Cookies) -> Result<(), Error> {
    match &cookies.kept {
        None => Ok(()),
        Some(Kept::File(path)) => cookies.jar.save(path).map_err(|error| Error::writing(path, &error)),
        Some(Kept::Stdout) => {
            let mut out = terminal::stdout();
            let written = cookies.jar.write_to(&mut out).and_then(|()| out.flush());
            written.map_err(|error| Error::stdout(&error))
        }
    }
}

/// The lines of a file of cookies that are not in the jar, apart from cookies that are over.
fn passed_over(lines: CookieLines) -> impl Iterator<Item = String> {
    let CookieLines { cookies: _, strange, on_suffix, misnamed } = lines;
    let reasons = [
        (strange, "no cookies"),
        (on_suffix, "for all domains below a public suffix, such as co.uk"),
        (misnamed, "against the promise of a name that begins with __Host- or __Secure-"),
    ];
    let told = |(count, what)| {
        format!("{} {} {what}", counted(count as u64, "line"), plural(count as u64, "is", "are"))
    };
    reasons.into_iter().filter(|(count, _)| *count > 0).map(told)
}

/// Outputs other than standard output are not complete when its reader has gone.
fn stopped(error: Error, sinks: &Sinks) -> Error {
    if !matches!(error, Error::OutputClosed) || sinks.outputs.is_empty() {
        return error;
    }
    let text =
        "the run was stopped, because the reader of standard output has closed it: what is written is kept";
    Error::Output(text.to_owned())
}

/// The error of a durable run: its results are durable, and it can be resumed when the cause is removed.
fn resumable(error: Error, durable: bool) -> Error {
    match error {
        Error::Output(text) if durable => Error::Output(format!("{text}; --resume continues from here")),
        other @ (Error::Output(_) | Error::Usage(_) | Error::Journal(_) | Error::OutputClosed) => other,
    }
}

/// The hint at the end of a run: how to resume it if it was stopped, or what to do about its failed rows and about its bad
/// rows, which fail in every run.
fn next(
    run: &Summary,
    earlier: Option<&Earlier>,
    writes_only_files: bool,
    words: &[OsString],
) -> Option<String> {
    let hints = [next_of_failed(run, earlier, writes_only_files, words), next_of_bad(run)];
    let hints: Vec<_> = hints.into_iter().flatten().collect();
    (!hints.is_empty()).then(|| hints.join("\n"))
}

fn next_of_bad(run: &Summary) -> Option<String> {
    let bad = run.progress.bad;
    let named: Vec<_> = run.bad_rows.iter().map(|(row, _)| row.to_string()).collect();
    let more = if bad > named.len() as u64 { ", ..." } else { "" };
    let numbers = format!("{} {}{more}", plural(bad, "row", "rows"), named.join(", "));
    (run.finished && bad > 0).then(|| {
        format!(
            "  {} of the list cannot be fetched ({numbers}, counted from 0): correct {1}, and fetch {1} as a list of {2} own",
            counted(bad, "row"),
            plural(bad, "it", "them"),
            plural(bad, "its", "their"),
        )
    })
}

fn next_of_failed(
    run: &Summary,
    earlier: Option<&Earlier>,
    writes_only_files: bool,
    words: &[OsString],
) -> Option<String> {
    let now = &run.progress;
    let failed = now.rows_done - now.ok - now.bad + earlier.map_or(0, |earlier| earlier.failed);
    match (earlier, run.finished, failed) {
        (Some(_), false, _) => Some(with_command("  resume with", "--resume", words)),
        (None, false, _) | (_, true, 0) => None,
        (Some(_), true, failed) => {
            let untold = match writes_only_files {
                true => "; records name them and their errors, with a further -o F.ndjson",
                false => "",
            };
            let told = format!(
                "  {} failed{untold}; to fetch {} again:",
                counted(failed, "row"),
                plural(failed, "it", "them")
            );
            Some(with_command(&told, "--retry-failed", words))
        }
        (None, true, failed) => Some(format!(
            "  {} failed; with -o FILE, --retry-failed would fetch them again",
            counted(failed, "row")
        )),
    }
}

/// The hint `told`, followed by this command with `flag`: on the same line, or on the next if it is long.
fn with_command(told: &str, flag: &str, words: &[OsString]) -> String {
    // An argument that is not UTF-8 is shown with U+FFFD.
    let words = words.iter().map(|word| word.to_string_lossy().into_owned());
    let command = again::command(words, flag);
    let length = command.chars().count();
    if length <= COMMAND_SHORT {
        format!("{told}  {command}")
    } else if length <= COMMAND_LONG {
        format!("{told}\n  {command}")
    } else {
        format!("{told}  the same command with {flag}")
    }
}

/// The longest command, in characters, that is printed on the line of its hint.
const COMMAND_SHORT: usize = 100;
/// The longest command, in characters, that is printed at all.
const COMMAND_LONG: usize = 500;

/// Reduces the number of concurrent requests to what the limit on open files allows, with a warning.
///
/// # Errors
///
/// It allows none.
fn fit_open_files(plan: &mut Plan) -> Result<(), Error> {
    let wanted = plan.config.pace.parallel_max;
    let room = raise_open_files_limit(wanted);
    check_open_files_limit(plan.sinks.outputs.len()).map_err(|error| Error::Output(error.to_string()))?;
    if room < wanted {
        terminal::say(format_args!(
            "overlapped: this system allows {} at once instead of {wanted}: \
             raise its limit on open files (ulimit -Hn) for more",
            counted(room as u64, "request")
        ));
        plan.config.pace.parallel_max = room.max(1);
    }
    Ok(())
}

fn ending(run: &Summary, seen: &Seen, failed_before: bool) -> Ending {
    match seen.signal {
        Some(signal) if !run.finished => Ending::Interrupted(signal),
        _ if !run.finished => Ending::Stopped,
        _ if failed_before || run.progress.ok < run.progress.rows_done => Ending::RowsFailed,
        _ => Ending::Succeeded,
    }
}
