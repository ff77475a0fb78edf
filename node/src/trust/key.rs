//! A private key (ECDSA P-256) that never prints and is wiped when dropped.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use ring::hmac;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{TrustError, files};
use crate::link::KeyId;

/// A private key.
pub struct PrivateKey(KeyPair);

impl PrivateKey {
    /// Draws a new one.
    pub fn generate() -> Result<Self, TrustError> {
        Ok(Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    /// Reads the one in this file, or draws one and writes it there before anybody can have seen it.
    pub fn load_or_generate(path: &Path) -> Result<Self, TrustError> {
        if let Some(der) = files::read_private(path)? {
            let damaged = |error: rcgen::Error| TrustError::Damaged { path: path.to_owned(), why: error.to_string() };
            return Ok(Self(
                KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8(&der), &PKCS_ECDSA_P256_SHA256).map_err(damaged)?,
            ));
        }
        let key = Self::generate()?;
        files::write_private(path, key.0.serialized_der())?;
        Ok(key)
    }

    /// By which others know it.
    pub fn id(&self) -> KeyId {
        key_id(&self.0.subject_public_key_info())
    }

    /// A PKCS#10 request (DER) that proves possession and asks for nothing: the issuer decides what a certificate says.
    pub fn request(&self) -> Result<Vec<u8>, TrustError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        Ok(params.serialize_request(&self.0)?.der().to_vec())
    }

    /// A key for another purpose that only the holder of this one can derive: HMAC-SHA256 over the purpose's label.
    pub fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.0.serialized_der()), label.as_bytes());
        let mut derived = Zeroizing::new([0; 32]);
        derived.iter_mut().zip(tag.as_ref()).for_each(|(byte, from)| *byte = *from);
        derived
    }

    /// For rcgen, which signs certificates with it.
    pub(super) fn pair(&self) -> &KeyPair {
        &self.0
    }

    /// For rustls, which signs handshakes with it.
    pub(crate) fn signer(&self) -> Result<Arc<dyn rustls::sign::SigningKey>, TrustError> {
        let der = PrivateKeyDer::Pkcs8(pkcs8(self.0.serialized_der()));
        any_ecdsa_type(&der).map_err(|error| TrustError::Refused(format!("a key cannot sign: {error}")))
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.id())
    }
}

fn pkcs8(der: &[u8]) -> PrivatePkcs8KeyDer<'_> {
    PrivatePkcs8KeyDer::from(der)
}

/// SHA-256 of a SubjectPublicKeyInfo (DER).
pub(crate) fn key_id(spki: &[u8]) -> KeyId {
    KeyId(Sha256::digest(spki).into())
}
