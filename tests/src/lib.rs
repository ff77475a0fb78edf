//! The end-to-end harness: the real programs, on a stage of their own, with everything that can go wrong put in by hand.
//!
//! A scenario is one file in `tests/`. It sets a [`stage::Stage`], runs commands on it and looks at what they print, at
//! the processes that run and at the files that are there: what users, scripts and operators see. Nothing in here knows
//! the insides of the programs; what it reads of their files is what the documentation promises.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a harness fails its test by panicking, and says why on stderr"
)]

pub mod binaries;
pub mod chance;
pub mod command;
pub mod crash;
pub mod curl;
pub mod disk;
pub mod document;
pub mod fakepve;
pub mod guests;
pub mod machine;
pub mod manifest;
pub mod needs;
pub mod peer;
pub mod process;
pub mod raw;
pub mod relay;
pub mod site;
pub mod stage;
pub mod wait;
