//! Who is who: keys, identities, and the CA that each hub is for its direct children.
//!
//! A node's [`identity`] is a key that it made itself and the certificate that its parent issued for it. A hub's [`ca`]
//! issues those certificates and the hub's own. A child knows its parent's CA by its [`pin`]. Times in certificates come
//! from a [`clock`] that may be corrected by the parent's.
//!
//! Nothing here opens a socket: `crate::tls` turns these into TLS configurations.

pub mod ca;
pub mod clock;
pub mod files;
pub mod identity;
pub mod key;
pub mod pin;
pub mod subject;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

/// Why something that trust rests on cannot be made, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file system says no.
    #[error("{} cannot be {doing}", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What was being done to it.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of ours is not what we wrote.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key or certificate cannot be made.
    #[error("a key or certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// A certificate or request from elsewhere is not acceptable.
    #[error("{0}")]
    Refused(String),
}
