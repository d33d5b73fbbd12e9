//! The report of a comparison: text with three waterfalls on one time axis, or JSON.

use serde_json::json;
use std::fmt::Write as _;

use super::{Account, Measured, Run, Times};
use crate::exit::Error;
use crate::flags::compare::{Arm, Flags};
use crate::picture::text::{self, Style};
use crate::picture::{Bar, Chart};
use crate::report::figures;

/// The display name of an arm.
pub(super) const fn name(arm: Arm) -> &'static str {
    match arm {
        Arm::Sequential => "sequential",
        Arm::Pool => "thread pool",
        Arm::Native => "native async",
    }
}

/// The name of an arm in the flag `--arm` and in the JSON.
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
    few: Scene<'a>,
    /// Many requests at once, and how long each takes.
    many: Option<(Scene<'a>, f64)>,
}

/// The arms that fetched one list.
struct Scene<'a> {
    /// The longest single response: a lower bound for every arm.
    ideal_s: f64,
    /// The time of sequential requests, measured or computed.
    sequential_s: f64,
    arms: Vec<(&'a Measured, &'a Run)>,
}

impl<'a> Report<'a> {
    /// `times`: those of the built-in server. Without it, the lower bound is the longest response of the sequential arm,
    /// whose requests do not compete for the network.
    ///
    /// # Errors
    ///
    /// An arm has no run.
    pub(super) fn new(
        flags: &'a Flags,
        few: &'a [Measured],
        many: &'a [Measured],
        times: Option<Times>,
    ) -> Result<Self, Error> {
        let few = medians(few)?;
        let seen =
            || few.first().map(|(_, run)| run.account.bars.iter().map(Bar::took_s).fold(0.0, f64::max));
        let ideal_s = times.map(|times| times.longest.as_secs_f64()).or_else(seen).unwrap_or(0.0);
        let sequential_s = few.first().map_or(0.0, |(_, run)| run.wall.as_secs_f64());
        let many = match times.filter(|_| !many.is_empty()) {
            Some(times) => {
                let each_s = times.many.as_secs_f64();
                let sequential_s = each_s * f64::from(flags.many);
                Some((Scene { ideal_s: each_s, sequential_s, arms: medians(many)? }, each_s))
            }
            None => None,
        };
        Ok(Self { flags, few: Scene { ideal_s, sequential_s, arms: few }, many })
    }

    /// True if every row of every arm succeeded.
    pub(super) fn all_ok(&self) -> bool {
        let many = self.many.iter().flat_map(|(many, _)| &many.arms);
        let mut runs = self.few.arms.iter().chain(many).flat_map(|(arm, _)| &arm.runs);
        runs.all(|run| run.account.bars.iter().all(|bar| bar.ok))
    }

    /// The report as text.
    pub(super) fn text(&self, width: usize, colour: bool) -> String {
        let mut out = String::new();
        let walls = self.few.arms.iter().map(|(_, run)| run.wall.as_secs_f64());
        let span_s = walls.fold(self.few.ideal_s, f64::max);
        let style = Style { width, colour, span_s: Some(span_s) };
        for (arm, run) in &self.few.arms {
            text::say(&mut out, width, &format!("{}, {:.3} s", self.title(arm.arm), run.wall.as_secs_f64()));
            out.push('\n');
            if self.flags.verbose {
                lines(&mut out, &run.account.bars);
            }
            out.push_str(&text::draw(&chart(run), &style));
            out.push('\n');
        }
        let runs = match self.flags.runs {
            1 => "one run each".to_owned(),
            runs => format!("medians of {runs} runs"),
        };
        let ideal_s = self.few.ideal_s;
        let told = format!(
            "ideal {ideal_s:.3} s, the longest answer; {runs}, from the start of a process to its end"
        );
        text::say(&mut out, width, &told);
        table(&mut out, &self.few, width);
        if let Some((many, each_s)) = &self.many {
            let count = self.flags.many;
            let pool_s = many.sequential_s / f64::from(self.flags.workers);
            let told = format!(
                "{count} requests at once, each answered after {each_s:.3} s: on a pool that may have a thread for each, and \
                 without (one after the other would take {:.1} s, {} threads {pool_s:.1} s)",
                many.sequential_s, self.flags.workers
            );
            out.push('\n');
            text::say(&mut out, width, &told);
            table(&mut out, many, width);
        }
        out.push_str(NEXT);
        out
    }

    fn title(&self, arm: Arm) -> String {
        match arm {
            Arm::Sequential => "sequential: one blocking request after the other".to_owned(),
            Arm::Pool => format!("thread pool: the same calls on {} threads", self.flags.workers),
            Arm::Native => "native async: no thread per request".to_owned(),
        }
    }

    /// The report as JSON.
    pub(super) fn json(&self) -> String {
        let mut report = json!({
            "ideal_s": self.few.ideal_s,
            "workers": self.flags.workers,
            "runs": self.flags.runs,
            "arms": self.few.json(),
        });
        if let (Some((many, each_s)), Some(report)) = (&self.many, report.as_object_mut()) {
            let told = json!({
                "requests": self.flags.many,
                "answer_s": each_s,
                "sequential_would_take_s": many.sequential_s,
                "arms": many.json(),
            });
            report.insert("many".to_owned(), told);
        }
        format!("{report:#}\n")
    }
}

/// The commands to try next.
const NEXT: &str = "
next:
  overlapped compare @urls.txt              the same with your own list
  overlapped @urls.txt -o results.ndjson    fetch it; --resume resumes
  overlapped waterfall results.ndjson       a picture of that run
  overlapped help                           what else there is
";

fn medians(measured: &[Measured]) -> Result<Vec<(&Measured, &Run)>, Error> {
    let none = || Error::Usage("no run was measured".to_owned());
    measured.iter().map(|arm| arm.median().map(|run| (arm, run)).ok_or_else(none)).collect()
}

impl Scene<'_> {
    /// `None` if a row of any arm failed, because the time of a failure is not comparable.
    fn speed_up(&self, run: &Run) -> Option<f64> {
        let mut runs = self.arms.iter().flat_map(|(arm, _)| &arm.runs);
        let all_ok = runs.all(|run| run.account.bars.iter().all(|bar| bar.ok));
        all_ok.then(|| self.sequential_s / run.wall.as_secs_f64())
    }

    /// One line per arm, its name first.
    fn figures(&self) -> impl Iterator<Item = [String; 7]> {
        self.arms.iter().map(|(arm, run)| {
            let wall = run.wall.as_secs_f64();
            let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let Account { cpu_s, threads, memory_bytes, .. } = &run.account;
            [
                name(arm.arm).to_owned(),
                format!("{wall:.3} s"),
                format!("{:+.1} ms", (wall - self.ideal_s) * 1e3),
                known(self.speed_up(run).map(|times| format!("{times:.2} ×"))),
                known(cpu_s.map(|s| format!("{:.1} ms", s * 1e3))),
                known(threads.map(|count| count.to_string())),
                known(memory_bytes.map(|bytes| figures::bytes(bytes as f64))),
            ]
        })
    }

    fn json(&self) -> Vec<serde_json::Value> {
        let arms = self.arms.iter().map(|(arm, run)| {
            let wall = run.wall.as_secs_f64();
            json!({
                "arm": flag(arm.arm),
                "wall_s": wall,
                "over_ideal_s": wall - self.ideal_s,
                "speed_up": self.speed_up(run),
                "cpu_s": run.account.cpu_s,
                "threads": run.account.threads,
                "memory_bytes": run.account.memory_bytes,
                "runs_wall_s": arm.runs.iter().map(|run| run.wall.as_secs_f64()).collect::<Vec<_>>(),
                "results": run.account.bars.iter().map(|bar| bar.result.as_str()).collect::<Vec<_>>(),
            })
        });
        arms.collect()
    }
}

const HEADINGS: [&str; 7] = ["", "wall", "over ideal", "speed-up", "CPU", "threads", "memory"];

/// A table with one line per arm. If it is too wide, transposed, with short names and without the derived figures.
fn table(out: &mut String, scene: &Scene<'_>, width: usize) {
    const WIDE: [usize; 7] = [12, 10, 12, 10, 11, 9, 10];
    const NARROW: [usize; 4] = [10; 4];
    let headings = std::iter::once(HEADINGS.map(str::to_owned));
    let lines: Vec<[String; 7]> = headings.chain(scene.figures()).collect();
    out.push('\n');
    if width >= WIDE.iter().sum() {
        lines.iter().for_each(|line| row(out, line, &WIDE));
        return;
    }
    let names = scene.arms.iter().map(|(arm, _)| flag(arm.arm).to_owned());
    row(out, &std::iter::once(String::new()).chain(names).collect::<Vec<_>>(), &NARROW);
    for (at, _) in HEADINGS.iter().enumerate().filter(|(_, name)| !matches!(**name, "" | "over ideal")) {
        let column: Vec<String> = lines.iter().filter_map(|line| line.get(at).cloned()).collect();
        row(out, &column, &NARROW);
    }
}

fn row(out: &mut String, cells: &[String], widths: &[usize]) {
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let _ = if i == 0 { write!(out, "{cell:<width$}") } else { write!(out, "{cell:>width$}") };
    }
    let line = out.trim_end().len();
    out.truncate(line);
    out.push('\n');
}

/// The bars of a run; time starts with its process.
fn chart(run: &Run) -> Chart {
    let mut chart = Chart::default();
    for bar in &run.account.bars {
        chart.add(Some(Bar { start_s: bar.start_s - run.started_s, ..bar.clone() }));
    }
    chart
}

/// One line for each start and end of a request, by time, then the responses in the order of the list.
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
