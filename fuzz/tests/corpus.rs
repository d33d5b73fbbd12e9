//! Every file of the corpus, and mutations of it that can be drawn again, through its target.
//!
//! `OVERLAPPED_FUZZ` sets how many mutations of each file, `OVERLAPPED_SEED` where they begin.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use overlapped_fuzz::{TARGETS, Target};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Numbers that can be drawn again.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 29
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// A few changes of the kinds that find most.
fn mutated(bytes: &[u8], other: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=draw.below(4) {
        let (at, end) = (draw.below(bytes.len()), draw.below(bytes.len() + 1));
        let part = at.min(end)..at.max(end);
        match draw.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << draw.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b','][draw.below(8)],
            2 => bytes.insert(at, draw.next() as u8),
            3 => drop(bytes.drain(part)),
            4 => {
                let part = bytes[part].to_vec();
                bytes.splice(at..at, part.into_iter().take(500));
            }
            5 => bytes.truncate(end),
            _ => {
                let from = draw.below(other.len() + 1);
                bytes.splice(at..at, other[from..].iter().copied().take(200));
            }
        }
    }
    bytes
}

fn play(name: &str, target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(!corpus.is_empty(), "{name} has no corpus");
    let first = number("OVERLAPPED_SEED", 1);
    for (file, bytes) in files.iter().zip(&corpus) {
        catch_unwind(|| target(bytes)).unwrap_or_else(|_| panic!("{}", file.display()));
        for seed in first..first + number("OVERLAPPED_FUZZ", 150) {
            let mut draw = Draw(seed);
            let other = &corpus[draw.below(corpus.len())];
            let bytes = mutated(bytes, other, &mut draw);
            let found = |_| panic!("OVERLAPPED_SEED={seed} OVERLAPPED_FUZZ=1, {}: {bytes:?}", file.display());
            catch_unwind(|| target(&bytes)).unwrap_or_else(found);
        }
    }
}

#[test]
fn of_every_target() {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap().count();
    assert_eq!(folders, TARGETS.len(), "every folder of the corpus has its target");
    for (name, target) in TARGETS {
        play(name, target);
    }
}

/// A target that must be found out: the mutations reach what is two changes away.
#[test]
fn canary() {
    let holds = |bytes: &[u8]| !(bytes.len() > 20 && bytes.contains(&0xff) && bytes.contains(&b'"'));
    let found = (1..5_000).any(|seed| !holds(&mutated(b"0123456789", b"abcdefghijklmn", &mut Draw(seed))));
    assert!(found);
}
