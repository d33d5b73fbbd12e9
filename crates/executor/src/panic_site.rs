//! The location of a panic. Only the process's panic hook receives it, so a hook stores it in a thread-local for the code that catches the
//! panic. The previous hook is still called.

use std::any::Any;
use std::cell::RefCell;
use std::panic;
use std::sync::Once;

std::thread_local! {
    /// The last panic of this thread: message and location.
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Installs the hook, once per process. It records locations until the program sets another hook.
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

/// The location of the panic that was just caught, if its message is that of the last panic of this thread: a resumed panic does not call
/// the hook, so it has no location.
pub(crate) fn take(payload: &(dyn Any + Send)) -> Option<String> {
    let (last, place) = LAST.try_with(|last| last.borrow_mut().take()).ok()??;
    (last == text(payload).unwrap_or_default()).then_some(place)
}

/// The panic message, if the payload is a string.
pub(crate) fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
