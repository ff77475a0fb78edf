//! Faults: errors that travel. Each carries the stable code that users see, says where, what to do, and whether trying
//! again can help.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::path::NodePath;

/// The longest message that travels: the tail of a tool's own words, not its whole log.
pub const MAX_MESSAGE: usize = 2000;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $retry:literal;)*) => {
        /// A stable code. New ones go to the end: the position is what travels.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code there is, in wire order.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// As users see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Whether trying the same again can help, where the fault itself does not say.
            pub const fn retryable(self) -> bool {
                match self { $(Code::$name => $retry,)* }
            }
        }
    };
}

codes! {
    /// Unknown endpoint or path.
    UnknownEndpoint = "E100", false;
    /// Spec, repo or file not found.
    NotFound = "E200", false;
    /// Posture not found.
    PostureNotFound = "E201", false;
    /// SSH key not found.
    KeyNotFound = "E202", false;
    /// Token missing, malformed or of another version.
    TokenMalformed = "E300", false;
    /// Signature or identity wrong, or expired.
    TokenRefused = "E301", false;
    /// Token used up or revoked.
    TokenSpent = "E302", false;
    /// A spec fails its schema.
    SpecInvalid = "E400", false;
    /// Too many requests.
    TooMany = "E429", true;
    /// Internal.
    Internal = "E500", false;
    /// The machine could not be made.
    Provision = "E701", false;
    /// The machine could not be made just now; the cause passes.
    ProvisionTransient = "E702", true;
    /// Something that is not ours holds the name, the id or the address.
    Conflict = "E703", false;
    /// The machine did not start, or its agent did not join in time.
    Boot = "E704", false;
    /// The agent refused the order.
    OrderRefused = "E705", false;
    /// The machine could not become a host.
    Host = "E706", false;
    /// The spec could not be applied.
    Configure = "E707", false;
    /// The node is not what its order says.
    Verify = "E708", false;
    /// The machine could not be destroyed.
    Destroy = "E709", false;
    /// A limit of time was reached.
    Timeout = "E710", true;
    /// The agent has not been heard of for longer than the grace.
    Unreachable = "E711", true;
    /// Cancelled on request.
    Cancelled = "E712", false;
    /// Skipped because of another node's failure.
    Skipped = "E713", false;
    /// An order of an older generation.
    Stale = "E714", false;
    /// The two sides have no protocol version in common, or the order needs a newer one.
    Version = "E715", false;
    /// Another run has this tree.
    Busy = "E716", true;
    /// The peer is not who it says it is.
    Identity = "E717", false;
    /// A message that makes no sense here.
    Protocol = "E718", false;
    /// A bound of this process is reached; it is said which.
    Full = "E719", true;
    /// The journal or the store cannot be written.
    Storage = "E720", true;
    /// This coordinator is behind what an agent has seen.
    Behind = "E721", false;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    /// Its stable code.
    pub code: Code,
    /// What was wrong, in the words of whoever found out.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The node that it is about.
    pub node: Option<NodePath>,
    /// Whether trying the same again can help.
    pub retryable: bool,
}

impl Fault {
    /// A fault with its code's own retryability. A message over [`MAX_MESSAGE`] keeps its end, where tools say what failed.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE {
            let from = message.ceil_char_boundary(message.len() - MAX_MESSAGE);
            message = format!("…{}", message.get(from..).unwrap_or_default());
        }
        Self { code, message, hint: None, node: None, retryable: code.retryable() }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the node that it is about.
    #[must_use]
    pub fn at(mut self, node: &NodePath) -> Self {
        self.node = Some(node.clone());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        let mut seen: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), Code::ALL.len());
    }

    #[test]
    fn a_long_message_keeps_its_end() {
        let fault = Fault::new(Code::Configure, format!("{}ä the end", "ä".repeat(MAX_MESSAGE)));
        assert!(fault.message.len() <= MAX_MESSAGE + '…'.len_utf8() && fault.message.ends_with("the end"));
    }
}
