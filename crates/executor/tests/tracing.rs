//! What a subscriber of `tracing` sees of jobs and threads.

#![cfg(all(feature = "tracing", not(any(loom, shuttle, asan))))]
// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use overlapped::{Executor, JobState, block_on};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// All that it was told, as lines, and the fields of each span.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    spans: HashMap<u64, Fields>,
    current: HashMap<std::thread::ThreadId, Vec<u64>>,
    last: u64,
}

#[derive(Clone, Default, Debug)]
struct Fields(HashMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Seen {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        matches!(metadata.target(), "overlapped" | "test")
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut state = self.0.lock().unwrap();
        let parent = state.current.get(&std::thread::current().id()).and_then(|stack| stack.last().copied());
        fields.0.extend(parent.map(|parent| ("parent", parent.to_string())));
        state.last += 1;
        let id = state.last;
        state.spans.insert(id, fields);
        state.lines.push(format!("new {} {id}", attributes.metadata().name()));
        Id::from_u64(id)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(self.0.lock().unwrap().spans.get_mut(&span.into_u64()).unwrap());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut state = self.0.lock().unwrap();
        let span = state.current.get(&std::thread::current().id()).and_then(|stack| stack.last().copied());
        let (message, thread) = (fields.0.get("message"), fields.0.get("thread"));
        let what =
            [message, thread, fields.0.get("error")].into_iter().flatten().cloned().collect::<Vec<_>>();
        state.lines.push(format!("{} in {}", what.join(": "), span.unwrap_or(0)));
    }
    fn enter(&self, span: &Id) {
        let mut state = self.0.lock().unwrap();
        state.current.entry(std::thread::current().id()).or_default().push(span.into_u64());
        state.lines.push(format!("enter {}", span.into_u64()));
    }
    fn exit(&self, span: &Id) {
        let mut state = self.0.lock().unwrap();
        state.current.get_mut(&std::thread::current().id()).unwrap().pop();
        state.lines.push(format!("exit {}", span.into_u64()));
    }
    fn try_close(&self, span: Id) -> bool {
        self.0.lock().unwrap().lines.push(format!("close {}", span.into_u64()));
        true
    }
}

impl Seen {
    fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().lines)
    }
    fn span(&self, field: &str, value: &str) -> (u64, Fields) {
        let state = self.0.lock().unwrap();
        let found = state.spans.iter().find(|(_, fields)| fields.0.get(field).is_some_and(|is| is == value));
        let (id, fields) = found.unwrap_or_else(|| panic!("no span with {field} = {value}"));
        (*id, fields.clone())
    }
}

/// One test, because the subscriber that workers have is the process's.
#[test]
fn jobs_are_spans_and_threads_are_events() {
    let seen = Seen::default();
    tracing::subscriber::set_global_default(seen.clone()).unwrap();

    let executor = Executor::builder().max_workers(1).thread_name("traced").build().unwrap();
    let view = executor.limited("disk", 1).labelled("nightly backup");

    // A child of the submitter's span; what is said inside is said in the job's span; it is closed before the result is seen.
    let outer = tracing::info_span!(target: "test", "outer");
    let line = line!() + 1;
    let job = outer.in_scope(|| view.submit(|| tracing::info!(target: "test", "inside")));
    let number = job.id();
    job.wait().unwrap();
    let (id, fields) = seen.span("label", "nightly backup");
    let is = |field: &str| fields.0.get(field).map_or("", String::as_str);
    assert_eq!((is("view"), is("outcome"), is("job")), ("disk", "returned", number.to_string().as_str()));
    assert_eq!(is("parent"), outer.id().unwrap().into_u64().to_string());
    assert!(is("submitted_at").starts_with(&format!("{}:{line}:", file!())), "{fields:?}");
    assert!(is("waited_us").parse::<u64>().is_ok() && is("ran_us").parse::<u64>().is_ok(), "{fields:?}");
    let lines = seen.take_lines();
    let at = |line: &str| {
        lines.iter().position(|other| other == line).unwrap_or_else(|| panic!("no {line:?} in {lines:#?}"))
    };
    let order = [
        at(&format!("new job {id}")),
        at(&format!("enter {id}")),
        at(&format!("inside in {id}")),
        at(&format!("exit {id}")),
        at(&format!("close {id}")),
    ];
    assert!(order.is_sorted(), "{lines:#?}");
    at("a thread has started: traced-0 in 0");

    // One that panics, and one that never runs: cancelled, and not let in.
    let panics = executor.labelled("panics").submit(|| panic!("on purpose"));
    assert!(block_on(panics).is_err());
    assert_eq!(seen.span("label", "panics").1.0["outcome"], "panicked");
    let (go, gate) = mpsc::channel::<()>();
    let busy = executor.submit(move || gate.recv().is_ok());
    while busy.state() != JobState::Running {
        std::thread::yield_now();
    }
    drop(executor.labelled("cancelled").submit(|| ()));
    let (id, fields) = seen.span("label", "cancelled");
    assert_eq!(fields.0["outcome"], "not run");
    assert!(seen.take_lines().contains(&format!("close {id}")));
    go.send(()).unwrap();
    busy.wait().unwrap();
    let report = executor.shutdown_blocking(overlapped::Shutdown::Drain, None);
    assert!(report.is_complete());
    assert!(executor.labelled("late").try_submit(|| ()).is_err());
    assert_eq!(seen.span("label", "late").1.0["outcome"], "not run");
    assert!(seen.take_lines().contains(&"a thread has had its last job: traced-0 in 0".to_owned()));

    // A thread that the system refuses.
    let refused = |_, _| Err(io::Error::other("no more threads"));
    let executor = Executor::builder().spawn_thread(refused).build().unwrap();
    assert!(executor.submit(|| ()).wait().is_err());
    let lines = seen.take_lines();
    let refusal = "a thread was refused; it is asked for again: no more threads in 0";
    assert!(lines.iter().any(|line| line == refusal), "{lines:#?}");
    let _ = executor.shutdown_blocking(overlapped::Shutdown::CancelAll, Some(Duration::ZERO));
}
