//! A client's side of a handshake with a server that is not of a tree, such as the API of a Proxmox VE host: its
//! certificate is known by the CA that signed it, by its fingerprint, or, where that was asked for, not at all.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use super::{ALPN_HTTP, Refusal, provider, unresumed_client, unusable};
use crate::trust::TrustError;

/// SHA-256 of a server's certificate (DER), as `pvenode cert info` and browsers show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl FromStr for Fingerprint {
    type Err = String;

    /// 32 pairs of hex digits, with or without colons between them, with or without `sha256:` in front.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "a fingerprint is 32 pairs of hex digits, as in AB:CD:…".to_owned();
        let text = text.trim();
        let plain = text.strip_prefix("sha256:").unwrap_or(text).replace(':', "");
        let (mut bytes, digits) = ([0; 32], plain.as_bytes());
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(bad());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok();
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(bad)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a server's certificate is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTrust {
    /// It was signed by a CA among these certificates (PEM), for the name that it is reached by.
    Ca(Vec<u8>),
    /// It is this one.
    Fingerprint(Fingerprint),
    /// It is not looked at: whoever sits in between can read and change everything, the credentials included.
    Insecure,
}

/// For an HTTPS client of such a server.
pub fn https_client_of(trust: &ServerTrust) -> Result<Arc<ClientConfig>, TrustError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]).map_err(unusable)?;
    let mut config = match trust {
        ServerTrust::Ca(pem) => builder.with_root_certificates(roots(pem)?).with_no_client_auth(),
        ServerTrust::Fingerprint(print) => verified(builder, Some(*print)),
        ServerTrust::Insecure => verified(builder, None),
    };
    config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    Ok(Arc::new(unresumed_client(config)))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(unusable)?).map_err(unusable)?;
    }
    if roots.is_empty() {
        return Err(TrustError::Refused("the CA file holds no certificate in PEM".into()));
    }
    Ok(roots)
}

fn verified(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>,
    wanted: Option<Fingerprint>,
) -> ClientConfig {
    let verifier = Arc::new(ByFingerprint { wanted, provider: provider() });
    builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// Takes the certificate that has the fingerprint, whatever it says of itself; any, where none is wanted. Either way the
/// server must have its key.
#[derive(Debug)]
struct ByFingerprint {
    wanted: Option<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint(Sha256::digest(certificate.as_ref()).into());
        match self.wanted {
            Some(wanted) if wanted != shown => {
                Err(Refusal(format!("the server's certificate has the fingerprint {shown}, expected {wanted}"))
                    .into_error())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_paste_it() {
        let shown = ["AB"; 32].join(":");
        let print: Fingerprint = shown.parse().unwrap();
        assert_eq!(print.to_string(), shown);
        assert_eq!(format!("sha256:{}", "ab".repeat(32)).parse(), Ok(print));
        for bad in ["", "AB:CD", &"ab".repeat(31), &"+a".repeat(32)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        assert!(https_client_of(&ServerTrust::Ca(b"nothing".to_vec())).is_err());
        assert!(https_client_of(&ServerTrust::Insecure).is_ok());
    }
}
