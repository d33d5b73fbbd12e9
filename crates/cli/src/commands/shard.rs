//! `shard`: splits a list into files for as many machines. With `--dry-run` it tells how many machines a list needs.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use overlapped_fetch::partition::{PLAN, Settings, partition};
use overlapped_fetch::{ColumnOptions, Input, InputOptions, survey};
use overlapped_proto::machines::{Hosts, Load, Machine};
use overlapped_proto::plural::plural;
use overlapped_proto::sanitize::escape;

use crate::exit::{Ending, Error};
use crate::flags::shard::Flags;
use crate::report::figures::{bytes, count, counted, span};
use crate::terminal;

/// A larger file may be split by an engine.
const SHARD_FILE_BYTES: u64 = 64 << 20;

pub(super) fn run(flags: Flags) -> Result<Ending, Error> {
    let input = match flags.list.strip_prefix('@').unwrap_or(&flags.list) {
        "-" => Input::Stdin,
        path => Input::File(path.into()),
    };
    let options = InputOptions {
        format: flags.input_format.map(Into::into),
        columns: ColumnOptions { url_column: flags.url_col.as_str().into(), ..ColumnOptions::default() },
        ..InputOptions::default()
    };
    let (Some(shards), Some(output), false) = (flags.shards, flags.output.as_deref(), flags.dry_run) else {
        return estimate(input, options, &flags);
    };
    let settings = Settings {
        shards,
        key: flags.politeness_key.into(),
        splits: flags.splits,
        overwrite: flags.overwrite,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let done = partition(input, &options, &settings, output)?;
    let largest = done.by_shard.iter().max().copied().unwrap_or(0);
    terminal::say(format_args!(
        "overlapped: {} in {}: {} of them {} bad; the largest has {}, {:.2} times the mean; {} has the plan",
        counted(done.rows, "row"),
        counted(shards.into(), "shard"),
        count(done.bad),
        plural(done.bad, "is", "are"),
        counted(largest, "row"),
        largest as f64 * f64::from(shards) / (done.rows.max(1) as f64),
        escape(&output.join(PLAN).display().to_string()),
    ));
    if done.largest_bytes > SHARD_FILE_BYTES {
        terminal::say(format_args!(
            "overlapped: the largest file has {}: an engine may split it, and ask its hosts from two places at a time; \
             more shards are smaller, but for the largest host (--split-host)",
            bytes(done.largest_bytes as f64)
        ));
    }
    for ((name, parts), rows) in settings.splits.iter().zip(&done.split_rows) {
        if *rows == 0 {
            terminal::say(format_args!(
                "overlapped: --split-host {} was not needed: no row of this list is of it",
                escape(name)
            ));
            continue;
        }
        terminal::say(format_args!(
            "overlapped: {} is in {}: fetch each with its share of the limits of a host, as in --parallel-max-host {} \
             instead of 6",
            escape(name),
            counted((*parts).min(shards).into(), "shard"),
            (6 / (*parts).min(shards)).max(1),
        ));
    }
    Ok(Ending::Succeeded)
}

/// What the list needs.
fn estimate(input: Input, options: InputOptions, flags: &Flags) -> Result<Ending, Error> {
    let (survey, read) = survey(input, options);
    read?;
    let largest = survey.largest();
    let load = Load {
        // What is not counted by host is taken for hosts with a row each.
        hosts: Hosts::new(
            survey.host_rows().chain(std::iter::repeat_n(1, survey.rows_of_other_hosts() as usize)),
        ),
        latency: flags.latency.0.unwrap_or_default().into(),
        response_bytes: flags.response.0,
        parallel_host: flags.parallel_max_host,
        rate_host: flags.rate_host,
    };
    let machine = Machine { parallel: flags.parallel_max, bytes_a_second: flags.bandwidth.0 };
    let mut text = format!("rows      {}, of which {} bad\n", count(survey.rows()), count(survey.bad()));
    let hosts = count(survey.hosts() as u64);
    let _ = match survey.rows_of_other_hosts() {
        0 => writeln!(text, "hosts     {hosts}"),
        more => writeln!(text, "hosts     more than {hosts}; {} are of others", counted(more, "row")),
    };
    for (host, rows) in &largest {
        let alone = Load { hosts: Hosts::new([*rows]), ..load.clone() }.host_time();
        let _ = writeln!(text, "  {:>13}  {:>8}  {}", count(*rows), span(alone.into()), escape(host));
    }
    let _ = writeln!(
        text,
        "time      the largest host takes {}, whatever the number of machines{}",
        span(load.host_time().into()),
        if load.hosts.largest() > 0 { "; --split-host divides it, at the price of politeness" } else { "" }
    );
    for machines in [1, 10, 100] {
        let _ = writeln!(
            text,
            "          {:>8} on {}",
            span(load.time(machine, machines).into()),
            counted(machines, "machine")
        );
    }
    let _ = writeln!(
        text,
        "machines  {}: with more, the list takes at most a tenth less, for they wait for the largest host",
        count(load.machines_useful(machine))
    );
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Error::stdout(&error))?;
    Ok(Ending::Succeeded)
}
