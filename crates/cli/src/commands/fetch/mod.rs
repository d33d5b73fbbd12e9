//! `fetch`: hands the plan to the engine, shows how it goes, and says how it went.

mod sinks;

use std::sync::{Arc, Mutex, PoisonError};

use overlapped_fetch::{Bulk, ErrorClass, Summary, raise_open_files_limit};

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
            ErrorClass::StateExists | ErrorClass::State => Self::Usage(error.to_string()),
            ErrorClass::Journal => Self::Journal(error.to_string()),
            ErrorClass::Output => Self::Output(error.to_string()),
            ErrorClass::OutputClosed => Self::OutputClosed,
        }
    }
}

pub(super) fn run(flags: Flags) -> Result<Ending, Error> {
    let mut plan = plan(flags)?;
    fit_open_files(&mut plan);
    let chart = Arc::new(Mutex::new(Chart::default()));
    // The settings are checked before an output is touched.
    let mut bulk = Bulk::new(plan.config)?.input(plan.input).input_options(plan.input_options);
    for sink in sinks::open(plan.sinks, plan.show)? {
        bulk = bulk.sink(sink);
    }
    if plan.waterfall.is_some() {
        bulk = bulk.sink(Box::new(sinks::Picture(Arc::clone(&chart))));
    }
    let run = bulk.start()?;
    let watch = Watch::start(run.control(), plan.show.meter);
    let result = run.wait();
    let seen = watch.end();
    let run = result?;
    if plan.show.summary {
        terminal::say(format_args!("{}", summary::text(&run, seen.held)));
    }
    if let Some(path) = &plan.summary {
        write_whole(path, summary::json(&run, seen.held).as_bytes())?;
    }
    if let Some(path) = &plan.waterfall {
        let chart = std::mem::take(&mut *chart.lock().unwrap_or_else(PoisonError::into_inner));
        write_whole(path, svg::draw(&chart.since_start(), &plan.title).as_bytes())?;
    }
    Ok(ending(&run, &seen))
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

fn ending(run: &Summary, seen: &Seen) -> Ending {
    match seen.signal {
        Some(signal) if !run.finished => Ending::Interrupted(signal),
        _ if !run.finished => Ending::Stopped,
        _ if run.progress.ok < run.progress.rows_done => Ending::RowsFailed,
        _ => Ending::Succeeded,
    }
}
