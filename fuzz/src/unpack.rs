//! A list that is compressed, or says so: the same bytes and the same end however it is read.

use std::io::{Cursor, Read};

use overlapped_fetch::Unpack;

use crate::take::Take;

/// The most bytes that are unpacked: a few compressed bytes may expand to any number.
const BYTES_MAX: u64 = 4 << 20;

/// Unpacks what follows the first two bytes; those choose its name, and how much is read at once.
pub fn unpack(data: &[u8]) {
    let mut take = Take(data);
    let name = ["list", "list.gz", "list.ZST"][usize::from(take.byte()) % 3];
    let step = 1 + usize::from(take.byte());
    let packed = take.0.to_vec();
    let (whole, end) = read(packed.clone(), name, 64 << 10);
    let (stepped, stepped_end) = read(packed, name, step.max(whole.len() / 4_000));
    assert_eq!(end.is_ok(), stepped_end.is_ok(), "{end:?} {stepped_end:?}");
    // Just before the damage a decoder returns more if less is read at once.
    let same = if end.is_ok() {
        whole == stepped
    } else {
        stepped.starts_with(&whole) || whole.starts_with(&stepped)
    };
    assert!(same, "{end:?} {stepped_end:?}");
}

fn read(packed: Vec<u8>, name: &str, step: usize) -> (Vec<u8>, Result<(), String>) {
    let mut unpack = Unpack::new(Box::new(Cursor::new(packed)), name).take(BYTES_MAX);
    let (mut all, mut block) = (Vec::new(), vec![0; step]);
    loop {
        match unpack.read(&mut block) {
            Ok(0) => return (all, Ok(())),
            Ok(count) => all.extend_from_slice(&block[..count]),
            Err(error) => return (all, Err(error.to_string())),
        }
    }
}
