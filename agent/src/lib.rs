//! x
pub mod config;
pub mod facts;
pub mod failure;
pub mod files;
pub mod process;
pub mod provider;
pub(crate) mod readiness;
pub mod settings;
pub mod state;
pub mod world;
