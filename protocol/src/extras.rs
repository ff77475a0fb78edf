//! What an order says besides: a JSON text beside the order itself, from order version 2 on, so that orders can grow keys.
//!
//! An agent ignores keys that it does not know. So a key that must not be ignored brings a higher order version, and one
//! that only helps does not. Whoever makes orders asks [`Extras::matter`] before it leaves them out for an agent that reads
//! version 1 only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What more there is to say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// Of the machine of each child, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, MachineExtras>,
}

/// What more there is to say of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineExtras {
    /// Whether a container may carry containers itself; it may where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesting: Option<bool>,
    /// The storage of its host that its disk goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// Where its image comes from if neither its host nor that one's parent has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSource>,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// `https://…` or `http://…`.
    pub url: String,
    /// Of the whole file.
    pub checksum: Checksum,
}

/// What a file must come to, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// 64 digits.
    Sha256(String),
    /// 128 digits.
    Sha512(String),
}

impl Checksum {
    /// The name of the algorithm.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Checksum::Sha256(_) => "sha256",
            Checksum::Sha512(_) => "sha512",
        }
    }

    /// The digits.
    pub fn hex(&self) -> &str {
        match self {
            Checksum::Sha256(hex) | Checksum::Sha512(hex) => hex,
        }
    }
}

impl MachineExtras {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is said that must not be left out, in words.
    pub fn matter(&self) -> Option<&'static str> {
        match self {
            Self { nesting: Some(false), .. } => Some("a container without nesting"),
            Self { storage: Some(_), .. } => Some("a storage"),
            _ => None,
        }
    }
}

impl Extras {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.machines.values().all(MachineExtras::is_empty)
    }

    /// The first machine, and what is said of it that must not be left out, in words.
    pub fn matter(&self) -> Option<(&str, &'static str)> {
        self.machines.iter().find_map(|(name, machine)| Some((name.as_str(), machine.matter()?)))
    }

    /// Of one machine.
    pub fn machine(&self, name: &str) -> MachineExtras {
        self.machines.get(name).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_later_builds_are_read_over_and_only_what_matters_is_missed() {
        let text = r#"{"machines":{"edge":{"storage":"tank","colour":"red"}},"mood":1}"#;
        let extras: Extras = serde_json::from_str(text).unwrap();
        assert_eq!(extras.machine("edge").storage.as_deref(), Some("tank"));
        assert_eq!(extras.matter(), Some(("edge", "a storage")));
        let image = ImageSource { url: "https://a.example/i".into(), checksum: Checksum::Sha256("00".into()) };
        let helps = MachineExtras { image: Some(image), nesting: Some(true), ..MachineExtras::default() };
        assert_eq!((helps.matter(), helps.is_empty()), (None, false));
        assert!(Extras::default().is_empty() && Extras::default().machine("x").is_empty());
    }
}
