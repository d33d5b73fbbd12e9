//! An iterator as a stream: a job pulls items until a bounded number is buffered, and ends. While the stream is not read, no thread is
//! held. When the queue is full, the stream waits for a place.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::{Done, Operation, Stage, Unblock};
use crate::error::{JobError, Rejected};
use crate::limits;
use crate::sync::Mutex;

struct Items<I>(Mutex<Stock<I>>);

struct Stock<I> {
    items: VecDeque<I>,
    over: bool,
}

impl<I> Items<I> {
    /// Adds an item, or the end. Returns whether there is room for more.
    fn put(&self, item: Option<I>, room: usize) -> bool {
        let mut stock = self.0.lock();
        stock.over = item.is_none();
        stock.items.extend(item);
        !stock.over && stock.items.len() < room
    }

    /// The next item; and how the stock is: over, or low.
    fn take(&self, room: usize) -> (Option<I>, bool, bool) {
        let mut stock = self.0.lock();
        let item = stock.items.pop_front();
        (item, stock.over, stock.items.len() <= room / 2)
    }
}

impl<T> Unblock<T>
where
    T: Iterator + Send + 'static,
    T::Item: Send + 'static,
{
    /// Takes the items that were pulled from the iterator and not given, for use before [`into_inner`](Unblock::into_inner).
    ///
    /// # Cancel safety
    ///
    /// Nothing is taken if the future is dropped.
    pub async fn take_unread_items(&mut self) -> Vec<T::Item> {
        if let Err(error) = std::future::poll_fn(|cx| self.poll_rest(cx)).await {
            self.failed.get_or_insert(error);
        }
        if self.loan.executor().is_forked() {
            return Vec::new();
        }
        let items = std::mem::take(&mut self.stock().0.lock().items);
        items.into()
    }

    fn stock(&mut self) -> Arc<Items<T::Item>> {
        let items = self.items.get_or_insert_with(|| {
            let stock = Stock { items: VecDeque::new(), over: false };
            Box::new(Arc::new(Items::<T::Item>(Mutex::new(stock))))
        });
        Arc::clone(items.downcast_ref().expect("an object has one kind of item"))
    }

    /// Starts to pull, when there is a place in the queue. An error ends the stream.
    fn poll_pull(
        &mut self,
        cx: &mut Context<'_>,
        items: &Arc<Items<T::Item>>,
        room: usize,
    ) -> Poll<io::Result<()>> {
        let executor = self.loan.executor();
        let reserve = self.reserve.get_or_insert_with(|| executor.reserve());
        let permit = match Pin::new(reserve).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(permit) => permit,
        };
        self.reserve = None;
        let permit = permit.map_err(JobError::Rejected)?;
        let (items, stock) = (Arc::clone(items), self.reading.go());
        self.stage = Stage::Lent(Operation::Pull);
        self.loan.start_in(permit, move |object| {
            let object = object.as_mut().expect("the object was on the desk");
            while !stock.is_stopped() {
                let more = items.put(object.next(), room);
                stock.listener.wake();
                if !more {
                    break;
                }
            }
            Done::Used
        });
        Poll::Ready(Ok(()))
    }
}

/// When the queue is full, the stream waits for a place. A panic of the iterator and a shutdown of the executor end the stream, and
/// [`take_error`](Unblock::take_error) returns the reason.
impl<T> Stream for Unblock<T>
where
    T: Iterator + Send + 'static,
    T::Item: Send + 'static,
{
    type Item = T::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Item>> {
        let this = self.get_mut();
        if this.loan.executor().is_forked() {
            this.failed = Some(JobError::Rejected(Rejected::Forked).into());
            return Poll::Ready(None);
        }
        let room = (this.block_bytes / limits::ITEM_BYTES).max(1);
        let items = this.stock();
        loop {
            let (mut item, mut over, mut low) = items.take(room);
            if item.is_none() && !over {
                this.reading.listen(cx);
                (item, over, low) = items.take(room);
                if item.is_some() {
                    this.reading.unlisten();
                }
            }
            let mut rest = Poll::Pending;
            if low || item.is_none() {
                // Takes note that the job has ended, if it has. One that has not wakes through the stock.
                rest = this.poll_job(cx);
                if matches!(rest, Poll::Ready(Ok(()))) && !over {
                    rest = this.poll_pull(cx, &items, room);
                    if matches!(rest, Poll::Ready(Ok(()))) && item.is_none() {
                        continue;
                    }
                }
            }
            if let Poll::Ready(Err(error)) = rest {
                this.failed.get_or_insert(error);
                return Poll::Ready(item);
            }
            return match item {
                Some(item) => Poll::Ready(Some(item)),
                None if over => Poll::Ready(None),
                None => Poll::Pending,
            };
        }
    }
}
