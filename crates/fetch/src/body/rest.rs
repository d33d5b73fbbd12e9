//! Where a finished response waits for its sink: in memory within the budget, otherwise on disk, including its head.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use overlapped::Executor;
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::{Headers, Hold, Record};

use super::drain::Drained;
use super::store::{Store, Stored};
use super::waiting;
use crate::memory::Share;

/// The resources that a record keeps until it is dropped.
struct Resting {
    #[expect(dead_code, reason = "kept for its drop")]
    share: Share,
    /// Its headers, if they are on disk.
    head: Option<Stored>,
}

/// Ends an attempt: its response keeps counting until the record is dropped, or is spooled if memory is short, but for the
/// `raw_bytes` of its head that it keeps as they came.
///
/// # Errors
///
/// The disk fails.
pub(crate) async fn rest(
    mut share: Share,
    headers: &mut Headers,
    raw_bytes: usize,
    drained: &mut Drained,
    store: &Arc<Store>,
    disk: &Executor,
) -> Result<Hold, Failure> {
    share.rest(headers.bytes() + raw_bytes + drained.held_bytes());
    share.end();
    if share.bytes() == 0 {
        return Ok(Hold::default());
    }
    let mut head = None;
    if share.is_short() {
        drained.move_to(store, disk).await?;
        let packed = Bytes::from(std::mem::take(headers).into_packed());
        head = store.begin().write(disk, packed).await?.end_plain();
        share.rest(raw_bytes);
    }
    Ok(Hold::new(Resting { share, head }))
}

/// Reads the headers of a record back into memory, for the sinks, or all of a record that waits on disk for an earlier one.
///
/// # Errors
///
/// The disk fails.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn restore(record: &mut Record) -> io::Result<()> {
    waiting::restore(record)?;
    let head = record.hold.get::<Resting>().and_then(|resting| resting.head.as_ref());
    if let Some(packed) = head.map(Stored::read).transpose()? {
        record.headers = Headers::from_packed(packed);
    }
    Ok(())
}
