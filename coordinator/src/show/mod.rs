//! What people see: how trees, tables, problems and results look, and the one type that decides where it goes.
//!
//! Everything here but `printer`, `terminal` and `live` is pure: values in, lines out.

pub(crate) mod ask;
pub(crate) mod command;
pub(crate) mod count;
pub(crate) mod diagnostic;
pub(crate) mod elapsed;
pub(crate) mod lists;
pub(crate) mod live;
pub(crate) mod mark;
pub(crate) mod nodes;
pub(crate) mod orphans;
pub(crate) mod outline;
pub(crate) mod plain;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod result;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod tree;
pub(crate) mod trees;

#[cfg(test)]
mod sample;
