//! An iterator as a stream: a job pulls items until there are enough in stock.
//!
//! Must never keep a thread pulling for a stream that nobody reads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::{Done, Unblock};
use crate::guard::wake_guarded;
use crate::sync::Mutex;

struct Items<I>(Mutex<Stock<I>>);

struct Stock<I> {
    items: VecDeque<I>,
    over: bool,
    waker: Option<Waker>,
}

impl<I> Items<I> {
    /// Adds an item, or the end. Says whether there is room for more.
    fn put(&self, item: Option<I>, room: usize) -> bool {
        let (waker, more) = {
            let mut stock = self.0.lock();
            stock.over = item.is_none();
            stock.items.extend(item);
            (stock.waker.take(), !stock.over && stock.items.len() < room)
        };
        wake_guarded(waker);
        more
    }
}

/// A panic of the iterator ends the stream.
impl<T> Stream for Unblock<T>
where
    T: Iterator + Send + 'static,
    T::Item: Send + 'static,
{
    type Item = T::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Item>> {
        let this = self.get_mut();
        let room = (this.block_bytes / 1000).max(1);
        loop {
            let items = this.items.get_or_insert_with(|| {
                let stock = Stock { items: VecDeque::new(), over: false, waker: None };
                Box::new(Arc::new(Items::<T::Item>(Mutex::new(stock))))
            });
            let items = items.downcast_ref::<Arc<Items<T::Item>>>().expect("an object has one kind of item");
            let (item, over, low) = {
                let mut stock = items.0.lock();
                let item = stock.items.pop_front();
                if item.is_none() && !stock.over {
                    stock.waker = Some(cx.waker().clone());
                }
                (item, stock.over, stock.items.len() <= room / 2)
            };
            let items = Arc::clone(items);
            if this.job.is_some() && (low || item.is_none()) {
                // Takes note that the job has ended, if it has. One that has not wakes through the stock.
                if let Poll::Ready(Err(_)) = this.poll_job(cx) {
                    this.broken = true;
                }
            }
            if this.job.is_none() && low && !over && !this.broken {
                this.start(move |object, _| {
                    while items.put(object.next(), room) {}
                    Done::Used
                });
                if item.is_none() {
                    continue;
                }
            }
            return match item {
                Some(item) => Poll::Ready(Some(item)),
                None if over || this.broken => Poll::Ready(None),
                None => Poll::Pending,
            };
        }
    }
}
