//! The child's side of a handshake: is this the parent that I was told of?

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Refusal;
use crate::trust::clock::{Clock, unix_time};
use crate::trust::pin::CaPin;

/// How it begins that a parent is refused because its CA has another pin.
pub const OTHER_CA: &str = "the parent's CA";

/// Whether the parent's certificate must be in its time.
#[derive(Debug)]
pub(super) enum Validity {
    /// By this clock, corrected or not: the own clock may have been set right since the parent last told the time.
    By(Clock),
    /// It may be of any age.
    Ignored,
}

/// Takes one chain: a certificate to serve with, and the CA that signed it and has the pin.
#[derive(Debug)]
pub(super) struct ParentVerifier {
    pin: CaPin,
    validity: Validity,
    provider: Arc<CryptoProvider>,
}

impl ParentVerifier {
    pub(super) fn new(pin: CaPin, validity: Validity, provider: Arc<CryptoProvider>) -> Self {
        Self { pin, validity, provider }
    }

    /// The moments of which one must lie within the certificate's life.
    fn moments(&self, certificate: &CertificateDer<'_>) -> Result<Vec<UnixTime>, Error> {
        match &self.validity {
            Validity::By(clock) if clock.offset_ms() == 0 => Ok(vec![unix_time(clock.now_ms())]),
            Validity::By(clock) => Ok(vec![unix_time(clock.now_ms()), unix_time(clock.own_ms())]),
            Validity::Ignored => {
                let unreadable = |_| Refusal("the parent's certificate cannot be read".into()).into_error();
                let (_, parsed) = X509Certificate::from_der(certificate).map_err(unreadable)?;
                let begin = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or_default();
                Ok(vec![unix_time(begin.saturating_mul(1000))])
            }
        }
    }
}

impl ServerCertVerifier for ParentVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let [ca] = rest else {
            return Err(Refusal("the parent shows no certificate with its CA".into()).into_error());
        };
        let shown = CaPin::of(ca);
        if shown != self.pin {
            return Err(Refusal(format!("{OTHER_CA} is {shown}, expected {}", self.pin)).into_error());
        }
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let mut refused = Refusal("the time is not known".into()).into_error();
        for now in self.moments(certificate)? {
            match verifier.verify_server_cert(certificate, &[], name, &[], now) {
                Ok(verified) => return Ok(verified),
                Err(error) => refused = error,
            }
        }
        Err(Refusal(format!("the parent's certificate is refused: {refused}")).into_error())
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
