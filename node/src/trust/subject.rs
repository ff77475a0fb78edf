//! What a child's certificate says: its place and the life of its machine, in one URI.

use homestak_protocol::ids::Incarnation;
use homestak_protocol::path::NodePath;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TrustError;
use super::key::key_id;
use crate::link::KeyId;

/// How the URI begins.
const SCHEME: &str = "homestak:/";
/// What stands before the incarnation.
const INCARNATION: &str = "?incarnation=";

/// What a child's certificate says. Only a signature makes it true: read it after the chain has been verified, or to name
/// whom a refusal is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its place.
    pub path: NodePath,
    /// The life of its machine.
    pub incarnation: Incarnation,
    /// Its key.
    pub key: KeyId,
    /// When the certificate ends, in milliseconds since 1970.
    pub not_after_ms: u64,
}

impl Subject {
    /// Reads it.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, TrustError> {
        let refused = |why: &str| TrustError::Refused(why.to_owned());
        let (rest, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| refused("the certificate cannot be read"))?;
        if !rest.is_empty() {
            return Err(refused("the certificate has something after it"));
        }
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let [GeneralName::URI(uri)] = names else {
            return Err(refused("the certificate names no place in a tree"));
        };
        let (path, incarnation) = parse_uri(uri).ok_or_else(|| refused("the certificate names no place in a tree"))?;
        let key = key_id(parsed.public_key().raw);
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        Ok(Self { path, incarnation, key, not_after_ms: not_after.saturating_mul(1000) })
    }
}

/// The URI of a place and a life.
pub(super) fn uri(path: &NodePath, incarnation: Incarnation) -> String {
    format!("{SCHEME}{path}{INCARNATION}{incarnation}")
}

fn parse_uri(uri: &str) -> Option<(NodePath, Incarnation)> {
    let (path, incarnation) = uri.strip_prefix(SCHEME)?.split_once(INCARNATION)?;
    Some((NodePath::parse(path).ok()?, Incarnation::parse(incarnation)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_place_and_a_life_or_nothing() {
        let path = NodePath::parse("local/n2-tiered/root-pve").unwrap();
        let life = Incarnation::from_bits(7);
        let text = uri(&path, life);
        assert_eq!(text, "homestak:/local/n2-tiered/root-pve?incarnation=00000000000000000000000000000007");
        assert_eq!(parse_uri(&text), Some((path, life)));
        for bad in [
            "",
            "homestak:/",
            "homestak:/local",
            "homestak:/local?incarnation=7",
            "homestak:/../x?incarnation=00000000000000000000000000000007",
            "http:/local?incarnation=00000000000000000000000000000007",
        ] {
            assert_eq!(parse_uri(bad), None, "{bad}");
        }
    }
}
