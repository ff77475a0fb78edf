//! Provisioning tokens as they are shown: whether one is good, for whom, and by which key.

use std::sync::Arc;

use homestak_node::source::Asker;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::token::{self, Claims, SigningKey, TokenError};

use crate::runs::clock;

/// What tokens are verified with.
#[derive(Debug, Clone)]
pub(super) struct VerificationKeys {
    /// What new tokens are signed with.
    pub(super) current: SigningKey,
    /// What older ones were, for as long as the operator leaves it there.
    pub(super) previous: Option<SigningKey>,
}

/// How the keys are had that are in force now.
pub(super) type KeysNow = Arc<dyn Fn() -> Result<VerificationKeys, Fault> + Send + Sync>;

/// Judges tokens.
pub(super) struct Tokens {
    keys: KeysNow,
}

impl Tokens {
    pub(super) fn new(keys: KeysNow) -> Self {
        Self { keys }
    }

    /// What a token says, if it is good for this asker and, where one is given, this identity.
    ///
    /// In this order: shape, signature (over the bytes as they came, in constant time), claims, identity, end. What is not
    /// signed is never read.
    pub(super) fn check(&self, asker: &Asker, shown: &str, identity: Option<&str>) -> Result<Claims, Fault> {
        let claims = self.verify(shown)?;
        if identity.is_some_and(|identity| identity != claims.node) {
            return Err(Fault::new(Code::TokenRefused, "the token is another node's"));
        }
        if let (Asker::Child(place), Some(path)) = (asker, &claims.path)
            && !path.is_within(place)
        {
            return Err(Fault::new(Code::TokenRefused, "the token is for a machine elsewhere"));
        }
        if claims.expires.is_some_and(|end| end <= clock::now_ms() / 1000) {
            return Err(Fault::new(Code::TokenRefused, "the token has expired"));
        }
        Ok(claims)
    }

    fn verify(&self, shown: &str) -> Result<Claims, Fault> {
        let keys = (self.keys)()?;
        let by_previous = |error| match (&keys.previous, error) {
            (Some(previous), TokenError::Signature) => token::verify(previous, shown),
            (_, error) => Err(error),
        };
        token::verify(&keys.current, shown).or_else(by_previous).map_err(|error| {
            let code = match error {
                TokenError::Malformed | TokenError::Version => Code::TokenMalformed,
                TokenError::Signature => Code::TokenRefused,
                TokenError::Key => Code::Internal,
            };
            Fault::new(code, error.to_string())
        })
    }
}
