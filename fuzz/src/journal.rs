//! One file of a run: what is read of it is what was written, up to where it is cut or damaged, and nothing else.

use std::collections::BTreeSet;

use overlapped_proto::job::Row;
use overlapped_proto::journal::{
    Checkpoint, Frame, Group, Head, Listed, Mark, Named, SinkCheckpoints, SinkId, State, Waiting, read,
};

use crate::take::Take;

/// Reads the bytes as a file of a run, and as one that they describe.
pub fn journal(data: &[u8]) {
    any(data);
    any(&[HEAD.encode(), data.to_vec()].concat());
    cut(&mut Take(data));
}

pub(crate) const HEAD: Head = Head { run: 7, generation: 1, process: 1 };

/// Whatever is read can be written and read again.
fn any(bytes: &[u8]) {
    let mut frames = Vec::new();
    let Ok(sound) = read(bytes, |_, frame| frames.push(frame)) else { return };
    assert!(sound.bytes <= bytes.len() as u64);
    let mut again = HEAD.encode();
    frames.iter().for_each(|frame| frame.encode(&mut again));
    let mut read_back = Vec::new();
    read(&again, |_, frame| read_back.push(frame)).unwrap();
    assert!(frames.iter().map(plain).eq(read_back.iter().map(plain)));
}

/// A snapshot leaves out intents that are done.
fn plain(frame: &Frame) -> Frame {
    match frame {
        Frame::Snapshot(state) => {
            let intended = state.in_doubt();
            Frame::Snapshot(Box::new(State { intended, ..(**state).clone() }))
        }
        other @ (Frame::Done(_) | Frame::Names(_) | Frame::Intent(_) | Frame::Waiting(_) | Frame::Ended) => {
            other.clone()
        }
    }
}

/// A file that ends anywhere, or has one byte changed, says what its whole frames say, against a plain model.
fn cut(take: &mut Take<'_>) {
    let (at, flip) = (take.below(1 << 16), take.byte());
    let (mut bytes, mut ends, mut models) =
        (HEAD.encode(), Vec::new(), vec![(BTreeSet::new(), BTreeSet::new())]);
    while !take.is_empty() && ends.len() < 40 {
        let frame = frame(take);
        let (mut done, mut failed) = models.last().unwrap().clone();
        if let Frame::Done(group) = &frame {
            failed.extend(group.failed.iter().map(|row| row.0));
            done.extend(group.ok.iter().chain(&group.failed).map(|row| row.0));
        }
        frame.encode(&mut bytes);
        ends.push(bytes.len());
        models.push((done, failed));
    }
    let at = at % bytes.len();
    match flip {
        0 => bytes.truncate(at),
        _ => bytes[at] ^= flip,
    }
    let mut state = State::default();
    let mut whole = 0;
    let result = read(&bytes, |_, frame| {
        state.apply(frame);
        whole += 1;
    });
    let expected = if at < Head::BYTES { 0 } else { ends.iter().filter(|&&end| end <= at).count() };
    assert_eq!(whole, expected, "{result:?}");
    let rows = |set: &overlapped_proto::row_set::RowSet| set.ranges().flatten().collect::<BTreeSet<_>>();
    assert_eq!((rows(&state.done), rows(&state.failed)), models[expected]);
    assert!(result.is_ok() || flip != 0, "a cut is no damage: {result:?}");
}

/// A frame that some bytes describe.
pub(crate) fn frame(take: &mut Take<'_>) -> Frame {
    match take.byte() % 8 {
        0..4 => {
            let (ok, failed) = (rows(take), rows(take));
            let mut checkpoints = SinkCheckpoints::default();
            for name in ["a.ndjson", "b.csv"] {
                let (position, data) = (take.below(1 << 16) as u64, [take.byte()].into());
                checkpoints.set(SinkId::new(name), Checkpoint { position, data });
            }
            let mark = (take.byte() > 128)
                .then(|| Mark { row: Row(take.byte().into()), offset: take.below(1 << 16) as u64 });
            let listed = (take.byte() > 128)
                .then(|| Listed { bytes: take.below(1 << 16) as u64, sum: take.byte().into() });
            Frame::Done(Group { ok, failed, checkpoints, mark, listed })
        }
        4 => {
            let count = take.below(4);
            let mut named = || Named {
                path: take.bytes(5).to_vec(),
                device: take.byte().into(),
                inode: take.byte().into(),
            };
            Frame::Names((0..count).map(|_| named()).collect())
        }
        5 => Frame::Intent(rows(take)),
        6 => {
            let rows = rows(take).into_iter();
            let (offset, sum) = (take.byte().into(), take.byte().into());
            Frame::Waiting(rows.map(|row| Waiting { row, ok: true, offset, bytes: 3, sum }).collect())
        }
        _ => Frame::Ended,
    }
}

/// Rows in order, each once.
fn rows(take: &mut Take<'_>) -> Vec<Row> {
    let count = take.below(12);
    let rows: BTreeSet<_> = take.bytes(count).iter().map(|&byte| u64::from(byte) * 3 / 2).collect();
    rows.into_iter().map(Row).collect()
}
