//! A certificate that the operator brings for HTTPS, from files in PEM.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::provider;
use super::server::Serving;
use crate::trust::TrustError;
use crate::trust::ca::HUB_NAME;
use crate::trust::pin::CaPin;

/// A certificate with its chain and key.
#[derive(Debug, Clone)]
pub struct OwnCertificate(Arc<CertifiedKey>);

impl OwnCertificate {
    /// Reads both files, and checks that one belongs to the other.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TrustError> {
        let unusable =
            |file: &Path, why: &dyn std::fmt::Display| TrustError::Refused(format!("{}: {why}", file.display()));
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(|found| found.collect::<Result<Vec<_>, _>>())
            .map_err(|error| unusable(certificate, &error))?;
        if chain.is_empty() {
            return Err(unusable(certificate, &"there is no certificate in it"));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
        let signer = provider().key_provider.load_private_key(private).map_err(|error| unusable(key, &error))?;
        let certified = CertifiedKey::new(chain, signer);
        certified
            .keys_match()
            .map_err(|error| unusable(key, &format!("it does not belong to the certificate: {error}")))?;
        Ok(Self(Arc::new(certified)))
    }

    /// `sha256:<hex>` of the certificate itself, by which a client can pin it.
    pub fn fingerprint(&self) -> String {
        self.0.cert.first().map(|certificate| CaPin::of(certificate).to_string()).unwrap_or_default()
    }
}

/// Shows the operator's certificate to everybody but those who know the hub.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) own: Option<OwnCertificate>,
    pub(super) hub: Serving,
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.own {
            Some(own) if hello.server_name() != Some(HUB_NAME) => Some(Arc::clone(&own.0)),
            _ => self.hub.resolve(hello),
        }
    }
}
