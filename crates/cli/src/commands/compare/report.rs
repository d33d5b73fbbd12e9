//! What a comparison found: as text with three waterfalls on one time axis, and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::{Measured, Run};
use crate::exit::Error;
use crate::flags::compare::{Arm, Flags};
use crate::picture::text::{self, Style};
use crate::picture::{Bar, Chart};

/// An arm's name for people.
pub(super) const fn name(arm: Arm) -> &'static str {
    match arm {
        Arm::Sequential => "sequential",
        Arm::Pool => "thread pool",
        Arm::Native => "native async",
    }
}

/// An arm's name as the flag `--arm` and the JSON have it.
pub(super) const fn flag(arm: Arm) -> &'static str {
    match arm {
        Arm::Sequential => "sequential",
        Arm::Pool => "pool",
        Arm::Native => "native",
    }
}

/// The figures of a comparison.
pub(super) struct Report<'a> {
    flags: &'a Flags,
    /// The longest single answer: no way to fetch all can take less.
    ideal_s: f64,
    arms: Vec<(&'a Measured, &'a Run)>,
}

impl<'a> Report<'a> {
    /// `longest`: the longest answer, where the server knows it. Otherwise it is the longest that the sequential
    /// arm saw: there each answer has the network to itself.
    ///
    /// # Errors
    ///
    /// An arm has no run.
    pub(super) fn new(
        flags: &'a Flags,
        measured: &'a [Measured],
        longest: Option<Duration>,
    ) -> Result<Self, Error> {
        let none = || Error::Usage("no run was measured".to_owned());
        let arm = |arm: &'a Measured| arm.median().map(|run| (arm, run)).ok_or_else(none);
        let arms = measured.iter().map(arm).collect::<Result<Vec<_>, _>>()?;
        let seen =
            || arms.first().map(|(_, run)| run.account.bars.iter().map(Bar::took_s).fold(0.0, f64::max));
        let ideal_s = longest.map(|longest| longest.as_secs_f64()).or_else(seen).unwrap_or(0.0);
        Ok(Self { flags, ideal_s, arms })
    }

    /// True if every row of every arm succeeded.
    pub(super) fn all_ok(&self) -> bool {
        self.arms.iter().all(|(arm, _)| arm.runs.iter().all(|run| run.account.bars.iter().all(|bar| bar.ok)))
    }

    /// For people.
    pub(super) fn text(&self, width: usize, colour: bool) -> String {
        let mut out = String::new();
        let span_s = self.arms.iter().map(|(_, run)| run.wall.as_secs_f64()).fold(self.ideal_s, f64::max);
        let style = Style { width, colour, span_s: Some(span_s) };
        for (arm, run) in &self.arms {
            let _ = writeln!(out, "{}, {:.3} s\n", self.title(arm.arm), run.wall.as_secs_f64());
            if self.flags.verbose {
                lines(&mut out, &run.account.bars);
            }
            out.push_str(&text::draw(&chart(run), &style));
            out.push('\n');
        }
        self.table(&mut out);
        out
    }

    fn title(&self, arm: Arm) -> String {
        match arm {
            Arm::Sequential => "sequential: one blocking request after the other".to_owned(),
            Arm::Pool => format!("thread pool: the same calls on {} threads", self.flags.workers),
            Arm::Native => "native async: no thread per request".to_owned(),
        }
    }

    fn table(&self, out: &mut String) {
        let runs = match self.flags.runs {
            1 => "one run each,".to_owned(),
            runs => format!("medians of {runs} runs,"),
        };
        let _ = writeln!(out, "ideal {:.3} s, the longest answer", self.ideal_s);
        let _ = writeln!(out, "{runs} from the start of a process to its end\n");
        let _ = writeln!(
            out,
            "{:<14}{:>9}{:>13}{:>11}{:>11}{:>10}",
            "", "wall", "over ideal", "speed-up", "CPU", "threads"
        );
        let base = self.sequential_s();
        for (arm, run) in &self.arms {
            let wall = run.wall.as_secs_f64();
            let cpu = run.account.cpu_s.map_or("-".to_owned(), |s| format!("{:.1} ms", s * 1e3));
            let threads = run.account.threads.map_or("-".to_owned(), |count| count.to_string());
            let _ = writeln!(
                out,
                "{:<14}{:>9}{:>13}{:>11}{:>11}{:>10}",
                name(arm.arm),
                format!("{wall:.3} s"),
                format!("{:+.1} ms", (wall - self.ideal_s) * 1e3),
                format!("{:.2} ×", base / wall),
                cpu,
                threads
            );
        }
    }

    fn sequential_s(&self) -> f64 {
        self.arms.first().map_or(0.0, |(_, run)| run.wall.as_secs_f64())
    }

    /// For machines.
    pub(super) fn json(&self) -> String {
        let base = self.sequential_s();
        let arms: Vec<_> = self
            .arms
            .iter()
            .map(|(arm, run)| {
                let wall = run.wall.as_secs_f64();
                json!({
                    "arm": flag(arm.arm),
                    "wall_s": wall,
                    "over_ideal_s": wall - self.ideal_s,
                    "speed_up": base / wall,
                    "cpu_s": run.account.cpu_s,
                    "threads": run.account.threads,
                    "runs_wall_s": arm.runs.iter().map(|run| run.wall.as_secs_f64()).collect::<Vec<_>>(),
                    "results": run.account.bars.iter().map(|bar| bar.result.as_str()).collect::<Vec<_>>(),
                })
            })
            .collect();
        let report = json!({
            "ideal_s": self.ideal_s,
            "workers": self.flags.workers,
            "runs": self.flags.runs,
            "arms": arms,
        });
        format!("{report:#}\n")
    }
}

/// The bars of a run, with time counted from the start of its process.
fn chart(run: &Run) -> Chart {
    let mut chart = Chart::default();
    for bar in &run.account.bars {
        chart.add(Some(Bar { start_s: bar.start_s - run.started_s, ..bar.clone() }));
    }
    chart
}

/// The lines of the experiment: when each request started and ended, in the order of time, then the responses in
/// the order of the list.
fn lines(out: &mut String, bars: &[Bar]) {
    let start = |bar: &Bar| (bar.active_s(), format!("Start: {}: {:.6}", bar.label, bar.active_s()));
    let end = |bar: &Bar| (bar.end_s(), format!("End: {}: {}: {:.6}", bar.label, bar.result, bar.end_s()));
    let mut lines: Vec<(f64, String)> = bars.iter().flat_map(|bar| [start(bar), end(bar)]).collect();
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, line) in lines {
        let _ = writeln!(out, "{line}");
    }
    let response = |bar: &Bar| match bar.result.parse::<u16>() {
        Ok(status) => format!("<Response [{status}]>"),
        Err(_) => format!("<Error {}>", bar.result),
    };
    let _ = writeln!(out, "[{}]\n", bars.iter().map(response).collect::<Vec<_>>().join(", "));
}
