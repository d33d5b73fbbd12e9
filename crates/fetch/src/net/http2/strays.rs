//! Frames of responses that nobody reads: how much of them may come.
//!
//! A response that is not read to its end is reset, and what the server has sent by then still arrives. `h2` passes over it and
//! gives its part of the window of the connection back, so a server that goes on for ever would go on being received. One that
//! keeps to the standard cannot: no window is given to the stream any more (RFC 9113, section 5.1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_proto::limits;

/// The streams of a connection that are read, and what may come for others.
#[derive(Debug)]
pub(super) struct Strays {
    state: Mutex<State>,
    /// What the server may have sent of one response when it learns of its reset, in bytes: a window, and a head or trailers.
    each: u64,
}

#[derive(Debug)]
struct State {
    /// The heads that have come on each stream that is read, interim ones and trailers among them.
    heads: HashMap<u32, u32>,
    /// Bytes that may still come without a reader.
    allowance: u64,
    /// More have come.
    is_exceeded: bool,
}

/// The most heads of a response that is not refused.
const HEADS_MAX: u32 = limits::INTERIM_RESPONSES_MAX + 2;

impl Strays {
    /// For streams with a window of `window` bytes, and heads of at most `head` bytes.
    pub(super) fn new(window: u32, head: u32) -> Self {
        // Until the server has read of the window, it takes it for the one of the standard, which is that of a connection too.
        let window = window.max(limits::H2_CONNECTION_WINDOW_MIN);
        let each = u64::from(window) + u64::from(head);
        Self { state: Mutex::new(State { heads: HashMap::new(), allowance: each, is_exceeded: false }), each }
    }

    /// Begins a stream by `open`, which returns its number. No frame of it is taken for a stray one meanwhile.
    pub(super) fn read<T, E>(
        self: &Arc<Self>,
        open: impl FnOnce() -> Result<(T, u32), E>,
    ) -> Result<(T, Reader), E> {
        let mut state = self.lock();
        let (opened, stream) = open()?;
        state.heads.insert(stream, 0);
        Ok((opened, Reader { strays: Arc::clone(self), stream, has_ended: false }))
    }

    /// Counts a frame of DATA or CONTINUATION. False: more has come than there can be.
    pub(super) fn take_data(&self, stream: u32, payload: usize) -> bool {
        let mut state = self.lock();
        state.heads.contains_key(&stream) || state.spend(payload)
    }

    /// Counts a frame of HEADERS. False: more has come than there can be.
    pub(super) fn take_head(&self, stream: u32, payload: usize) -> bool {
        let mut state = self.lock();
        if let Some(heads) = state.heads.get_mut(&stream) {
            *heads = heads.saturating_add(1);
            if *heads <= HEADS_MAX {
                return true;
            }
        }
        state.spend(payload)
    }

    /// True once more has come than there can be.
    pub(super) fn are_exceeded(&self) -> bool {
        self.lock().is_exceeded
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn spend(&mut self, payload: usize) -> bool {
        let cost = payload.max(limits::H2_STRAY_FRAME_BYTES_MIN) as u64;
        match self.allowance.checked_sub(cost) {
            Some(left) => self.allowance = left,
            None => self.is_exceeded = true,
        }
        !self.is_exceeded
    }
}

/// The reader of a stream, from its request on. Dropped before the end of the response, it leaves the stream reset.
#[derive(Debug)]
pub(super) struct Reader {
    strays: Arc<Strays>,
    stream: u32,
    has_ended: bool,
}

impl Reader {
    /// The response was read to its end: nothing more may come.
    pub(super) fn ended(&mut self) {
        self.has_ended = true;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Strays { each, .. } = *self.strays;
        let mut state = self.strays.lock();
        state.heads.remove(&self.stream);
        if !self.has_ended {
            let most = each * limits::H2_RESETS_REMEMBERED as u64;
            state.allowance = (state.allowance + each).min(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: usize = 65_535;
    const HEAD: usize = 16 << 10;

    fn strays() -> Arc<Strays> {
        Arc::new(Strays::new(u32::try_from(WINDOW).unwrap(), u32::try_from(HEAD).unwrap()))
    }

    fn read(strays: &Arc<Strays>, stream: u32) -> Reader {
        strays.read(|| Ok::<_, ()>(((), stream))).unwrap().1
    }

    /// Bytes of DATA that are taken for a stream, in frames of this size.
    fn taken(strays: &Strays, stream: u32, frame: usize) -> usize {
        (0..1 << 20).take_while(|_| strays.take_data(stream, frame)).count() * frame
    }

    #[test]
    fn a_stream_that_is_read_may_have_any_data_and_some_heads() {
        let strays = strays();
        let _reader = read(&strays, 1);
        assert_eq!(taken(&strays, 1, 16_000), 16_000 << 20);
        let heads = (0..100_000).take_while(|_| strays.take_head(1, 5)).count();
        let strange = (WINDOW + HEAD) / limits::H2_STRAY_FRAME_BYTES_MIN;
        assert_eq!(heads, HEADS_MAX as usize + strange);
    }

    #[test]
    fn a_reset_allows_for_what_may_be_in_transit_and_an_end_for_nothing() {
        let check = |resets: u32, ends: u32, expected: usize| {
            let strays = strays();
            for stream in 0..resets + ends {
                let mut reader = read(&strays, stream);
                if stream >= resets {
                    reader.ended();
                }
            }
            assert_eq!(taken(&strays, 1, 1_000), expected / 1_000 * 1_000, "{resets} resets, {ends} ends");
            assert!(strays.are_exceeded());
        };
        let each = WINDOW + HEAD;
        check(0, 0, each);
        check(0, 9, each);
        check(1, 0, 2 * each);
        check(3, 1, 4 * each);
        check(1_000, 0, limits::H2_RESETS_REMEMBERED * each);
    }
}
