//! Where a panic happened: only the process's panic hook is told, so it notes the place for whoever catches the panic.
//!
//! Must never take the place of the hook that was there, which still runs.

use std::any::Any;
use std::cell::RefCell;
use std::panic;
use std::sync::Once;

std::thread_local! {
    /// The last panic of this thread: what was said, and where.
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Notes places from now on, for as long as the program sets no other hook.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    if std::thread::panicking() {
        return;
    }
    WATCHED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some(place) = info.location() {
                let said = text(info.payload()).unwrap_or_default().to_owned();
                let _ = LAST.try_with(|last| *last.borrow_mut() = Some((said, place.to_string())));
            }
            before(info);
        }));
    });
}

/// Where the panic that was caught just now, and said this, happened. One that was resumed has no place of its own.
pub(crate) fn take(payload: &(dyn Any + Send)) -> Option<String> {
    let (last, place) = LAST.try_with(|last| last.borrow_mut().take()).ok()??;
    (last == text(payload).unwrap_or_default()).then_some(place)
}

/// What was said at a panic, if it was text.
pub(crate) fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
