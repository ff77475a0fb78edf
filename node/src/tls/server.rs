//! The hub's side of a handshake: its own certificate, and what it makes of a child's.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::{Refusal, unusable};
use crate::trust::TrustError;
use crate::trust::ca::Ca;
use crate::trust::subject::Subject;

/// Presents the hub's certificate, made at start and again at two thirds of its life.
pub(super) struct Serving {
    ca: Arc<Ca>,
    names: Vec<String>,
    current: Mutex<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    renew_ms: u64,
}

impl Serving {
    pub(super) fn new(ca: Arc<Ca>, names: Vec<String>) -> Result<Self, TrustError> {
        let current = Mutex::new(Current::make(&ca, &names)?);
        Ok(Self { ca, names, current })
    }
}

impl Current {
    fn make(ca: &Ca, names: &[String]) -> Result<Self, TrustError> {
        let made = ca.serve(names)?;
        let certified = CertifiedKey::new(made.chain, made.key.signer()?);
        Ok(Self { certified: Arc::new(certified), renew_ms: made.renew_ms })
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ca.clock().now_ms() >= current.renew_ms {
            match Current::make(&self.ca, &self.names) {
                Ok(made) => *current = made,
                Err(error) => tracing::warn!(%error, "this hub's own certificate cannot be renewed"),
            }
        }
        Some(current.certified.clone())
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serving({:?})", self.ca)
    }
}

/// Takes certificates of children of this hub: one certificate, signed by its CA, for dialling, that names a place.
#[derive(Debug)]
pub(super) struct ChildVerifier(Arc<dyn ClientCertVerifier>);

impl ChildVerifier {
    pub(super) fn new(ca: &Ca, provider: Arc<CryptoProvider>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate().clone()).map_err(unusable)?;
        // The names of acceptable CAs would only tell strangers ours.
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = builder.clear_root_hint_subjects().allow_unauthenticated().build().map_err(unusable)?;
        Ok(Self(verifier))
    }
}

impl ClientCertVerifier for ChildVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let named = match Subject::read(certificate) {
            Ok(subject) => subject,
            Err(error) => return Err(Refusal(error.to_string()).into_error()),
        };
        let refusal = |why: &dyn fmt::Display| {
            Refusal(format!("the certificate presented for {} is refused: {why}", named.path)).into_error()
        };
        if !rest.is_empty() {
            return Err(refusal(&"it comes with others"));
        }
        self.0.verify_client_cert(certificate, rest, now).map_err(|error| refusal(&error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
