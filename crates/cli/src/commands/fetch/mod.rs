//! `fetch`: hands the plan to the engine, shows how it goes, and says how it went.

mod dry;
mod sinks;

use std::sync::{Arc, Mutex, PoisonError};

use overlapped_fetch::{Bulk, ErrorClass, Stop, Summary, raise_open_files_limit};
use overlapped_proto::display::{escape, redact};

use crate::exit::{Ending, Error};
use crate::flags::fetch::Flags;
use crate::flags::plan::{Plan, plan};
use crate::picture::{Chart, svg};
use crate::report::watch::{Seen, Watch};
use crate::report::{summary, write_whole};
use crate::terminal;

impl From<overlapped_fetch::Error> for Error {
    fn from(error: overlapped_fetch::Error) -> Self {
        match error.class() {
            ErrorClass::Config | ErrorClass::Input | ErrorClass::Internal => Self::Usage(error.to_string()),
            ErrorClass::State => Self::Usage(error.to_string()),
            ErrorClass::StateExists => Self::Usage(format!(
                "{error}: --resume goes on with it, --retry-failed also fetches the failed rows again, \
                 --overwrite throws it away"
            )),
            ErrorClass::Journal => Self::Journal(error.to_string()),
            ErrorClass::Output => Self::Output(error.to_string()),
            ErrorClass::OutputClosed => Self::OutputClosed,
        }
    }
}

pub(super) fn run(flags: Flags) -> Result<Ending, Error> {
    let mut plan = plan(flags)?;
    if plan.dry_run {
        return dry::run(plan);
    }
    fit_open_files(&mut plan);
    let chart = Arc::new(Mutex::new(Chart::default()));
    // The settings are checked before an output is touched.
    let mut bulk = Bulk::new(plan.config)?.input(plan.input).input_options(plan.input_options);
    let mut earlier = None;
    if let Some(durable) = plan.durable.take() {
        sinks::make_directory(&plan.sinks)?;
        let found;
        (bulk, found) = bulk.durable(durable)?;
        if plan.show.summary && found.rows + found.again.len() > 0 {
            terminal::say(format_args!("{}", summary::resumed(&found)));
        }
        earlier = Some(found);
    }
    for sink in sinks::open(&plan.sinks, plan.show, earlier.as_ref())? {
        bulk = bulk.sink(sink);
    }
    if plan.waterfall.is_some() {
        bulk = bulk.sink(Box::new(sinks::Picture(Arc::clone(&chart))));
    }
    let run = bulk.start()?;
    let watch = Watch::start(run.control(), plan.show.meter);
    let result = run.wait();
    let seen = watch.end();
    let run = result.map_err(|error| resumable(error.into(), earlier.is_some()))?;
    if plan.show.summary {
        terminal::say_lines(&summary::text(&run, seen.held));
        if earlier.is_some() && !run.finished {
            terminal::say(format_args!("  go on with  {}", go_on(std::env::args().skip(1))));
        }
    }
    if run.stopped_by == Some(Stop::MaxErrors) {
        let failed = run.progress.rows_done - run.progress.ok;
        terminal::say(format_args!(
            "overlapped: stopped by a limit: {failed} of {} rows failed (--max-errors); what is written stays",
            run.progress.rows_done
        ));
    }
    if let Some(path) = &plan.summary {
        write_whole(path, summary::json(&run, seen.held).as_bytes())?;
    }
    if let Some(path) = &plan.waterfall {
        let chart = std::mem::take(&mut *chart.lock().unwrap_or_else(PoisonError::into_inner));
        write_whole(path, svg::draw(&chart.since_start(), &plan.title).as_bytes())?;
    }
    let failed_before = earlier.is_some_and(|earlier| earlier.failed > 0);
    Ok(ending(&run, &seen, failed_before))
}

/// What was written until then is durable, and the run can go on once the cause is gone.
fn resumable(error: Error, durable: bool) -> Error {
    match error {
        Error::Output(text) if durable => Error::Output(format!("{text}; --resume goes on from here")),
        other @ (Error::Output(_) | Error::Usage(_) | Error::Journal(_) | Error::OutputClosed) => other,
    }
}

/// The command that goes on with this run; a secret in it is not repeated.
fn go_on(words: impl Iterator<Item = String>) -> String {
    const SECRET: [&str; 6] = ["--user", "--oauth2-bearer", "--header", "--cookie", "--data", "--json"];
    let begins_anew = |word: &String| matches!(word.as_str(), "--resume" | "--retry-failed" | "--overwrite");
    let words: Vec<_> = words.filter(|word| !begins_anew(word)).collect();
    let secret = |word: &String| match word.strip_prefix('-') {
        Some(long) if long.starts_with('-') => SECRET.contains(&word.split('=').next().unwrap_or_default()),
        Some(short) => short.contains(['u', 'H', 'b', 'd']),
        None => word.contains("://") && redact(word) != *word,
    };
    if words.iter().any(secret) {
        return "the same command and --resume".to_owned();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,=+%".contains(c);
    let quoted = words.iter().map(|word| match word.chars().all(plain) && !word.is_empty() {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    });
    escape(&format!("overlapped {} --resume", quoted.collect::<Vec<_>>().join(" "))).into_owned()
}

/// With fewer open files than requests the run goes on with fewer requests, and says so.
fn fit_open_files(plan: &mut Plan) {
    let wanted = plan.config.pace.parallel_max;
    let room = raise_open_files_limit(wanted);
    if room < wanted {
        terminal::say(format_args!(
            "overlapped: this system allows {room} requests at once instead of {wanted}: \
             raise its limit on open files (ulimit -Hn) for more"
        ));
        plan.config.pace.parallel_max = room.max(1);
    }
}

fn ending(run: &Summary, seen: &Seen, failed_before: bool) -> Ending {
    match seen.signal {
        Some(signal) if !run.finished => Ending::Interrupted(signal),
        _ if !run.finished => Ending::Stopped,
        _ if failed_before || run.progress.ok < run.progress.rows_done => Ending::RowsFailed,
        _ => Ending::Succeeded,
    }
}
