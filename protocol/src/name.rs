//! Names of things: they parse or they refuse, so that a name in hand is always safe to put in a path, a log or a URL.
//!
//! Not for paths of nodes in a tree; see [`crate::path`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name of any kind, in bytes: the limit of a DNS label (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a {what} cannot be empty")]
    Empty {
        /// Which kind of name was wanted.
        what: &'static str,
    },
    /// Longer than [`MAX_NAME`].
    #[error("a {what} has at most {MAX_NAME} characters, this one has {length}")]
    TooLong {
        /// Which kind of name was wanted.
        what: &'static str,
        /// How many bytes it had.
        length: usize,
    },
    /// A character where that kind of name does not allow it.
    #[error("a {what} {rule}; {found:?} cannot stand at position {position}")]
    Character {
        /// Which kind of name was wanted.
        what: &'static str,
        /// What the kind allows, as the rest of the sentence.
        rule: &'static str,
        /// The first character that is refused.
        found: char,
        /// Where it stands, counted from 1.
        position: usize,
    },
}

fn check(
    text: &str,
    what: &'static str,
    rule: &'static str,
    first: fn(char) -> bool,
    rest: fn(char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong { what, length: text.len() });
    }
    let mut allowed = first;
    for (index, found) in text.chars().enumerate() {
        if !allowed(found) {
            return Err(NameError::Character { what, rule, found, position: index + 1 });
        }
        allowed = rest;
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $first:expr, $rest:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses the text, or says what is wrong with it.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check(text, $what, $rule, $first, $rest)?;
                Ok(Self(text.into()))
            }

            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A node of a manifest; also the hostname of its machine: `^[a-z][a-z0-9-]*$`.
    NodeName,
    "node name",
    "is a hostname: a lower-case letter, then letters, digits and '-'",
    |c| c.is_ascii_lowercase(),
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);

name!(
    /// A manifest: a letter or digit, then letters, digits, `.`, `_` and `-`.
    ManifestName,
    "manifest name",
    "starts with a letter or digit and goes on with letters, digits, '.', '_' and '-'",
    |c| c.is_ascii_alphanumeric(),
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
);

name!(
    /// A host that carries trees: a letter or digit, then letters, digits, `.` and `-`.
    HostName,
    "host name",
    "starts with a letter or digit and goes on with letters, digits, '.' and '-'",
    |c| c.is_ascii_alphanumeric(),
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')
);

name!(
    /// A spec, preset, posture or image of a site: as a manifest's name.
    SiteName,
    "name",
    "starts with a letter or digit and goes on with letters, digits, '.', '_' and '-'",
    |c| c.is_ascii_alphanumeric(),
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
);

impl HostName {
    /// The host that needs no Proxmox VE: machines are processes on this machine.
    pub fn local() -> Self {
        Self("local".into())
    }

    /// Whether this is the embedded default host.
    pub fn is_local(&self) -> bool {
        &*self.0 == "local"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_is_a_hostname_or_refused() {
        for good in ["edge", "a", "root-pve", "n0", &"a".repeat(63)] {
            assert_eq!(NodeName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "Edge", "-a", "0a", "a_b", "a.b", "../x", "a/b", "a\0", "ä", &"a".repeat(64), &"a".repeat(300)]
        {
            assert!(NodeName::parse(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn no_name_of_any_kind_can_climb_out_of_a_folder() {
        for bad in ["..", ".", "a/..", "/etc", "a\\b", "a\0b", ".hidden"] {
            assert!(ManifestName::parse(bad).is_err());
            assert!(HostName::parse(bad).is_err());
            assert!(SiteName::parse(bad).is_err());
        }
    }

    #[test]
    fn a_name_from_the_wire_is_checked_as_one_from_a_file() {
        assert!(serde_json::from_str::<NodeName>("\"edge\"").is_ok());
        assert!(serde_json::from_str::<NodeName>("\"../edge\"").is_err());
    }
}
