#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| overlapped_fuzz::redirect(data));
