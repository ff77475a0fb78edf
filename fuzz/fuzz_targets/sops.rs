//! Random bytes as a secrets file, with an identity at hand that opens the seeds: read, locked or refused with places, in a
//! time and memory that libFuzzer bounds.
#![no_main]

use std::sync::LazyLock;

use homestak_coord::site::secrets::{Keys, read};
use libfuzzer_sys::fuzz_target;

/// That of the seeds, which are the test fixtures.
const IDENTITY: &str = "AGE-SECRET-KEY-18K7CLTZ73CQZC3QELHSSGLNS6YN2XNM9KWSRM703WX02J4J5GQ6QGAHG8V";

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::parse(IDENTITY).0);

fuzz_target!(|data: &[u8]| {
    match read("fuzz.yaml", data, &KEYS) {
        Ok(opened) => {
            if let Err(locked) = opened.secrets() {
                assert!(locked.hint.is_some(), "locked, and no way out");
            }
        }
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.is_error()), "refused without a reason");
            for problem in &problems {
                assert!(problem.source.is_none(), "a line of a secrets file is shown");
                let _ = problem.to_string();
            }
        }
    }
});
