//! What users meet when they type: the real binary, its exit codes, what it writes to stdout and to stderr.
//!
//! The daemon here is one that says what a test tells it to; runs of whole trees are end-to-end tests.

#![cfg(test)]

mod daemon;
mod help;
mod manifests;
mod program;
mod runs;
mod terminal;
mod tree;
mod trouble;
mod usage;
mod validate;
mod views;
