//! YAML as a tree in which every value and key knows where it stands.
//!
//! [`read`] makes the tree, within limits that hold before memory is spent; [`Fields`] and [`Field`] take typed values out
//! of it and report what is wrong with them. JSON is YAML, so it is read by the same code. Nothing here knows manifests.

mod access;
mod build;
mod scalar;
mod stretch;

use std::sync::Arc;

pub use self::access::{Field, Fields, Subject};
pub use self::build::{MAX_ALIASES, MAX_BYTES, MAX_NESTING, MAX_VALUES, read, text};
pub use self::scalar::{Odd, Resolved, Scalar};
pub use self::stretch::MAX_STRETCH;
use crate::diagnostic::Span;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Where it starts; a value that came by an alias stands where its anchor is.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// The three kinds of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A single value: text, a number, true or false, nothing.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Value>),
    /// Keys and their values.
    Mapping(Mapping),
}

/// Keys and their values, in the order of the file; no key stands twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    entries: Vec<Entry>,
}

/// A key, where it stands, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub value: Value,
}

impl Value {
    /// Whether this is `null`, `~` or nothing at all, which everywhere means the same as leaving the key out.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if matches!(scalar.resolve(), Resolved::Null))
    }

    /// Whether another value says the same, wherever the two stand and however they are quoted.
    fn says_as(&self, other: &Value) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Scalar(ours), Kind::Scalar(theirs)) => ours.as_str() == theirs.as_str(),
            (Kind::Sequence(ours), Kind::Sequence(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| ours.says_as(theirs))
            }
            _ => false,
        }
    }

    /// What it is, in words.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => "nothing",
                Resolved::Bool(_) => "true or false",
                Resolved::Integer(_) | Resolved::Odd(_) => "a number",
                Resolved::Text(_) => "text",
            },
        }
    }
}

impl Mapping {
    /// A mapping of these entries, whose keys the caller knows to differ.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// Everything in it, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The value of `key`, be it null or not.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| &*entry.key == key).map(|entry| &entry.value)
    }
}
