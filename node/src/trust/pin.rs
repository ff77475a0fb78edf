//! `sha256:<hex>`: by which a child knows its parent's CA.

use std::fmt;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// How a pin begins.
const PREFIX: &str = "sha256:";

/// SHA-256 of a CA certificate (DER).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaPin([u8; 32]);

/// A text that is no pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a CA pin is `sha256:` and 64 hex digits")]
pub struct PinError;

impl CaPin {
    /// The pin of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }

    /// Reads what [`fmt::Display`] writes. Hex digits of either case, as people paste them.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let hex = text.trim().strip_prefix(PREFIX).ok_or(PinError)?.as_bytes();
        let mut pin = [0; 32];
        if hex.len() != 2 * pin.len() {
            return Err(PinError);
        }
        for (byte, pair) in pin.iter_mut().zip(hex.chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(PinError)?;
        }
        Ok(Self(pin))
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_back_and_nothing_else_is_one() {
        let pin = CaPin::of(&CertificateDer::from(b"certificate".to_vec()));
        let text = pin.to_string();
        assert_eq!(CaPin::parse(&text), Ok(pin));
        assert_eq!(CaPin::parse(&text.to_uppercase().replace("SHA256", "sha256")), Ok(pin));
        for bad in ["", "sha256:", &text[7..], &text[..70], &format!("{text}0"), &text.replace("sha256:", "sha256:+")] {
            assert_eq!(CaPin::parse(bad), Err(PinError), "{bad:?}");
        }
        assert_eq!(CaPin::parse(&format!("sha256:{}", "+1".repeat(32))), Err(PinError));
    }
}
