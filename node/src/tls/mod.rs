//! Every TLS configuration there is. QUIC and HTTPS take theirs from here and set nothing themselves.
//!
//! The provider is `ring`. QUIC speaks TLS 1.3 only; HTTPS also 1.2. Sessions are never resumed: a resumed one would let a
//! child in without looking at its certificate again, which may have expired meanwhile.

mod client;
mod foreign;
mod own;
mod server;

use std::sync::Arc;

use homestak_protocol::version::{ALPN_ENROL, ALPN_LINK};
pub use rustls::client::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

pub use self::client::OTHER_CA;
use self::client::{ParentVerifier, Validity};
pub use self::foreign::{Fingerprint, ServerTrust, https_client_of};
use self::own::Chosen;
pub use self::own::OwnCertificate;
use self::server::{ChildVerifier, Serving};
use crate::trust::TrustError;
use crate::trust::ca::Ca;
use crate::trust::clock::Clock;
use crate::trust::identity::{Enrolled, Identity};
use crate::trust::pin::CaPin;

/// How an HTTPS endpoint shows itself, ready to serve with.
pub type HttpsConfig = ServerConfig;

/// What HTTP/1.1 is called in a handshake.
const ALPN_HTTP: &[u8] = b"http/1.1";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn unusable(error: impl std::fmt::Display) -> TrustError {
    TrustError::Refused(format!("no TLS configuration can be made: {error}"))
}

/// For a hub's endpoint, which serves both protocols.
///
/// TLS asks for the client's certificate before it knows the protocol, so a certificate is optional here and verified
/// where there is one; the hub turns a link without one away before it reads a byte from it.
pub(crate) fn hub(ca: &Arc<Ca>, names: &[String]) -> Result<ServerConfig, TrustError> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(ca.clock().clone()))
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(Arc::new(ChildVerifier::new(ca, provider())?))
        .with_cert_resolver(Arc::new(Serving::new(ca.clone(), names.to_vec())?));
    config.alpn_protocols = vec![ALPN_LINK.to_vec(), ALPN_ENROL.to_vec()];
    Ok(unresumed_server(config))
}

/// For an HTTPS endpoint under a hub's CA. Children may show their certificates. Those who know the hub by its CA ask for
/// [`HUB_NAME`](crate::trust::ca::HUB_NAME) and are shown the hub's own certificate; others see the operator's, if there is
/// one.
pub fn https(ca: &Arc<Ca>, names: &[String], own: Option<OwnCertificate>) -> Result<Arc<ServerConfig>, TrustError> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(ca.clock().clone()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_client_cert_verifier(Arc::new(ChildVerifier::new(ca, provider())?))
        .with_cert_resolver(Arc::new(Chosen { own, hub: Serving::new(ca.clone(), names.to_vec())? }));
    config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    Ok(Arc::new(unresumed_server(config)))
}

/// For a link to the parent, with our certificate.
pub(crate) fn link(
    pin: CaPin,
    identity: &Identity,
    with: &Enrolled,
    clock: &Clock,
) -> Result<ClientConfig, TrustError> {
    let shown = certified(identity, with)?;
    let mut config = pinned(pin, Validity::By(clock.clone()))?.with_client_cert_resolver(shown);
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    Ok(unresumed_client(config))
}

/// For first contact and for the renewal of an expired certificate. Our clock may be wrong until the parent has told us
/// the time, so the parent's certificate may be of any age.
pub(crate) fn enrol(pin: CaPin) -> Result<ClientConfig, TrustError> {
    let mut config = pinned(pin, Validity::Ignored)?.with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    Ok(unresumed_client(config))
}

/// For an HTTPS client that knows the endpoint's CA by its pin. A machine shows its certificate, where it has one of that CA
/// that is in its time.
pub fn https_client(pin: CaPin, clock: &Clock, machine: Option<&Identity>) -> Result<Arc<ClientConfig>, TrustError> {
    let verifier = Arc::new(ParentVerifier::new(pin, Validity::By(clock.clone()), provider()));
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(clock.clone()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let shown = machine.and_then(|machine| Some((machine, machine.enrolled()?)));
    let mut config = match shown.filter(|(_, enrolled)| enrolled.is_in_time(clock)) {
        Some((machine, enrolled)) => builder.with_client_cert_resolver(certified(machine, enrolled)?),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    Ok(Arc::new(unresumed_client(config)))
}

/// What a child shows.
fn certified(identity: &Identity, with: &Enrolled) -> Result<Arc<SingleCertAndKey>, TrustError> {
    let key = CertifiedKey::new(vec![with.certificate.clone()], identity.key().signer()?);
    Ok(Arc::new(SingleCertAndKey::from(key)))
}

fn pinned(
    pin: CaPin,
    validity: Validity,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TrustError> {
    let verifier = Arc::new(ParentVerifier::new(pin, validity, provider()));
    let builder =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).map_err(unusable)?;
    // "Dangerous" is rustls' word for a verifier of one's own; ours is stricter than the one it replaces.
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn unresumed_server(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

fn unresumed_client(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

/// Why a certificate is refused, in the words of whoever refused it.
struct Refusal(String);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// rustls prints refusals of this kind by their `Debug`.
impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    fn into_error(self) -> rustls::Error {
        let other = rustls::OtherError(Arc::new(self));
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))
    }
}
