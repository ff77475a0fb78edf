//! The agent: one on every machine of a tree. It makes the machines below its own, configures its own, and tells its parent.
//!
//! Its command line is in `cli`; everything that lasts is here.

pub mod cli;
pub mod cloud_init;
pub mod config;
pub mod drift;
pub mod facts;
pub mod failure;
pub mod files;
pub mod glance;
mod host;
pub mod provider;
pub mod run;
pub mod settings;
pub mod socket;
pub mod standing;
pub mod state;
pub mod world;
