//! Trees on Proxmox VE hosts that are fakes, with real agents as their guests: what homestak does to a host, and what it makes
//! of everything that a host does to it.

mod trees;
