//! A peer that keeps no rule: it dials hubs or serves children over raw QUIC, shows whatever certificate it was given or
//! none, takes any, and writes whatever bytes it likes.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use homestak_protocol::frame::{self, HEADER};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Handle};

/// The limit of anything that a peer does: longer than the programs let an unproven peer linger.
const LIMIT: Duration = Duration::from_secs(40);

/// Runs something asynchronous to its end. It may block: connections are kept alive by a thread of their own.
pub fn block<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    let handle = RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    });
    handle.block_on(work)
}

/// Waits for what a peer does or is told, within a limit.
async fn soon<T>(work: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(LIMIT, work).await.map_err(|_| format!("nothing within {} s", LIMIT.as_secs()))
}

/// What a peer shows.
#[derive(Debug)]
pub struct Shown {
    /// The certificate, and those after it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// A key of a peer's own.
#[derive(Debug)]
pub struct Key(KeyPair);

impl Key {
    /// A new one.
    pub fn new() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key can be made"))
    }

    /// A request for a certificate, signed by it.
    pub fn request(&self) -> Vec<u8> {
        let request = CertificateParams::default().serialize_request(&self.0).expect("a request can be signed");
        request.der().to_vec()
    }

    /// It, with a certificate for it.
    pub fn with(&self, certificate: &[u8]) -> Shown {
        Shown { chain: vec![CertificateDer::from(certificate.to_vec())], key: self.der() }
    }

    fn der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::new()
    }
}

/// A CA that nobody has a pin of, built as those of hubs are.
#[derive(Debug)]
pub struct ForeignCa {
    key: KeyPair,
    params: CertificateParams,
    certificate: CertificateDer<'static>,
}

impl ForeignCa {
    /// A new one.
    pub fn new() -> Self {
        let Key(key) = Key::new();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "homestak CA 00000000");
        let certificate = params.self_signed(&key).expect("a certificate can be signed").into();
        Self { key, params, certificate }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate to dial with, for a place and a life that it has no say in.
    pub fn dialling(&self, key: &Key, uri: &str) -> Shown {
        let name = SanType::URI(uri.try_into().expect("a URI is ASCII"));
        self.sign(key, name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate to serve with, under the name that every hub has.
    pub fn serving(&self, key: &Key) -> Shown {
        let name = SanType::DnsName("hub.homestak.internal".try_into().expect("a name is ASCII"));
        let mut shown = self.sign(key, name, ExtendedKeyUsagePurpose::ServerAuth);
        shown.chain.push(self.certificate.clone());
        shown
    }

    /// Signs what a request asks for, as a hub would.
    pub fn grant(&self, request: &[u8], uri: &str) -> Vec<u8> {
        let request = CertificateSigningRequestParams::from_der(&request.to_vec().into()).expect("a request");
        let name = SanType::URI(uri.try_into().expect("a URI is ASCII"));
        let params = Self::leaf(name, ExtendedKeyUsagePurpose::ClientAuth);
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(&request.public_key, &issuer).expect("a certificate can be signed").der().to_vec()
    }

    fn sign(&self, key: &Key, name: SanType, usage: ExtendedKeyUsagePurpose) -> Shown {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let signed = Self::leaf(name, usage).signed_by(&key.0, &issuer).expect("a certificate can be signed");
        key.with(signed.der())
    }

    fn leaf(name: SanType, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        params
    }
}

impl Default for ForeignCa {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection that was made.
#[derive(Debug)]
pub struct Link {
    // Ends the connection when it is dropped, so it is kept.
    _endpoint: Endpoint,
    /// The connection.
    pub connection: Connection,
}

/// Dials a hub. An error says how the connection was refused; a refused certificate shows only once something is asked.
pub async fn dial(hub: SocketAddr, alpn: &[u8], shown: Option<&Shown>) -> Result<Link, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)));
    let mut tls = match shown {
        Some(Shown { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|error| error.to_string())?
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(3)));
    config.transport_config(Arc::new(transport));
    let connecting = endpoint.connect_with(config, hub, "hub.homestak.internal").map_err(|error| error.to_string())?;
    let connection = soon(connecting).await?.map_err(|error| error.to_string())?;
    Ok(Link { _endpoint: endpoint, connection })
}

/// Serves children.
pub fn serve(shown: &Shown) -> Endpoint {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(shown.chain.clone(), shown.key.clone_key())
        .expect("a certificate and its key");
    tls.alpn_protocols = vec![b"homestak/1".to_vec(), b"homestak-enrol/1".to_vec()];
    let crypto = QuicServerConfig::try_from(tls).expect("a configuration for QUIC");
    let config = ServerConfig::with_crypto(Arc::new(crypto));
    Endpoint::server(config, "127.0.0.1:0".parse().expect("an address")).expect("a port is free")
}

impl Link {
    /// Writes one message on a stream of its own, and reads the answer.
    pub async fn ask<A: DeserializeOwned>(&self, message: &impl Serialize) -> Result<A, String> {
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(|error| error.to_string())?;
        tell(&mut send, message).await?;
        hear(&mut receive).await
    }

    /// Writes these bytes on a stream of its own and ends it. Gives how the connection ended, or what was answered.
    pub async fn throw(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(|error| error.to_string())?;
        // The other side may have closed before it had read all of it, which is how it should be.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        soon(receive.read_to_end(frame::MAX_FRAME)).await?.map_err(|error| error.to_string())
    }

    /// The certificates that the hub has shown.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let identity = self.connection.peer_identity().and_then(|chain| chain.downcast().ok());
        identity.map(|chain| *chain).unwrap_or_default()
    }
}

/// Writes one message.
pub async fn tell(stream: &mut SendStream, message: &impl Serialize) -> Result<(), String> {
    let frame = frame::seal(message).map_err(|error| error.to_string())?;
    stream.write_all(&frame).await.map_err(|error| error.to_string())
}

/// Reads one message.
pub async fn hear<A: DeserializeOwned>(stream: &mut RecvStream) -> Result<A, String> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await.map_err(|error| error.to_string())?;
    let length = frame::body_length(header, frame::MAX_FRAME).map_err(|error| error.to_string())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(|error| error.to_string())?;
    frame::open(&body).map_err(|error| error.to_string())
}

/// Takes every certificate.
#[derive(Debug)]
pub struct Trusting(Arc<CryptoProvider>);

impl Default for Trusting {
    fn default() -> Self {
        Self(Arc::new(ring::default_provider()))
    }
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
