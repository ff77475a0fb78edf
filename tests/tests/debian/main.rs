//! Machines that are real: Debian, booted with systemd, as leaves of a real tree. What they become is looked at from outside
//! with Debian's own tools.
//!
//! They are made by `tests/debian/build` and booted by `tests/debian/machine`, in a network of the test's own. Needs root,
//! debootstrap, systemd-nspawn and, the first time, a Debian mirror.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what goes wrong here fails the test"
)]

mod addressed;
mod ansible;
mod backends;
mod becomes;
mod failures;
mod fetched;
mod host;
mod network;
mod service;
mod yard;
