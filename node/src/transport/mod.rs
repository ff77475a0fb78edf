//! Links over QUIC: the [`hub`] that accepts children and the [`uplink`] that dials the parent.
//!
//! Both move messages and prove who a peer is; what a message means is decided by the core, behind [`crate::link`]. Nothing
//! outside this module and `crate::tls` knows that links are QUIC.

pub mod addresses;
mod close;
pub mod hub;
pub mod limits;
pub mod links;
pub mod pair;
mod quic;
pub mod uplink;
mod wire;

#[cfg(test)]
mod tests;
