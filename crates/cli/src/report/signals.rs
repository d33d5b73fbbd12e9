//! The signals that end a run: the first one ends it in order, a later one at once.
//!
//! A thread of its own takes them and does nothing else, so that output which blocks delays no signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use overlapped_proto::limits;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

/// The first signal that came.
#[derive(Clone, Debug)]
pub(super) struct First(Arc<AtomicU8>);

impl First {
    /// Its number; `None`: none came yet.
    pub(super) fn number(&self) -> Option<u8> {
        Some(self.0.load(Ordering::SeqCst)).filter(|number| *number > 0)
    }
}

/// What a signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The run ends in order.
    Stop,
    /// Nothing: it belongs to the first one.
    Same,
    /// The program ends at once.
    Quit,
}

/// `timeout` and some shells signal a process and then its group, which reaches the process twice within microseconds:
/// only what comes later was sent because the first signal had not been enough.
fn effect(first: Option<Instant>, now: Instant) -> Effect {
    match first {
        None => Effect::Stop,
        Some(first) if now.duration_since(first) < Duration::from(limits::SIGNALS_APART) => Effect::Same,
        Some(_) => Effect::Quit,
    }
}

/// Unblocks the signals. A parent that blocks them, as for `sigwait`, passes its mask on to its children, which would then
/// never receive one. To have a child ignore a signal, a parent sets it to be ignored (`SIG_IGN`), which this respects. To be
/// called before another thread is started, because threads inherit the mask too.
pub(crate) fn unblock() {
    let signals: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    // It fails only for an invalid argument.
    let _ = signals.thread_unblock();
}

/// A write beyond the largest size of a file (`ulimit -f`) would end the program without a word. With a handler it is an error, which
/// is told like that of a full disk.
pub(crate) fn survive_file_limit() {
    let _ = flag::register(Signal::SIGXFSZ as i32, Arc::default());
}

/// Catches the signals from now on, until the program ends.
pub(super) fn catch() -> First {
    let first = First(Arc::new(AtomicU8::new(0)));
    let ignored = ignored();
    // A signal that was ignored at the start stays so: `nohup` and background jobs of a script rely on it.
    let wanted = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let wanted: Vec<_> = wanted.collect();
    // A signal that cannot be caught ends the program.
    let Ok(signals) = Signals::new(&wanted) else { return first };
    let seen = first.clone();
    let thread = thread::Builder::new().name("signals".into()).spawn(move || take(signals, &seen));
    if thread.is_err() {
        for signal in wanted {
            let _ =
                flag::register_conditional_shutdown(signal, signal + 128, Arc::new(AtomicBool::new(true)));
        }
    }
    first
}

fn take(mut signals: Signals, seen: &First) {
    let mut first = None;
    for signal in signals.forever() {
        let now = Instant::now();
        match effect(first, now) {
            Effect::Stop => {
                first = Some(now);
                seen.0.store(u8::try_from(signal).expect("a signal below 64"), Ordering::SeqCst);
            }
            Effect::Same => {}
            Effect::Quit => low_level::exit(signal + 128),
        }
    }
}

/// The signals that were ignored when the program started, a bit each, from that of signal 1 on; none where the system
/// does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_signals_at_once_are_one() {
        let first = Instant::now();
        let check = |ms, expected| {
            assert_eq!(effect(Some(first), first + Duration::from_millis(ms)), expected, "{ms} ms");
        };
        assert_eq!(effect(None, first), Effect::Stop);
        check(0, Effect::Same);
        check(99, Effect::Same);
        check(100, Effect::Quit);
        // Twice by hand, quickly.
        check(250, Effect::Quit);
        check(60_000, Effect::Quit);
    }
}
