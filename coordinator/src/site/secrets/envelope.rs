//! Whole files, and SOPS's data keys, as age encrypts them: to X25519 recipients, as bytes or in armour.

use std::io::{Read as _, Write as _};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, Encryptor};
use zeroize::Zeroizing;

use super::keys::Keys;

/// The longest that a decrypted file may be: what is parsed, and a byte more.
const MAX_PLAIN: u64 = homestak_manifests::yaml::MAX_BYTES as u64 + 1;

/// Why something is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is whole, and for nobody whose identity is at hand.
    NoKeyFits,
    /// It is not in age's form, was cut or was changed; what is wrong, in words that show nothing of it.
    Malformed(&'static str),
}

/// Decrypts with the first identity that fits.
pub(super) fn decrypt(bytes: &[u8], keys: &Keys) -> Result<Zeroizing<Vec<u8>>, Refused> {
    // Identities that cannot be parsed fit nothing.
    let identities: Vec<Identity> = keys.iter().filter_map(|key| key.expose().parse().ok()).collect();
    let decryptor =
        Decryptor::new_buffered(ArmoredReader::new(bytes.trim_ascii_start())).map_err(|error| refused(&error))?;
    let reader = decryptor.decrypt(identities.iter().map(|identity| identity as _)).map_err(|error| refused(&error))?;
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
    reader.take(MAX_PLAIN).read_to_end(&mut plain).map_err(|_| Refused::Malformed("it was cut or changed"))?;
    Ok(plain)
}

fn refused(error: &DecryptError) -> Refused {
    match error {
        DecryptError::NoMatchingKeys => Refused::NoKeyFits,
        DecryptError::UnknownFormat => Refused::Malformed("it is of a version of age that is not read here"),
        DecryptError::InvalidMac | DecryptError::DecryptionFailed => Refused::Malformed("it was changed"),
        DecryptError::ExcessiveWork { .. } => Refused::Malformed("it is encrypted with a passphrase"),
        _ => Refused::Malformed("it is not in age's form"),
    }
}

/// Parses a recipient (`age1…`).
pub(super) fn recipient(text: &str) -> Option<Recipient> {
    text.parse().ok()
}

/// Encrypts to every recipient, in armour. None where there is no recipient.
pub(super) fn encrypt(plain: &[u8], recipients: &[Recipient]) -> Option<String> {
    let encryptor = Encryptor::with_recipients(recipients.iter().map(|recipient| recipient as _)).ok()?;
    let armour = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).ok()?;
    let mut writer = encryptor.wrap_output(armour).ok()?;
    writer.write_all(plain).ok()?;
    let bytes = writer.finish().and_then(ArmoredWriter::finish).ok()?;
    String::from_utf8(bytes).ok()
}
