//! What a journal says after a crash: a part of what was written, never anything else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may, as tests do")]

use overlapped_proto::job::Row;
use overlapped_proto::journal::{
    Checkpoint, Damage, End, Frame, Group, Head, Listed, Mark, Named, SinkCheckpoints, SinkId, Sound, State,
    VERSION, Waiting, Wrong, is_unsynced, read,
};
use overlapped_proto::row_set::RowSet;
use proptest::prelude::*;

const HEAD: Head = Head { run: 7, generation: 3, process: 99 };

fn rows() -> impl Strategy<Value = Vec<Row>> {
    proptest::collection::btree_set(0_u64..400, 0..30).prop_map(|rows| rows.into_iter().map(Row).collect())
}

fn frame() -> impl Strategy<Value = Frame> {
    let data = proptest::collection::vec(any::<u8>(), 0..9);
    let checkpoint =
        (any::<u64>(), data).prop_map(|(position, data)| Checkpoint { position, data: data.into() });
    let checkpoints = proptest::collection::btree_map("[a-ü]{0,5}", checkpoint, 0..4).prop_map(|by_name| {
        let mut checkpoints = SinkCheckpoints::default();
        by_name.into_iter().for_each(|(name, at)| checkpoints.set(SinkId::new(name), at));
        checkpoints
    });
    let listed = (any::<u64>(), any::<u64>()).prop_map(|(bytes, sum)| Listed { bytes, sum });
    let listed = proptest::option::of(listed);
    let mark = proptest::option::of(
        (0_u64..400, any::<u64>()).prop_map(|(row, offset)| Mark { row: Row(row), offset }),
    );
    let group =
        (rows(), rows(), checkpoints, mark, listed).prop_map(|(ok, failed, checkpoints, mark, listed)| {
            Frame::Done(Group { ok, failed, checkpoints, mark, listed })
        });
    let named = (proptest::collection::vec(any::<u8>(), 0..20), any::<u64>(), any::<u64>())
        .prop_map(|(path, device, inode)| Named { path, device, inode });
    let waiting = (rows(), any::<(bool, u64, u64, u32)>()).prop_map(|(rows, (ok, offset, bytes, sum))| {
        Frame::Waiting(rows.into_iter().map(|row| Waiting { row, ok, offset, bytes, sum }).collect())
    });
    prop_oneof![
        4 => group,
        1 => waiting,
        1 => proptest::collection::vec(named, 0..4).prop_map(Frame::Names),
        1 => rows().prop_map(Frame::Intent),
        1 => Just(Frame::Ended),
    ]
}

fn written(frames: &[Frame]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = HEAD.encode();
    let mut ends = vec![bytes.len()];
    for frame in frames {
        frame.encode(&mut bytes);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn recovered(bytes: &[u8]) -> (Vec<Frame>, Result<Sound, Damage>) {
    let mut frames = Vec::new();
    let result = read(bytes, |_, frame| frames.push(frame));
    (frames, result)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48 * ProptestConfig::default().cases / 256))]

    #[test]
    fn frames_come_back(frames in proptest::collection::vec(frame(), 0..8)) {
        let (bytes, ends) = written(&frames);
        let (found, result) = recovered(&bytes);
        prop_assert_eq!(found, frames);
        let end = *ends.last().unwrap() as u64;
        prop_assert_eq!(result, Ok(Sound { head: Some(HEAD), bytes: end, torn: false }));
    }

    #[test]
    fn every_prefix_is_the_frames_that_are_whole(frames in proptest::collection::vec(frame(), 0..6)) {
        let (bytes, ends) = written(&frames);
        for cut in 0..bytes.len() {
            let (found, result) = recovered(&bytes[..cut]);
            let whole = ends.iter().filter(|&&end| end <= cut).count().saturating_sub(1);
            prop_assert_eq!(&found, &frames[..whole]);
            let sound = result.unwrap();
            prop_assert_eq!(sound.bytes as usize, if cut < ends[0] { 0 } else { ends[whole] });
            prop_assert_eq!(sound.torn, sound.bytes as usize != cut);
        }
    }

    /// A changed byte ends the journal, or is damage that says where; whatever is handed on was written so.
    #[test]
    fn no_flipped_byte_invents_anything(frames in proptest::collection::vec(frame(), 1..5), bit in 0_u8..8) {
        let (bytes, ends) = written(&frames);
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let (found, result) = recovered(&bytes);
            let hit = ends.iter().filter(|&&end| end <= at).count();
            let whole = hit.saturating_sub(1);
            prop_assert_eq!(&found, &frames[..if hit == 0 { 0 } else { whole }]);
            let last = hit == frames.len();
            match result {
                Ok(sound) => prop_assert!(last && sound.torn && sound.bytes as usize == ends[whole], "{at}: {sound:?}"),
                Err(damage) => {
                    prop_assert!(!last, "{at}: {damage}");
                    prop_assert_eq!(damage.at as usize, if hit == 0 { 0 } else { ends[whole] });
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), headed in any::<bool>()) {
        let bytes = if headed { [HEAD.encode(), bytes].concat() } else { bytes };
        let _ = recovered(&bytes);
    }

    #[test]
    fn a_snapshot_says_what_its_frames_say(frames in proptest::collection::vec(frame(), 0..12)) {
        let mut state = State::default();
        frames.into_iter().for_each(|frame| state.apply(frame));
        let (bytes, _) = written(&[Frame::Snapshot(Box::new(state.clone()))]);
        let mut read_back = State::default();
        read(&bytes, |_, frame| read_back.apply(frame)).unwrap();
        // What a snapshot leaves out: files about to be named, and intents that are done.
        state.intended = state.in_doubt();
        state.named.clear();
        prop_assert_eq!(read_back, state);
    }
}

#[test]
fn another_version_is_refused() {
    let mut bytes = HEAD.encode();
    bytes[8] = 9;
    Frame::Ended.encode(&mut bytes);
    let damage = recovered(&bytes).1.unwrap_err();
    assert_eq!(damage, Damage { at: 0, wrong: Wrong::Version(9) });
    assert!(damage.to_string().contains(&format!("reads version {VERSION}")));
}

#[test]
fn zeros_at_the_end_are_a_torn_tail() {
    let (mut bytes, ends) = written(&[Frame::Intent(vec![Row(1)]), Frame::Ended]);
    bytes.resize(bytes.len() + 5_000, 0);
    let (found, result) = recovered(&bytes);
    assert_eq!(
        (found.len(), result.unwrap()),
        (2, Sound { head: Some(HEAD), bytes: ends[2] as u64, torn: true })
    );
}

#[test]
fn rows_without_their_end_are_in_doubt() {
    let mut state = State::default();
    state.apply(Frame::Intent(vec![Row(1), Row(2), Row(3)]));
    state.apply(Frame::Done(Group { ok: vec![Row(1)], failed: vec![Row(3)], ..Group::default() }));
    let rows = |set: &RowSet| set.ranges().flatten().collect::<Vec<_>>();
    assert_eq!(
        [rows(&state.in_doubt()), rows(&state.failed), rows(&state.done)],
        [vec![2], vec![3], vec![1, 3]]
    );
}

fn at(sink: &str, bytes: u64) -> SinkCheckpoints {
    let mut checkpoints = SinkCheckpoints::default();
    checkpoints.set(SinkId::new(sink), End { bytes, sum: 0 }.into());
    checkpoints
}

/// Each was believed: a row that is done twice, a file that has become shorter, a mark beyond what is done.
#[test]
fn an_entry_that_cannot_follow_is_told() {
    let end = |bytes| at("out", bytes);
    let group = |ok: &[u64], failed: &[u64], bytes| {
        let rows = |rows: &[u64]| rows.iter().copied().map(Row).collect();
        Frame::Done(Group { ok: rows(ok), failed: rows(failed), checkpoints: end(bytes), ..Group::default() })
    };
    let mut state = State::default();
    state.apply(group(&[1, 2], &[7], 100));
    let check = |frame: Frame, expected| assert_eq!(state.contradicts(&frame), expected, "{frame:?}");
    check(group(&[0, 3], &[8], 100), false);
    check(group(&[0, 2], &[], 200), true);
    check(group(&[], &[7], 200), true);
    check(group(&[3], &[3], 200), true);
    check(group(&[3], &[], 99), true);
    check(group(&[1 << 40], &[], 200), true);
    check(Frame::Done(Group { ok: vec![Row(3)], ..Group::default() }), true);
    check(Frame::Done(Group { ok: vec![Row(3)], checkpoints: at("other", 200), ..Group::default() }), true);
    let mut both = end(200);
    both.set(SinkId::new("other"), Checkpoint::default());
    check(Frame::Done(Group { ok: vec![Row(3)], checkpoints: both, ..Group::default() }), false);
    let mark = |row| Some(Mark { row: Row(row), offset: 0 });
    let marked = |row| {
        let (ok, checkpoints) = (vec![Row(3)], end(200));
        Frame::Done(Group { ok, checkpoints, mark: mark(row), ..Group::default() })
    };
    check(marked(0), false);
    check(marked(1), true);
    let snapshot = |state: &State| Frame::Snapshot(Box::new(state.clone()));
    check(snapshot(&state), false);
    let mut other = state.clone();
    other.mark = mark(1);
    check(snapshot(&other), true);
    let mut other = state.clone();
    other.failed.insert(Row(9));
    check(snapshot(&other), true);
}

/// It was taken for one that was never synced, and its request was sent once more.
#[test]
fn the_last_intent_that_is_damaged_is_no_torn_one() {
    let (whole, ends) = written(&[Frame::Intent(vec![Row(1)]), Frame::Intent(vec![Row(1_000_000)])]);
    let last = ends[1];
    let unsynced = |bytes: &[u8], at: usize| is_unsynced(&bytes[at..], at as u64);
    for at in last..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            bytes.resize(bytes.len() + 100, 0);
            assert!(!unsynced(&bytes, last), "byte {at}, bit {bit}");
        }
    }
    for cut in last..last + (whole.len() - last) / 2 {
        assert!(unsynced(&whole[..cut], last), "half of it");
    }
    assert!(unsynced(&[0; 3_000], 0));
    // Of an entry that lies in two sectors one is written.
    let entry = whole[last..].to_vec();
    for before in 1..entry.len() {
        let (mut first, mut second) = (entry.clone(), entry.clone());
        first[before..].fill(0);
        second[..before].fill(0);
        let at = 512 - before as u64;
        assert!(is_unsynced(&first, at) && is_unsynced(&second, at) && !is_unsynced(&entry, at), "{before}");
    }
}
