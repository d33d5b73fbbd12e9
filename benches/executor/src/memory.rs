//! What queued jobs weigh, and what cancelled ones leave behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc;

use futures::channel::oneshot;

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static COUNTING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Ordering::Relaxed) {
            LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        }
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if COUNTING.load(Ordering::Relaxed) {
            LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        }
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub fn run() {
    COUNTING.store(true, Ordering::Relaxed);
    println!("| what | ours | tokio | blocking | bare channel + oneshot |");
    println!("| --- | --- | --- | --- | --- |");
    queued();
    cancelled();
}

const QUEUED: usize = 1_000_000;
const CANCELLED: usize = 100_000;

fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

/// Holds the one worker of each pool up while jobs are queued behind it.
struct Pools {
    ours: overlapped::Executor,
    tokio: tokio::runtime::Runtime,
    gates: Vec<mpsc::Sender<()>>,
}

fn held() -> Pools {
    let ours = overlapped::Executor::builder().max_workers(1).build().expect("an executor");
    let tokio = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
    let mut gates = Vec::new();
    let mut gate = || {
        let (go, gate) = mpsc::channel::<()>();
        gates.push(go);
        move || {
            let _ = gate.recv();
        }
    };
    ours.submit(gate()).detach();
    tokio.spawn_blocking(gate());
    for _ in 0..2 {
        blocking::unblock(gate()).detach();
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    Pools { ours, tokio, gates }
}

fn queued() {
    let pools = held();
    let mut handles = Vec::with_capacity(QUEUED);
    let before = live();
    handles.extend((0..QUEUED).map(|_| pools.ours.submit(|| ())));
    let ours = live() - before;
    drop(handles);
    let mut handles = Vec::with_capacity(QUEUED);
    let before = live();
    handles.extend((0..QUEUED).map(|_| pools.tokio.spawn_blocking(|| ())));
    let tokio = live() - before;
    handles.iter().for_each(|handle| handle.abort());
    drop(handles);
    let mut handles = Vec::with_capacity(QUEUED);
    let before = live();
    handles.extend((0..QUEUED).map(|_| blocking::unblock(|| ())));
    let blocking = live() - before;
    drop(handles);
    let (send, receive) = crossbeam_channel::unbounded::<Box<dyn FnOnce() + Send>>();
    let mut handles = Vec::with_capacity(QUEUED);
    let before = live();
    handles.extend((0..QUEUED).map(|_| {
        let (done, handle) = oneshot::channel::<()>();
        send.send(Box::new(move || {
            let _ = done.send(());
        })).expect("the other end is here");
        handle
    }));
    let bare = live() - before;
    drop((receive, handles));
    let each = |bytes: isize| format!("{:.0} B", bytes as f64 / QUEUED as f64);
    println!(
        "| 1,000,000 queued jobs, a job (empty closure, without the handle) | {} | {} | {} | {} |",
        each(ours),
        each(tokio),
        each(blocking),
        each(bare)
    );
    drop(pools.gates);
}

fn cancelled() {
    let pools = held();
    let block = || vec![0_u8; 1024];
    let before = live();
    let handles: Vec<_> = (0..CANCELLED).map(|_| { let b = block(); pools.ours.submit(move || drop(b)) }).collect();
    drop(handles);
    let ours = live() - before;
    let before = live();
    let handles: Vec<_> = (0..CANCELLED).map(|_| { let b = block(); pools.tokio.spawn_blocking(move || drop(b)) }).collect();
    handles.iter().for_each(|handle| handle.abort());
    drop(handles);
    let tokio = live() - before;
    let before = live();
    let handles: Vec<_> = (0..CANCELLED).map(|_| { let b = block(); blocking::unblock(move || drop(b)) }).collect();
    drop(handles);
    let blocking = live() - before;
    let kib = |bytes: isize| format!("{} KiB", bytes / 1024);
    println!(
        "| still held after cancelling 100,000 queued jobs of 1 KiB | {} | {} | {} | cannot |",
        kib(ours),
        kib(tokio),
        kib(blocking)
    );
    drop(pools.gates);
}
