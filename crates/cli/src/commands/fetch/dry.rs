//! `fetch --dry-run`: summarizes a list. Nothing is sent and no output is touched.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use overlapped_fetch::{Bulk, Config, HostConfig, Rate, survey};
use overlapped_proto::plural::plural;
use overlapped_proto::sanitize::escape;
use overlapped_proto::survey::Survey;
use serde_json::{Value, json};

use crate::exit::{Ending, Error};
use crate::flags::plan::Plan;
use crate::report::figures::{count, counted, span};
use crate::report::write_whole;

pub(super) fn run(plan: Plan) -> Result<Ending, Error> {
    let pace = Pacing::of(&plan.config);
    // The settings are checked as for a run.
    drop(Bulk::new(plan.config)?);
    let (survey, read) = survey(plan.input, plan.input_options);
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text(&survey, &pace).as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Error::stdout(&error))?;
    if let Some(path) = &plan.summary {
        write_whole(path, format!("{:#}\n", object(&survey, &pace)).as_bytes())?;
    }
    read?;
    Ok(if survey.bad() > 0 { Ending::RowsFailed } else { Ending::Succeeded })
}

fn text(survey: &Survey, pace: &Pacing) -> String {
    let (all, bad) = (count(survey.rows()), survey.bad());
    let mut text = format!("rows      {all}, of which {} {} bad\n", count(bad), plural(bad, "is", "are"));
    for (line, bad) in survey.bad_rows() {
        let _ = writeln!(text, "  line {line}: {} {}", bad.failure.kind, escape(&bad.failure.message));
    }
    let told = u64::try_from(survey.bad_rows().len()).unwrap_or(u64::MAX);
    if survey.bad() > told {
        let _ = writeln!(text, "  and {} more", count(survey.bad() - told));
    }
    let hosts = count(u64::try_from(survey.hosts()).unwrap_or(u64::MAX));
    let _ = match survey.rows_of_other_hosts() {
        0 => writeln!(text, "hosts     {hosts}"),
        rows => writeln!(
            text,
            "hosts     more than {hosts}: only these are counted, not those that follow ({})",
            counted(rows, "row")
        ),
    };
    for (host, rows) in survey.largest() {
        let _ = writeln!(text, "  {:>13}  {}", count(rows), escape(&host));
    }
    let _ = match time_min(survey, pace) {
        Some(time) => writeln!(text, "time      at least {}, by the rates that are set", span(time)),
        None => writeln!(text, "time      not limited by a rate: --rate or --rate-host sets one"),
    };
    text
}

fn object(survey: &Survey, pace: &Pacing) -> Value {
    let bad = survey.bad_rows().iter().map(|(line, bad)| {
        json!({"line": line, "row": bad.row.0, "error": bad.failure.kind.name(), "error_message": *bad.failure.message})
    });
    let largest = survey.largest().into_iter().map(|(host, rows)| json!({"host": host, "rows": rows}));
    json!({
        "rows": survey.rows(),
        "bad": survey.bad(),
        "bad_rows": bad.collect::<Vec<_>>(),
        "hosts": survey.hosts(),
        "rows_of_other_hosts": survey.rows_of_other_hosts(),
        "largest_hosts": largest.collect::<Vec<_>>(),
        "time_min_s": time_min(survey, pace).map(|time| time.as_secs_f64()),
    })
}

/// The rates of a run.
struct Pacing {
    rate: Option<Rate>,
    rate_host: Option<Rate>,
    hosts: BTreeMap<String, Rate>,
}

impl Pacing {
    fn of(config: &Config) -> Self {
        let own = |host: &HostConfig| Some((host.name.clone(), host.rate?));
        Self {
            rate: config.pace.rate,
            rate_host: config.pace.rate_host,
            hosts: config.hosts.iter().filter_map(own).collect(),
        }
    }
}

/// `None`: no rate is set.
fn time_min(survey: &Survey, pace: &Pacing) -> Option<Duration> {
    let limited = pace.rate.is_some() || pace.rate_host.is_some() || !pace.hosts.is_empty();
    let rate_host = |host: &str| pace.hosts.get(host).copied().or(pace.rate_host);
    limited.then(|| survey.time_min(pace.rate, rate_host).into())
}
