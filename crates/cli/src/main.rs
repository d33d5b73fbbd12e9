//! The program `overlapped`: its allocator, and the start of the library.

use std::ffi::OsString;
use std::process::ExitCode;

// mimalloc instead of the system's allocator. A request makes many small allocations, nearly all of which its shard frees
// again, and mimalloc serves those from a heap of the thread, without a lock.
//
// Its feature `no_thp` turns transparent huge pages off: with them, 10,000 requests in flight were measured to cost
// 37 KiB each instead of 22, at no gain in speed, because a few live blocks keep a page of 2 MiB resident.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    overlapped_cli::unblock_signals();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    overlapped_cli::run(&words).into()
}
