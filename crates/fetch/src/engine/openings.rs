//! Connections that are being opened and may carry several requests: other requests of the same key wait for them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use overlapped_proto::origin::ConnKey;

/// The connections that a shard or a client is opening. There are no more than requests in flight.
#[derive(Default)]
pub(crate) struct Openings(Mutex<HashMap<ConnKey, Arc<Waiting>>>);

/// The requests that wait for one of them.
#[derive(Default)]
struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    /// How it has ended: true if the connection takes further requests.
    over: Option<bool>,
    wakers: Vec<Waker>,
}

/// What a request that finds no connection does.
pub(crate) enum Role<'a> {
    /// It opens one. Those that wait go on when this is dropped, however it has ended.
    Opens(Opening<'a>),
    /// It waits for one.
    Waits(Wait),
}

/// A connection that is being opened.
pub(crate) struct Opening<'a> {
    openings: &'a Openings,
    key: ConnKey,
    is_shared: bool,
}

/// The wait for a connection that another request opens.
pub(crate) struct Wait(Arc<Waiting>);

/// Nothing panics under these locks, so what a poisoned one guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Openings {
    /// Joins the opening of a connection for `key`, or begins it.
    pub(crate) fn join(&self, key: &ConnKey) -> Role<'_> {
        let mut openings = lock(&self.0);
        if let Some(waiting) = openings.get(key) {
            return Role::Waits(Wait(Arc::clone(waiting)));
        }
        openings.insert(key.clone(), Arc::default());
        Role::Opens(Opening { openings: self, key: key.clone(), is_shared: false })
    }
}

impl Wait {
    /// Ready once the connection is open or has failed: true if it takes further requests, and may have room.
    pub(crate) async fn over(self) -> bool {
        poll_fn(|cx| {
            let mut state = lock(&self.0.0);
            if let Some(is_shared) = state.over {
                return Poll::Ready(is_shared);
            }
            // A wait that was dropped leaves its waker, whose wake-up is spurious: there is at most one for each request.
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Opening<'_> {
    /// The connection is open and takes further requests.
    pub(crate) fn share(&mut self) {
        self.is_shared = true;
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let waiting = lock(&self.openings.0).remove(&self.key).expect("it is removed once, here");
        let wakers = {
            let mut state = lock(&waiting.0);
            state.over = Some(self.is_shared);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use overlapped_proto::origin::Route;
    use url::Url;

    use super::*;

    fn key(url: &str) -> ConnKey {
        ConnKey::new(&Url::parse(url).unwrap(), Route::default()).unwrap()
    }

    fn wait(role: Role<'_>) -> Wait {
        match role {
            Role::Waits(wait) => wait,
            Role::Opens(_) => panic!("a connection is being opened already"),
        }
    }

    #[test]
    fn one_opens_and_the_others_wait_for_its_end() {
        let openings = Openings::default();
        let Role::Opens(mut opening) = openings.join(&key("https://a.test/")) else {
            panic!("the first opens")
        };
        assert!(matches!(openings.join(&key("https://b.test/")), Role::Opens(_)));
        let first = wait(openings.join(&key("https://a.test/x")));
        let mut second = Box::pin(wait(openings.join(&key("https://a.test/"))).over());
        assert_eq!(second.as_mut().now_or_never(), None);
        opening.share();
        drop(opening);
        assert_eq!((first.over().now_or_never(), second.now_or_never()), (Some(true), Some(true)));

        let Role::Opens(opening) = openings.join(&key("https://a.test/")) else { panic!("the first opens") };
        let third = wait(openings.join(&key("https://a.test/")));
        drop(opening);
        assert_eq!(third.over().now_or_never(), Some(false), "it has failed");
        assert!(lock(&openings.0).is_empty());
    }
}
