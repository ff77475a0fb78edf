//! x
pub mod files;
pub mod process;
pub(crate) mod readiness;
pub mod state;
