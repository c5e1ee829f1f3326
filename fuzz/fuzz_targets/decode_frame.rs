//! Bytes taken for headers, frames, records and marks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals_log::internals::decode(bytes, [7; 16]));
