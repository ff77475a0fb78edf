//! What there is to be put right on a machine, one file each.

pub(super) mod account;
pub(crate) mod dpkg;
pub(super) mod fail2ban;
pub(crate) mod hostname;
pub(super) mod keys;
pub(crate) mod nag;
pub(crate) mod network;
pub(crate) mod packages;
pub(super) mod record;
pub(super) mod services;
pub(super) mod sshd;
pub(super) mod sudo;
pub(super) mod timezone;
