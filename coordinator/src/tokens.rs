//! Provisioning tokens as people handle them: minted by hand, and looked at.

use homestak_protocol::token::{self, Claims, SigningKey, TokenError};
use serde::{Deserialize, Serialize};

use crate::runs::clock;

/// What a token says, and whether it may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenDocument {
    /// The version; there is one.
    pub version: u64,
    /// The node that may show it.
    pub node: String,
    /// The spec that it may fetch.
    pub spec: String,
    /// When it was minted, in seconds since 1970.
    pub issued_at: Option<u64>,
    /// The same for people.
    pub issued: Option<String>,
    /// The node's place, in tokens that come with an order.
    pub path: Option<String>,
    /// What makes it one of a kind.
    pub nonce: Option<String>,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// Claims that this version has no name for.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// `valid` or `invalid`, where that was asked.
    pub signature: Option<String>,
}

impl TokenDocument {
    /// Reads the token, whoever signed it; with keys, says whether one of them did.
    pub fn of(token: &str, keys: Option<&[SigningKey]>) -> Result<Self, TokenError> {
        let claims = token::inspect(token)?;
        let signature = keys.map(|keys| keys.iter().any(|key| token::verify(key, token).is_ok()));
        let Claims { node, spec, issued_at, path, nonce, expires, extra } = claims;
        Ok(Self {
            version: token::VERSION,
            node,
            spec,
            issued_at,
            issued: issued_at.map(|seconds| clock::shown(seconds.saturating_mul(1000))),
            path: path.map(|path| path.as_str().to_owned()),
            nonce: nonce.map(|nonce| format!("{nonce:032x}")),
            expires,
            extra: extra.into_iter().collect(),
            signature: signature.map(|valid| if valid { "valid" } else { "invalid" }.to_owned()),
        })
    }
}

/// A token for a node and a spec, minted now or when it is said to be.
pub fn mint(key: &SigningKey, node: &str, spec: &str, issued_at: Option<u64>) -> Result<String, TokenError> {
    token::mint(key, &Claims::new(node, spec, issued_at.unwrap_or_else(now_s)))
}

/// Now, in seconds since 1970.
pub fn now_s() -> u64 {
    clock::now_ms() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c2d298ff0286a62cca51d964ab7008e0de2cf00d4d457c9226d4ac5ea513c8e7";
    const TOKEN: &str =
        "eyJ2IjoxLCJuIjoiZWRnZSIsInMiOiJiYXNlIiwiaWF0IjoxNzM4ODAwMDAwfQ.YaZoWepsaOKB7lpAI0AanPxhatgI028fdJ7ufPybXfg";

    #[test]
    fn a_token_is_minted_byte_for_byte_and_says_so_itself() {
        let key = SigningKey::parse_hex(KEY).unwrap();
        assert_eq!(mint(&key, "edge", "base", Some(1_738_800_000)).unwrap(), TOKEN);
        let document = TokenDocument::of(TOKEN, Some(&[SigningKey::from_bytes([1; 32]), key])).unwrap();
        assert_eq!((document.node.as_str(), document.spec.as_str()), ("edge", "base"));
        assert_eq!(document.issued.as_deref(), Some("2025-02-06T00:00:00.000Z"));
        assert_eq!(document.signature.as_deref(), Some("valid"));
        let other = TokenDocument::of(TOKEN, Some(&[SigningKey::from_bytes([1; 32])])).unwrap();
        assert_eq!(other.signature.as_deref(), Some("invalid"));
        assert!(TokenDocument::of(TOKEN, None).unwrap().signature.is_none());
        assert_eq!(TokenDocument::of("nonsense", None), Err(TokenError::Malformed));
    }
}
