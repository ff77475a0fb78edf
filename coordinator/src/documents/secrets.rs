//! What the commands about the site's secrets print.

use serde::{Deserialize, Serialize};

use super::DiagnosticDocument;

/// `secrets check`: what there is, never a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretsCheckDocument {
    /// Whether they can be used.
    pub valid: bool,
    /// The site folder.
    pub site: String,
    /// The file that counts; none where there is none.
    pub file: Option<String>,
    /// `plain`, `sops` or `age`.
    pub form: Option<String>,
    /// The file's mode, as `chmod` takes it.
    pub mode: Option<String>,
    /// Whether it is encrypted and no identity at hand opens it.
    pub locked: bool,
    /// How many age identities are at hand.
    pub identities: usize,
    /// What is in it, where it could be read.
    pub sections: Option<SecretsSections>,
    /// All that is wrong or odd.
    pub problems: Vec<DiagnosticDocument>,
}

/// The names that a secrets file has, and which of its values are there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretsSections {
    /// Names of API tokens.
    pub api_tokens: Vec<String>,
    /// Whether there is a root password.
    pub vm_root: bool,
    /// Names of SSH keys.
    pub ssh_keys: Vec<String>,
    /// Whether there is a signing key.
    pub signing_key: bool,
    /// Whether there is one from before.
    pub previous_signing_key: bool,
}

/// `secrets init` and `secrets encrypt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsWrittenDocument {
    /// The file that was written.
    pub file: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// For whom.
    pub recipients: Vec<String>,
    /// Whether the plain file was removed.
    pub removed_plain: bool,
}

/// `secrets decrypt`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecryptedDocument {
    /// The YAML. Nothing prints it but the command whose work that is.
    pub content: String,
}
