//! Provisioning tokens: what a machine shows at first contact, and to the spec endpoint.
//!
//! `base64url(payload) "." base64url(HMAC-SHA256(key, ascii of the first part))`, both without padding. The payload is
//! compact JSON with its keys in the order `v`, `n`, `s`, `iat`, then any others. The format is fixed: tokens must
//! interoperate byte for byte. This module knows no clock; whether `exp` has passed is for the caller to say.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::path::NodePath;

/// The longest token that is looked at. Ours have some 300 bytes; a header line of an HTTP request has 8 KiB.
pub const MAX_TOKEN: usize = 4096;

/// The version that we mint and the only one that we take.
pub const VERSION: u64 = 1;

/// A 256-bit key, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// Parses 64 hex digits of either case, the form of `auth.signing_key` in `secrets.yaml`.
    pub fn parse_hex(text: &str) -> Result<Self, TokenError> {
        let mut key = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(TokenError::Key);
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let mut value = 0;
            for &digit in pair {
                let nibble = char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
                value = value << 4 | nibble.ok_or(TokenError::Key)?;
            }
            *byte = value;
        }
        Ok(Self(key))
    }

    /// Takes 256 bits that the caller drew at random.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn mac(&self) -> Result<Hmac<Sha256>, TokenError> {
        Hmac::new_from_slice(&self.0).map_err(|_| TokenError::Key)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([secret])")
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// `n`: the name of the node that may show it.
    pub node: String,
    /// `s`: the spec that it may fetch.
    pub spec: String,
    /// `iat`: when it was minted, in seconds since 1970. Absent in some tokens of other makers.
    pub issued_at: Option<u64>,
    /// `p`: the node's place, in tokens that come with an order.
    pub path: Option<NodePath>,
    /// `j`: 128 random bits that make the token one of a kind.
    pub nonce: Option<u128>,
    /// `exp`: when it ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// Claims that this version has no name for.
    pub extra: Vec<(String, Value)>,
}

impl Claims {
    /// The claims that every token has.
    pub fn new(node: &str, spec: &str, issued_at: u64) -> Self {
        Self {
            node: node.to_owned(),
            spec: spec.to_owned(),
            issued_at: Some(issued_at),
            path: None,
            nonce: None,
            expires: None,
            extra: Vec::new(),
        }
    }

    fn payload(&self) -> String {
        let mut out = format!("{{\"v\":{VERSION},\"n\":{},\"s\":{}", ascii_json(&self.node), ascii_json(&self.spec));
        if let Some(iat) = self.issued_at {
            out.push_str(&format!(",\"iat\":{iat}"));
        }
        if let Some(path) = &self.path {
            out.push_str(&format!(",\"p\":{}", ascii_json(path.as_str())));
        }
        if let Some(nonce) = self.nonce {
            out.push_str(&format!(",\"j\":\"{nonce:032x}\""));
        }
        if let Some(exp) = self.expires {
            out.push_str(&format!(",\"exp\":{exp}"));
        }
        for (key, value) in &self.extra {
            out.push_str(&format!(",{}:{value}", ascii_json(key)));
        }
        out.push('}');
        out
    }
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The signing key is not 32 bytes.
    #[error("the signing key is not 64 hex digits")]
    Key,
    /// Not two canonical base64url parts, or not the claims that every token has.
    #[error("the token is malformed")]
    Malformed,
    /// Signed by us, but of a version that we do not know.
    #[error("the token is of another version")]
    Version,
    /// Not signed with this key.
    #[error("the token's signature is wrong")]
    Signature,
}

/// Mints a token.
pub fn mint(key: &SigningKey, claims: &Claims) -> Result<String, TokenError> {
    let payload = URL_SAFE_NO_PAD.encode(claims.payload());
    let mut mac = key.mac()?;
    mac.update(payload.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Ok(format!("{payload}.{signature}"))
}

/// Verifies the signature over the bytes as they came, in constant time, and only then reads the claims.
pub fn verify(key: &SigningKey, token: &str) -> Result<Claims, TokenError> {
    let (payload, signature) = split(token)?;
    let mut mac = key.mac()?;
    mac.update(payload.as_bytes());
    mac.verify_slice(&signature).map_err(|_| TokenError::Signature)?;
    claims(payload)
}

/// Reads the claims without asking who signed them: for showing a token to the person who holds it, never for a decision.
pub fn inspect(token: &str) -> Result<Claims, TokenError> {
    claims(split(token)?.0)
}

fn split(token: &str) -> Result<(&str, Vec<u8>), TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Malformed);
    }
    let (payload, signature) = token.split_once('.').ok_or(TokenError::Malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
    Ok((payload, signature))
}

fn claims(payload: &str) -> Result<Claims, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?;
    let Ok(Value::Object(mut map)) = serde_json::from_slice(&bytes) else {
        return Err(TokenError::Malformed);
    };
    // `true` and `1.0` are equal to 1 in other languages; here only the integer is.
    match map.remove("v") {
        Some(Value::Number(v)) if v.as_u64() == Some(VERSION) => {}
        Some(Value::Number(_)) => return Err(TokenError::Version),
        _ => return Err(TokenError::Malformed),
    }
    let mut text = |key: &str| match map.remove(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(TokenError::Malformed),
    };
    let (node, spec) = (text("n")?, text("s")?);
    let path = match map.remove("p") {
        None => None,
        Some(Value::String(path)) => Some(NodePath::parse(&path).map_err(|_| TokenError::Malformed)?),
        Some(_) => return Err(TokenError::Malformed),
    };
    let nonce = match map.remove("j") {
        None => None,
        Some(Value::String(hex)) if hex.len() == 32 => {
            Some(u128::from_str_radix(&hex, 16).map_err(|_| TokenError::Malformed)?)
        }
        Some(_) => return Err(TokenError::Malformed),
    };
    let mut seconds = |key: &str| match map.remove(key) {
        None => Ok(None),
        Some(Value::Number(n)) => n.as_u64().map(Some).ok_or(TokenError::Malformed),
        Some(_) => Err(TokenError::Malformed),
    };
    let (issued_at, expires) = (seconds("iat")?, seconds("exp")?);
    Ok(Claims { node, spec, issued_at, path, nonce, expires, extra: map.into_iter().collect() })
}

/// JSON in which everything past ASCII is `\uXXXX`, as the format has always had it.
fn ascii_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in Value::from(text).to_string().chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c2d298ff0286a62cca51d964ab7008e0de2cf00d4d457c9226d4ac5ea513c8e7";
    const TOKEN: &str =
        "eyJ2IjoxLCJuIjoiZWRnZSIsInMiOiJiYXNlIiwiaWF0IjoxNzM4ODAwMDAwfQ.YaZoWepsaOKB7lpAI0AanPxhatgI028fdJ7ufPybXfg";

    fn key() -> SigningKey {
        SigningKey::parse_hex(KEY).unwrap()
    }

    fn sign(payload: &str) -> String {
        let part = URL_SAFE_NO_PAD.encode(payload);
        let mut mac = key().mac().unwrap();
        mac.update(part.as_bytes());
        format!("{part}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn the_format_is_the_same_byte_for_byte() {
        let claims = Claims::new("edge", "base", 1_738_800_000);
        assert_eq!(mint(&key(), &claims).unwrap(), TOKEN);
        assert_eq!(verify(&key(), TOKEN).unwrap(), claims);
        assert_eq!(SigningKey::parse_hex(&KEY.to_uppercase()).unwrap().0, key().0);
    }

    #[test]
    fn every_claim_survives_the_way_there_and_back() {
        let mut claims = Claims::new("bücher😀", "base", 1);
        claims.path = Some(NodePath::parse("father/m/edge").unwrap());
        claims.nonce = Some(7);
        claims.expires = Some(2);
        claims.extra = vec![("x".into(), Value::from(3))];
        let token = mint(&key(), &claims).unwrap();
        assert_eq!(verify(&key(), &token).unwrap(), claims);
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        assert!(payload.is_ascii() && std::str::from_utf8(&payload).unwrap().contains("\\u00fc"));
    }

    #[test]
    fn other_spellings_of_a_good_token_are_refused() {
        let (payload, signature) = TOKEN.split_once('.').unwrap();
        // The last character of 32 bytes in base64 carries two unused bits: `g` is canonical, `h` decodes to the same.
        let noncanonical = format!("{payload}.{}h", &signature[..signature.len() - 1]);
        for bad in [
            format!("{TOKEN}="),
            format!("{payload}=.{signature}"),
            noncanonical,
            format!("{payload}.{signature} "),
            format!("{payload}.{}\n{}", &signature[..10], &signature[10..]),
            format!("{payload}.{signature}.{signature}"),
            format!("{payload}{signature}"),
            String::new(),
            ".".into(),
            format!("{payload}."),
            "A".repeat(MAX_TOKEN + 1),
        ] {
            assert!(verify(&key(), &bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_signature_of_another_key_or_over_other_bytes_is_refused() {
        let other = SigningKey::from_bytes([7; 32]);
        assert_eq!(verify(&other, TOKEN), Err(TokenError::Signature));
        let tampered = format!("{}.{}", URL_SAFE_NO_PAD.encode("{}"), TOKEN.split_once('.').unwrap().1);
        assert_eq!(verify(&key(), &tampered), Err(TokenError::Signature));
    }

    #[test]
    fn a_signed_payload_of_another_shape_is_refused() {
        assert_eq!(verify(&key(), &sign(r#"{"v":2,"n":"a","s":"b","iat":1}"#)), Err(TokenError::Version));
        assert_eq!(verify(&key(), &sign(r#"{"v":1.0,"n":"a","s":"b","iat":1}"#)), Err(TokenError::Version));
        for bad in [
            r#"{"v":true,"n":"a","s":"b","iat":1}"#,
            r#"{"v":"1","n":"a","s":"b","iat":1}"#,
            r#"{"n":"a","s":"b","iat":1}"#,
            r#"{"v":1,"s":"b","iat":1}"#,
            r#"{"v":1,"n":"a","s":null,"iat":1}"#,
            r#"{"v":1,"n":"","s":"b","iat":1}"#,
            r#"{"v":1,"n":"a","s":"b","iat":"1"}"#,
            r#"{"v":1,"n":"a","s":"b","iat":-1}"#,
            r#"{"v":1,"n":"a","s":"b","p":"../x"}"#,
            r#"[1]"#,
            "x",
        ] {
            assert_eq!(verify(&key(), &sign(bad)), Err(TokenError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_key_is_sixty_four_hex_digits() {
        for bad in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            assert!(SigningKey::parse_hex(bad).is_err());
        }
    }
}
