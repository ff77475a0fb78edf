//! One encrypted value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`, each part in base64. It is AES-256-GCM with a nonce of
//! 32 bytes and the place of the value as additional data, so that a value that was moved does not open.
//!
//! The form is SOPS's own (`aes/cipher.go` of getsops/sops). An empty text stands for itself.

use aes_gcm::aead::consts::{U12, U32};
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Key, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homestak_manifests::yaml::Scalar;
use zeroize::Zeroizing;

use super::plain;

/// What every value of a file is encrypted with.
pub(super) type DataKey = Zeroizing<[u8; 32]>;

/// What SOPS draws for each value.
type LongNonce = AesGcm<Aes256, U32>;

/// What GCM is mostly used with; other software may write it.
type ShortNonce = AesGcm<Aes256, U12>;

/// The nonce that we draw for each value, in bytes.
pub(super) const NONCE: usize = 32;

const START: &str = "ENC[AES256_GCM,data:";

/// What a decrypted value is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Text, and bytes that are text.
    Text,
    Integer,
    Float,
    Boolean,
    Comment,
}

/// Why a value is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not in this form.
    Form,
    /// It is of a type that is not known, or not what its type says.
    Type,
    /// It is not what was encrypted, not where it was, or not under this key.
    Seal,
}

/// A value that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its text, as it was encrypted.
    pub(super) text: Zeroizing<String>,
    /// What that is.
    pub(super) kind: Type,
}

/// Whether a text looks like an encrypted value.
pub(super) fn is_sealed(text: &str) -> bool {
    text.starts_with(START) && text.ends_with(']')
}

/// Opens a value that stands at `place` (`a:b:`).
pub(super) fn open(text: &str, key: &DataKey, place: &str) -> Result<Opened, Refused> {
    let parts = text.strip_prefix(START).and_then(|rest| rest.strip_suffix(']')).ok_or(Refused::Form)?;
    let (data, rest) = parts.split_once(",iv:").ok_or(Refused::Form)?;
    let (iv, rest) = rest.split_once(",tag:").ok_or(Refused::Form)?;
    let (tag, kind) = rest.split_once(",type:").ok_or(Refused::Form)?;
    let decode = |part: &str| STANDARD.decode(part).map_err(|_| Refused::Form);
    let (mut data, iv, tag) = (Zeroizing::new(decode(data)?), decode(iv)?, decode(tag)?);
    let tag = <[u8; 16]>::try_from(tag.as_slice()).map_err(|_| Refused::Form)?;
    unseal(key, &iv, place, &mut data, &tag.into())?;
    let text = std::str::from_utf8(&data).map_err(|_| Refused::Type)?;
    let kind = match kind {
        "str" | "bytes" => Type::Text,
        "int" | "int64" if text.parse::<i64>().is_ok() => Type::Integer,
        "float" if text.parse::<f64>().is_ok() => Type::Float,
        "bool" if plain::boolean(text).is_some() => Type::Boolean,
        "comment" => Type::Comment,
        _ => return Err(Refused::Type),
    };
    Ok(Opened { text: Zeroizing::new(text.to_owned()), kind })
}

fn unseal(key: &DataKey, iv: &[u8], place: &str, data: &mut [u8], tag: &Tag) -> Result<(), Refused> {
    let key: &Key<LongNonce> = (&**key).into();
    let aad = place.as_bytes();
    let opened = match iv.len() {
        32 => Nonce::<U32>::try_from(iv)
            .is_ok_and(|iv| LongNonce::new(key).decrypt_inout_detached(&iv, aad, data.into(), tag).is_ok()),
        12 => Nonce::<U12>::try_from(iv)
            .is_ok_and(|iv| ShortNonce::new(key).decrypt_inout_detached(&iv, aad, data.into(), tag).is_ok()),
        _ => return Err(Refused::Form),
    };
    if opened { Ok(()) } else { Err(Refused::Seal) }
}

/// Encrypts a value for `place` under a nonce that was drawn for it alone. None only where it is too long for GCM (64 GiB).
pub(super) fn seal(text: &str, kind: Type, key: &DataKey, place: &str, nonce: &[u8; NONCE]) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let key: &Key<LongNonce> = (&**key).into();
    let mut data = Zeroizing::new(text.as_bytes().to_vec());
    let tag = LongNonce::new(key)
        .encrypt_inout_detached(&Nonce::<U32>::from(*nonce), place.as_bytes(), data.as_mut_slice().into())
        .ok()?;
    let kind = match kind {
        Type::Text => "str",
        Type::Integer => "int",
        Type::Float => "float",
        Type::Boolean => "bool",
        Type::Comment => "comment",
    };
    let (data, iv, tag) = (STANDARD.encode(&*data), STANDARD.encode(nonce), STANDARD.encode(tag));
    Some(format!("{START}{data},iv:{iv},tag:{tag},type:{kind}]"))
}

impl Opened {
    /// As a value of a file: text stands in quotes, whatever it looks like.
    pub(super) fn scalar(&self) -> Scalar {
        match self.kind {
            Type::Text | Type::Comment => Scalar::quoted(&self.text),
            Type::Integer | Type::Float => Scalar::plain(&self.text),
            Type::Boolean => Scalar::plain(if plain::boolean(&self.text) == Some(true) { "true" } else { "false" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DataKey {
        Zeroizing::new([7; 32])
    }

    #[test]
    fn a_value_opens_where_it_was_sealed_and_nowhere_else() {
        let sealed = seal("hunter2", Type::Text, &key(), "passwords:vm_root:", &[1; NONCE]).unwrap();
        assert!(is_sealed(&sealed) && !sealed.contains("hunter2"));
        let opened = open(&sealed, &key(), "passwords:vm_root:").unwrap();
        assert_eq!((opened.text.as_str(), opened.kind), ("hunter2", Type::Text));
        assert_eq!(open(&sealed, &key(), "passwords:other:").unwrap_err(), Refused::Seal);
        assert_eq!(open(&sealed, &Zeroizing::new([8; 32]), "passwords:vm_root:").unwrap_err(), Refused::Seal);
        assert_eq!(seal("", Type::Text, &key(), "a:", &[1; NONCE]).as_deref(), Some(""));
    }

    #[test]
    fn whatever_is_changed_in_it_it_does_not_open() {
        let sealed = seal("42", Type::Integer, &key(), "a:", &[1; NONCE]).unwrap();
        for (at, _) in sealed.char_indices() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(open(&changed, &key(), "a:").is_err(), "{changed}");
        }
        for other in
            ["", "42", "ENC[AES256_GCM,data:,iv:,tag:,type:str]", "ENC[AES256_GCM,data:QQ==,iv:QQ==,tag:QQ==,type:str]"]
        {
            assert_eq!(open(other, &key(), "a:").unwrap_err(), Refused::Form, "{other}");
        }
    }

    #[test]
    fn a_value_is_what_its_type_says() {
        let lied = seal("many", Type::Integer, &key(), "a:", &[1; NONCE]).unwrap();
        assert_eq!(open(&lied, &key(), "a:").unwrap_err(), Refused::Type);
        let scalar =
            |text, kind| open(&seal(text, kind, &key(), "a:", &[1; NONCE]).unwrap(), &key(), "a:").unwrap().scalar();
        assert_eq!(scalar("42", Type::Text), Scalar::quoted("42"));
        assert_eq!(scalar("42", Type::Integer), Scalar::plain("42"));
        assert_eq!(scalar("True", Type::Boolean), Scalar::plain("true"));
    }
}
