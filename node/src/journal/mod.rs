//! Where records go: an append-only file for an agent, the store for the coordinator.

pub mod file;

use crate::core::record::{Image, Record};

/// A durable sequence of records.
pub trait Journal: Send + 'static {
    /// Reads everything that was appended and acknowledged.
    fn load(&mut self) -> Result<Image, JournalError>;

    /// Appends records, all or none, and returns once they are on disk.
    fn append(&mut self, records: &[Record]) -> Result<(), JournalError>;
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk or file system says no.
    #[error("the journal {what} cannot be {doing}")]
    Io {
        /// Which file or store.
        what: String,
        /// What was being done to it.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is there is not a journal of ours.
    #[error("the journal {what} is damaged: {why}")]
    Damaged {
        /// Which file or store.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}
