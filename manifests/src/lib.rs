//! Manifests: the trees of machines that operators write down, schema version 2.
//!
//! Pure: [`parse()`] makes a [`model::Manifest`] of text or says everything that is wrong with it, each with its place;
//! [`graph::Graph`] knows who carries whom, in which order nodes are created and destroyed, and cuts subtrees and levels
//! out; [`draw`] shows a manifest; [`catalog`] holds the built-in ones. [`yaml`] and [`diagnostic`] know nothing of
//! manifests: whoever reads a file that people write reads it with them. No files, clock or network are known here.

pub mod catalog;
pub mod diagnostic;
pub mod draw;
pub mod graph;
pub mod model;
pub mod parse;
mod structure;
mod suggest;
pub mod yaml;

pub use diagnostic::{Code, Diagnostic};
pub use graph::Graph;
pub use model::Manifest;
pub use parse::{Known, Parsed, parse};
