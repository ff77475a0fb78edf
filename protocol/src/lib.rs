//! What two homestak processes say to each other, and the words they say it in.
//!
//! Pure: names and paths that parse or refuse, provisioning tokens, wire versions, frames with hard limits, the codec,
//! messages, orders, events and error codes, and what an agent needs of a Proxmox VE host. No runtime, clock, socket or
//! file is known here; those who have them call in.

pub mod codec;
pub mod event;
pub mod extras;
pub mod fault;
pub mod frame;
pub mod ids;
pub mod message;
pub mod name;
pub mod order;
pub mod path;
pub mod privilege;
pub mod secret;
pub mod token;
pub mod version;
