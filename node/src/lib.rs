//! What every process in the tree is made of: the hub that accepts its children, the uplink that dials its parent, the
//! journal, and the operator that decides. The agent and the coordinator each add their own edge.

pub mod core;
pub mod crash;
pub mod folder;
pub mod https;
pub mod https_client;
pub mod journal;
pub mod lifecycle;
pub mod link;
pub mod notify;
pub mod operator;
pub mod process;
pub mod runtime;
pub mod source;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod trust;
pub mod waiting;
pub mod world;
