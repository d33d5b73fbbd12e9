//! Responses that do not fit into memory: one unlinked file for all of a run, whose freed space is returned to the file
//! system.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use overlapped::Executor;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::spooled::{ReadAt, Seen, Spooled};

use super::spool::{RunId, flatten};
use crate::fs::{punch_hole, unnamed};

/// The file, created by the first write.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    run: RunId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    /// The offset of the next block.
    end: u64,
    /// Bytes in use. At zero the file is truncated.
    live: u64,
}

/// A part of the file. Its space is freed on drop.
#[derive(Debug)]
struct Extent {
    store: Arc<Store>,
    offset: u64,
    bytes: u64,
}

/// The blocks of one response, in order.
#[derive(Debug)]
pub(crate) struct Stored {
    file: Arc<File>,
    extents: Vec<Extent>,
}

/// A body that is being written.
pub(crate) struct Storing {
    store: Arc<Store>,
    stored: Option<Stored>,
    seen: Seen,
}

impl Store {
    pub(crate) fn new(folder: PathBuf, run: RunId) -> Arc<Self> {
        Arc::new(Self { folder, run, state: Mutex::default() })
    }

    /// Begins to write a body.
    pub(crate) fn begin(self: &Arc<Self>) -> Storing {
        Storing { store: Arc::clone(self), stored: None, seen: Seen::default() }
    }

    /// Appends a block.
    ///
    /// # Blocking
    ///
    /// On the disk, like all reads and writes here.
    fn append(self: &Arc<Self>, block: &[u8], stored: &mut Option<Stored>) -> io::Result<()> {
        let bytes = block.len() as u64;
        let (file, extent) = self.reserve(bytes).map_err(|error| self.at(&error))?;
        let written = file.write_all_at(block, extent.offset);
        stored.get_or_insert_with(|| Stored { file, extents: Vec::new() }).extents.push(extent);
        written.map_err(|error| self.at(&error))
    }

    fn reserve(self: &Arc<Self>, bytes: u64) -> io::Result<(Arc<File>, Extent)> {
        let mut state = self.lock();
        let file = match &state.file {
            Some(file) => Arc::clone(file),
            None => {
                let name = format!("{}bodies", self.run.prefix());
                let file = Arc::new(unnamed(&self.folder, &name)?);
                state.file = Some(Arc::clone(&file));
                file
            }
        };
        let offset = state.end;
        state.end += bytes.next_multiple_of(limits::STORE_BLOCK_BYTES);
        state.live += bytes;
        Ok((file, Extent { store: Arc::clone(self), offset, bytes }))
    }

    fn at(&self, error: &io::Error) -> io::Error {
        let folder = self.folder.display();
        io::Error::new(error.kind(), format!("a body that waits on disk, in {folder}: {error}"))
    }

    /// Frees space. A file system without hole punching is no error: the space is freed at the latest when nothing is in
    /// use.
    fn give_back(&self, offset: u64, bytes: u64) {
        let mut state = self.lock();
        state.live -= bytes;
        let file = state.file.as_ref().expect("an extent is a part of the file");
        if state.live == 0 {
            let _ = file.set_len(0);
            state.end = 0;
        } else {
            punch_hole(file, offset, bytes.next_multiple_of(limits::STORE_BLOCK_BYTES));
        }
    }

    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.store.give_back(self.offset, self.bytes);
    }
}

impl Storing {
    /// # Cancel safety
    ///
    /// Dropping the future frees what was written.
    pub(crate) async fn write(mut self, view: &Executor, block: Bytes) -> Result<Self, Failure> {
        let write = move || {
            self.seen.push(&block);
            self.store.append(&block, &mut self.stored).map(|()| self)
        };
        flatten(view.submit(write).await)
    }

    /// The body for a record; `None`: nothing was written.
    pub(crate) fn end(self) -> Option<Spooled> {
        let Self { stored, seen, .. } = self;
        stored.map(|stored| Spooled::new(&seen, stored))
    }

    /// The blocks alone, for data other than a body.
    pub(crate) fn end_plain(self) -> Option<Stored> {
        self.stored
    }
}

impl Stored {
    /// Reads all of it.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let bytes: u64 = self.extents.iter().map(|extent| extent.bytes).sum();
        let mut all = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        let mut rest = all.as_mut_slice();
        for extent in &self.extents {
            let (block, behind) = rest.split_at_mut(usize::try_from(extent.bytes).map_err(io::Error::other)?);
            self.file.read_exact_at(block, extent.offset)?;
            rest = behind;
        }
        Ok(all)
    }
}

impl ReadAt for Stored {
    fn read_at(&self, offset: u64, block: &mut [u8]) -> io::Result<usize> {
        let mut before = 0;
        for extent in &self.extents {
            let within = offset - before;
            if within < extent.bytes {
                let most = usize::try_from(extent.bytes - within).unwrap_or(usize::MAX).min(block.len());
                let block = block.get_mut(..most).expect("at most the length of the block");
                return self.file.read_at(block, extent.offset + within);
            }
            before += extent.bytes;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn stored(store: &Arc<Store>, blocks: &[&[u8]]) -> Spooled {
        let mut storing = store.begin();
        for block in blocks {
            storing.seen.push(block);
            store.append(block, &mut storing.stored).unwrap();
        }
        storing.end().unwrap()
    }

    fn read(body: &Spooled) -> Vec<u8> {
        let mut all = Vec::new();
        body.reader().read_to_end(&mut all).unwrap();
        all
    }

    fn figures(store: &Store) -> (u64, u64) {
        let state = store.lock();
        (state.live, state.end)
    }

    #[test]
    fn what_was_written_is_read_and_space_is_used_again() {
        let store = Store::new(std::env::temp_dir(), RunId::draw());
        let one = stored(&store, &[b"one", b"", b" and more"]);
        let two = stored(&store, &[&[7; 10_000]]);
        assert_eq!((read(&one), one.len()), (b"one and more".to_vec(), 12));
        assert!(one.is_text() && read(&two) == [7; 10_000]);
        let (_, end) = figures(&store);
        drop(one);
        assert_eq!(figures(&store), (10_000, end), "its neighbours stay where they are");
        assert!(read(&two) == [7; 10_000]);
        drop(two);
        assert_eq!(figures(&store), (0, 0));
        let file = store.lock().file.clone().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let store = Store::new("/nowhere/at/all".into(), RunId::draw());
        let error = store.append(b"x", &mut None).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
