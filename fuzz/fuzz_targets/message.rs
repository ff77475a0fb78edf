//! Random bytes as each kind of message: the first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((&kind, bytes)) = data.split_first() {
        homestak_fuzz::survives(kind, bytes);
    }
});
