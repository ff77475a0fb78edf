//! Sealing what must not lie about in the clear: values are encrypted with a key that lies beside the store in a file of
//! mode 0600. That protects copies of the store, not against whoever may read that file.

use std::sync::Arc;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::error::Why;

/// The key.
#[derive(Clone)]
pub struct SealKey(Arc<LessSafeKey>);

impl SealKey {
    /// From 256 random bits.
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes).ok()?;
        Some(Self(Arc::new(LessSafeKey::new(key))))
    }

    /// Seals a value for one place, which it cannot be moved from.
    pub(super) fn seal(&self, place: &str, value: Vec<u8>) -> Result<Vec<u8>, Why> {
        let failed = |_| Why::Damaged("a value cannot be sealed".into());
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut sealed = value;
        let aad = Aad::from(place.as_bytes());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).map_err(failed)?;
        sealed.extend_from_slice(&nonce);
        Ok(sealed)
    }

    /// Opens it again.
    pub(super) fn open(&self, place: &str, mut sealed: Vec<u8>) -> Result<Vec<u8>, Why> {
        let failed = || Why::Damaged(format!("{place} was sealed with another key"));
        let split = sealed.len().checked_sub(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(&sealed.split_off(split)).map_err(|_| failed())?;
        let length = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut sealed).map_err(|_| failed())?.len();
        sealed.truncate(length);
        Ok(sealed)
    }
}
