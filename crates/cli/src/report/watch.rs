//! Watches a run from a thread of its own: shows its progress, and stops it in order after a signal.
//!
//! It polls the counters of the run and blocks nothing of it.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use overlapped_fetch::Control;
use overlapped_proto::limits;
use overlapped_proto::sanitize::escape;
use overlapped_proto::schedule::Held;

use super::line::Line;
use super::signals::{self, First};
use crate::flags::show::Meter;
use crate::terminal;

/// The interval of polling, which is also the longest delay of a signal.
const LOOK: Duration = Duration::from_millis(100);
/// How long after the first signal the program ends whatever the run does: a little more than the run takes.
const STOP: Duration = Duration::from_millis(limits::DRAIN_GRACE.0 / 1_000_000 + 500);
/// The interval of plain lines.
const PLAIN: Duration = Duration::from_secs(30);

/// Columns of the bar, with the blank behind it.
const BAR: usize = 13;
/// The narrowest terminal that has room for it.
const BAR_FROM: usize = 60;

/// A watch over a run.
pub(crate) struct Watch {
    /// Dropped to end it.
    end: mpsc::Sender<()>,
    thread: Option<JoinHandle<Seen>>,
}

/// The result of watching a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The signal that ended it.
    pub(crate) signal: Option<u8>,
    /// The limit that held it back for most of the time.
    pub(crate) held: Option<Held>,
}

impl Watch {
    /// Starts to watch. If no thread can be started, no progress is shown, and only a second signal ends the run.
    pub(crate) fn start(control: Control, meter: Meter) -> Self {
        let (end, ended) = mpsc::channel();
        let first = signals::catch();
        let thread =
            thread::Builder::new().name("watch".into()).spawn(move || watch(&control, meter, &first, &ended));
        Self { end, thread: thread.ok() }
    }

    /// Ends the watch; clears what it shows.
    pub(crate) fn end(self) -> Seen {
        drop(self.end);
        self.thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

fn watch(control: &Control, meter: Meter, first: &First, ended: &mpsc::Receiver<()>) -> Seen {
    let mut shown = Shown::new(meter);
    let mut held = HeldCount::default();
    let mut stopped: Option<Instant> = None;
    while ended.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
        match (first.number(), stopped) {
            (None, _) => {}
            (Some(_), None) => {
                stopped = Some(Instant::now());
                control.stop();
                shown.say("overlapped: stopping; what is in flight may end (once more to quit at once)");
            }
            // A read of a list without further input, as on a terminal, may block for ever. By now whatever was
            // finished is written.
            (Some(number), Some(at)) if at.elapsed() > STOP => {
                shown.clear();
                std::process::exit(i32::from(number) + 128);
            }
            (Some(_), Some(_)) => {}
        }
        let progress = control.progress();
        held.add(progress.held);
        shown.update(&progress);
    }
    shown.clear();
    Seen { signal: first.number(), held: held.most() }
}

/// How the progress is shown.
enum Shown {
    /// With how many columns it was laid out.
    Bar(ProgressBar, Line, usize),
    Lines(Instant, Line),
    Nothing,
}

impl Shown {
    fn new(meter: Meter) -> Self {
        match meter {
            Meter::Nothing => Self::Nothing,
            Meter::Lines => Self::Lines(Instant::now(), Line::default()),
            Meter::Bar => {
                let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr_with_hz(10));
                Self::Bar(bar.with_style(style(None)), Line::default(), 0)
            }
        }
    }

    fn update(&mut self, progress: &overlapped_fetch::Progress) {
        match self {
            Self::Nothing => {}
            Self::Bar(bar, line, laid_out) => {
                let width = terminal::stderr_width();
                let share = line.share(progress);
                // The share that is done is unknown for a list of unknown length. On a narrow terminal the text takes
                // the place of the bar.
                let room = share.filter(|_| width >= BAR_FROM).map_or(0, |_| BAR);
                if *laid_out != width + room {
                    *laid_out = width + room;
                    bar.set_style(style((room > 0).then_some(room)));
                }
                // The last column stays free: some terminals go on to the next line behind it.
                let text = line.text(progress, (width - 1).saturating_sub(room));
                bar.set_position((share.unwrap_or(0.0) * 1_000.0) as u64);
                bar.set_message(escape(&text).into_owned());
            }
            Self::Lines(last, line) => {
                if last.elapsed() >= PLAIN {
                    *last = Instant::now();
                    terminal::say(format_args!("{}", line.text(progress, usize::MAX)));
                }
            }
        }
    }

    fn say(&self, text: &str) {
        match self {
            Self::Bar(bar, ..) => bar.suspend(|| terminal::say(format_args!("{text}"))),
            Self::Lines(..) | Self::Nothing => terminal::say(format_args!("{text}")),
        }
    }

    fn clear(&self) {
        if let Self::Bar(bar, ..) = self {
            bar.finish_and_clear();
        }
    }
}

/// A line, with a bar before it or without.
fn style(bar: Option<usize>) -> ProgressStyle {
    let template = if bar.is_some() { "{bar:12} {wide_msg}" } else { "{wide_msg}" };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("█▉▊▋▌▍▎▏ ")
}

/// Which limit held the run back, and how often that was seen.
#[derive(Default)]
struct HeldCount {
    looks: u32,
    counts: Vec<(Held, u32)>,
}

impl HeldCount {
    fn add(&mut self, held: Held) {
        self.looks += 1;
        match self.counts.iter_mut().find(|(known, _)| *known == held) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((held, 1)),
        }
    }

    /// The limit of more than half of the looks, if there is one.
    fn most(&self) -> Option<Held> {
        let most = self.counts.iter().find(|(_, count)| *count * 2 > self.looks)?;
        (most.0 != Held::Nothing).then_some(most.0)
    }
}
