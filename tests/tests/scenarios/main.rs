//! What homestak promises, one file a scenario, on the real programs.
//!
//! They are modules of one test program, so that the programs are built and the scenarios scheduled once; one file's run
//! by its name: `cargo test -p homestak-tests --test scenarios tree::`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what scenarios share fails its test by panicking, as they do themselves"
)]

mod around;
mod backup;
mod crash;
mod drift;
mod endpoint;
mod errors;
mod files;
mod hostile;
mod impostor;
mod links;
mod orphans;
mod plan;
mod raw;
mod repos;
mod restart;
mod sealed;
mod secrets;
mod server;
mod site;
mod tokens;
mod tree;
