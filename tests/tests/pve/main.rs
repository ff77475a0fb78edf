//! Trees on Proxmox VE hosts that are fakes, with real agents as their guests: what homestak does to a host, and what it makes
//! of everything that a host does to it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what tests share fails its test by panicking, as they do themselves"
)]

mod adopted;
mod catalogue;
mod containers;
mod crash;
mod disks;
mod drift;
mod faults;
mod hanging;
mod ids;
mod images;
mod import;
mod moved;
mod network;
mod orphans;
mod plans;
mod priority;
mod privileges;
mod provider;
mod system;
mod templates;
mod trees;
mod trust;
mod waiting;
mod weather;
