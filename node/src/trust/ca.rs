//! The CA that a hub is for its direct children.
//!
//! It signs two kinds of certificate and no other: its hub's own, which may serve and not dial, and its children's, which
//! may dial and not serve. So a captured child cannot pass for its parent, and a captured hub forges nobody but its own
//! children. It ends with its state folder; a child notices by the pin.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use homestak_protocol::message::Issued;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use zeroize::Zeroizing;

use super::clock::Clock;
use super::key::{PrivateKey, key_id};
use super::pin::CaPin;
use super::{TrustError, files, subject};
use crate::link::{Grant, KeyId};

/// The name that every hub's certificate carries and every child asks for. Addresses change; the pin says whose it is.
pub const HUB_NAME: &str = "hub.homestak.internal";

/// How far into the past certificates reach: clocks of one site are rarely an hour apart.
pub const BACKDATED_MS: u64 = 3_600_000;

/// How long a child's certificate lives unless it is told otherwise. A day: revocation needs no list that outlives it,
/// and a parent may be away for eight hours (the last third) before anybody has to renew an expired one.
pub const CHILD_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How long a hub's own certificate lives; it is made anew at each start and at two thirds of this.
pub const SERVER_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// What the key for stateless resets is derived by.
const RESET_LABEL: &str = "homestak reset 1";

/// Uncompressed point of a P-256 public key.
const POINT: usize = 65;

/// The last second that X.509 can name: 9999-12-31 23:59:59.
const END_OF_TIME: u64 = 253_402_300_799;

/// A hub's CA.
pub struct Ca {
    key: PrivateKey,
    certificate: CertificateDer<'static>,
    issuer_name: DistinguishedName,
    clock: Clock,
}

/// A key and its certificate, to serve with.
pub struct ServerCertificate {
    /// The certificate and, after it, the CA's, by which the child knows it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key, which exists in this process only.
    pub key: PrivateKey,
    /// When it should be replaced, in milliseconds since 1970.
    pub renew_ms: u64,
}

impl Ca {
    /// Reads the CA in this folder, or makes one there. It never ends: its pin is all that children know of it.
    pub fn load_or_create(folder: &Path, clock: Clock) -> Result<Self, TrustError> {
        files::private_folder(folder)?;
        // The key first: a certificate without it would be of no use, a key without certificate is completed here.
        let key = PrivateKey::load_or_generate(&folder.join("key.der"))?;
        let file = folder.join("ca.der");
        let certificate = match files::read_private(&file)? {
            Some(der) => CertificateDer::from(der.to_vec()),
            None => {
                let made = self_signed(&key, clock.now_ms())?;
                files::write_private(&file, &made)?;
                made
            }
        };
        let issuer_name = check(&certificate, &key, &file)?;
        Ok(Self { key, certificate, issuer_name, clock })
    }

    /// How children know it.
    pub fn pin(&self) -> CaPin {
        CaPin::of(&self.certificate)
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate as text, as programs that are not ours read it.
    pub fn pem(&self) -> String {
        pem(&self.certificate)
    }

    /// The clock that it dates by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A key for sealing the records of a process that has no identity of its own: the coordinator.
    pub fn journal_key(&self) -> Zeroizing<[u8; 32]> {
        self.key.derive(super::identity::JOURNAL_LABEL)
    }

    /// A key for telling children of a process that was killed that their connections are gone.
    pub(crate) fn reset_key(&self) -> Zeroizing<[u8; 32]> {
        self.key.derive(RESET_LABEL)
    }

    /// Signs a certificate to serve with, for [`HUB_NAME`] and these addresses and names besides.
    pub fn serve(&self, names: &[String]) -> Result<ServerCertificate, TrustError> {
        let key = PrivateKey::generate()?;
        let now = self.clock.now_ms();
        let mut params = params(now, SERVER_LIFETIME)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::DnsName(HUB_NAME.try_into()?)];
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        let certificate = params.signed_by(key.pair(), &self.issuer())?;
        let renew_ms = now.saturating_add(two_thirds(SERVER_LIFETIME));
        Ok(ServerCertificate { chain: vec![certificate.into(), self.certificate.clone()], key, renew_ms })
    }

    /// Signs a child's certificate for the key in this request and for the place and life that were granted to it.
    pub fn issue(&self, request: &Request, grant: &Grant, lifetime: Duration) -> Result<Issued, TrustError> {
        let now_ms = self.clock.now_ms();
        let mut params = params(now_ms, lifetime)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = subject::uri(&grant.path, grant.incarnation);
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        let certificate = params.signed_by(&request.key, &self.issuer())?;
        Ok(Issued {
            path: grant.path.clone(),
            incarnation: grant.incarnation,
            certificate: certificate.der().to_vec(),
            not_after_ms: end(now_ms, lifetime).saturating_mul(1000),
            now_ms,
            addresses: Vec::new(),
        })
    }

    fn issuer(&self) -> Issuer<'static, &rcgen::KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name = self.issuer_name.clone();
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Issuer::new(params, self.key.pair())
    }
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ca({})", self.pin())
    }
}

/// A request for a certificate whose sender has proved that it holds the key. Whatever else it asks for is not looked at.
pub struct Request {
    key: rcgen::PublicKey,
    id: KeyId,
}

impl Request {
    /// Reads a PKCS#10 request (DER) and verifies its signature.
    pub fn read(der: &[u8]) -> Result<Self, TrustError> {
        let refused = |why: String| TrustError::Refused(format!("the certificate request is refused: {why}"));
        let der = CertificateSigningRequestDer::from(der);
        let parsed = CertificateSigningRequestParams::from_der(&der).map_err(|error| refused(error.to_string()))?;
        let key = parsed.public_key;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != POINT {
            return Err(refused("its key is not ECDSA P-256".into()));
        }
        let id = key_id(&key.subject_public_key_info());
        Ok(Self { key, id })
    }

    /// The key that signed it.
    pub fn key(&self) -> KeyId {
        self.id
    }
}

/// Two thirds of a life, in milliseconds: when whoever lives it should see to the next.
pub(crate) fn two_thirds(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX) / 3 * 2
}

/// A certificate as text (RFC 7468).
pub fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn self_signed(key: &PrivateKey, now_ms: u64) -> Result<CertificateDer<'static>, TrustError> {
    let mut params = params(now_ms, Duration::from_secs(END_OF_TIME))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.use_authority_key_identifier_extension = false;
    let mut random = [0; 4];
    draw(&mut random)?;
    params.distinguished_name.push(DnType::CommonName, format!("homestak CA {:08x}", u32::from_be_bytes(random)));
    Ok(params.self_signed(key.pair())?.into())
}

/// What all certificates have in common: a random serial number and a life that began an hour ago.
fn params(now_ms: u64, lifetime: Duration) -> Result<CertificateParams, TrustError> {
    let mut serial = [0; 16];
    draw(&mut serial)?;
    // Positive, as RFC 5280 wants it, and never empty.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date((now_ms / 1000).saturating_sub(BACKDATED_MS / 1000));
    params.not_after = date(end(now_ms, lifetime));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The second in which a life ends.
fn end(now_ms: u64, lifetime: Duration) -> u64 {
    (now_ms / 1000).saturating_add(lifetime.as_secs()).min(END_OF_TIME)
}

fn date(seconds: u64) -> time::OffsetDateTime {
    let seconds = i64::try_from(seconds.min(END_OF_TIME)).unwrap_or_default();
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

fn draw(bytes: &mut [u8]) -> Result<(), TrustError> {
    SystemRandom::new().fill(bytes).map_err(|_| TrustError::Refused("the system gives no random numbers".into()))
}

/// Reads the CA's name from its certificate, and checks that certificate and key belong together.
fn check(certificate: &CertificateDer<'_>, key: &PrivateKey, file: &Path) -> Result<DistinguishedName, TrustError> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let damaged = |why: &str| TrustError::Damaged { path: file.to_path_buf(), why: why.to_owned() };
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| damaged("it is no certificate"))?;
    if key_id(parsed.public_key().raw) != key.id() {
        return Err(damaged("it belongs to another key"));
    }
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let mut issuer = DistinguishedName::new();
    issuer.push(DnType::CommonName, name.ok_or_else(|| damaged("it has no name"))?);
    Ok(issuer)
}
