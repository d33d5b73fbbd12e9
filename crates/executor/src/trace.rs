//! With the feature `tracing`: a span for each job, and events for the pool's threads. Without it: zero-sized no-ops. Never called while a
//! lock is held, because a subscriber is user code.

pub(crate) use imp::{Trace, thread_ended, thread_refused, thread_started};

#[cfg(all(feature = "tracing", not(any(loom, shuttle))))]
mod imp {
    use std::io;
    use std::time::Instant;

    use tracing::field::Empty;
    use tracing::{Span, debug, debug_span, warn};

    use crate::guard::guarded;
    use crate::origin::Origin;

    /// The span of one job, from its submission to the end of its closure.
    pub(crate) struct Trace(
        /// None if it is disabled. In a box, since most jobs of most programs have none.
        Option<Box<Span>>,
    );

    impl Trace {
        /// The job is about to be submitted. Its span is a child of the submitter's.
        pub(crate) fn new(origin: &Origin, view: impl FnOnce() -> String) -> Self {
            let label = origin.label.as_deref().map(String::as_str);
            let span = debug_span!(
                target: "overlapped",
                "job",
                label,
                view = view(),
                submitted_at = %origin.at,
                job = Empty,
                waited_us = Empty,
                ran_us = Empty,
                outcome = Empty,
            );
            Trace((!span.is_disabled()).then(|| Box::new(span)))
        }

        /// Runs the closure inside the span. `panicked` looks at its result.
        pub(crate) fn run<R>(
            mut self,
            job: u64,
            waited_nanos: u64,
            closure: impl FnOnce() -> R,
            panicked: impl FnOnce(&R) -> bool,
        ) -> R {
            let Some(span) = self.0.take() else { return closure() };
            guarded(|| {
                span.record("job", job);
                span.record("waited_us", waited_nanos / 1000);
            });
            let started = Instant::now();
            let entered = span.enter();
            let result = closure();
            let ran = started.elapsed();
            guarded(move || drop(entered));
            guarded(|| {
                span.record("ran_us", ran.as_micros() as u64);
                span.record("outcome", if panicked(&result) { "panicked" } else { "returned" });
            });
            guarded(move || drop(span));
            result
        }
    }

    impl Drop for Trace {
        fn drop(&mut self) {
            let Some(span) = self.0.take() else { return };
            guarded(move || {
                span.record("outcome", "not run");
                drop(span);
            });
        }
    }

    pub(crate) fn thread_started(name: impl FnOnce() -> String) {
        guarded(|| debug!(target: "overlapped", thread = name(), "a thread has started"));
    }

    pub(crate) fn thread_ended(name: impl FnOnce() -> String) {
        guarded(|| debug!(target: "overlapped", thread = name(), "a thread has had its last job"));
    }

    pub(crate) fn thread_refused(error: &io::Error) {
        guarded(|| warn!(target: "overlapped", %error, "a thread was refused; it is asked for again"));
    }
}

#[cfg(not(all(feature = "tracing", not(any(loom, shuttle)))))]
mod imp {
    use std::io;

    use crate::origin::Origin;

    pub(crate) struct Trace;

    impl Trace {
        pub(crate) fn new(_: &Origin, _: impl FnOnce() -> String) -> Self {
            Trace
        }

        pub(crate) fn run<R>(
            self,
            _: u64,
            _: u64,
            closure: impl FnOnce() -> R,
            _: impl FnOnce(&R) -> bool,
        ) -> R {
            closure()
        }
    }

    pub(crate) fn thread_started(_: impl FnOnce() -> String) {}

    pub(crate) fn thread_ended(_: impl FnOnce() -> String) {}

    pub(crate) fn thread_refused(_: &io::Error) {}
}
