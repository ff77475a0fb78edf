//! The coordinator: the root of every tree. It keeps the record of trees and runs, hands orders to the agents of hosts and
//! answers its command line over a unix socket.
//!
//! Its command line is in the binary and in `cli` and `show`; everything that lasts is here: [`daemon`] serves, [`runs`]
//! decides about verbs, [`lower`] makes orders of manifests, [`site`] is the operator's configuration, [`store`] the record.
//! [`api`] is what the two sides say to each other, [`documents`] what programs read, [`client`] finds or starts a daemon,
//! [`tokens`] are provisioning tokens as people handle them.

pub mod api;
pub mod client;
pub mod daemon;
pub mod documents;
pub mod lower;
pub mod manifest;
pub mod preflight;
pub mod runs;
pub mod settings;
pub mod site;
pub mod store;
pub mod tokens;
