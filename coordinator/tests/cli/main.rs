//! What users meet when they type: the real binary, its exit codes, what it writes to stdout and to stderr.
//!
//! Only what needs no daemon is here; runs of whole trees are end-to-end tests.

mod help;
mod manifests;
mod program;
mod usage;
mod validate;
