//! What trust rests on: keys that stay, certificates that say no more than was granted.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homestak_protocol::ids::Incarnation;
use homestak_protocol::message::Issued;
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384, SanType};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TrustError;
use super::ca::{BACKDATED_MS, Ca, Request};
use super::clock::Clock;
use super::identity::{Identity, Introduction, Standing};
use super::key::PrivateKey;
use super::pin::CaPin;
use super::subject::Subject;
use crate::link::Grant;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("homestak-trust-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn grant(at: &str, life: u128) -> Grant {
    Grant { path: NodePath::parse(at).unwrap(), incarnation: Incarnation::from_bits(life) }
}

fn told(ca: &Ca, token: &str) -> Introduction {
    Introduction { ca: ca.pin(), token: Some(Secret::new(token.to_owned())) }
}

fn issue(ca: &Ca, key: &PrivateKey, grant: &Grant) -> Issued {
    let request = Request::read(&key.request().unwrap()).unwrap();
    assert_eq!(request.key(), key.id());
    let issued = ca.issue(&request, grant, Duration::from_secs(60)).unwrap();
    Issued { addresses: vec!["192.0.2.1:44443".to_owned()], ..issued }
}

fn enrol(identity: &mut Identity, ca: &Ca, told: &Introduction, grant: &Grant) -> Result<(), TrustError> {
    let issued = issue(ca, identity.key(), grant);
    let persisted = identity.renewed(issued, told, ca.clock())?.persist()?;
    identity.adopt(persisted);
    Ok(())
}

fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut modes = vec![(".".to_owned(), std::fs::metadata(folder).unwrap().permissions().mode() & 0o777)];
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        modes.push((entry.file_name().into_string().unwrap(), mode));
    }
    modes.sort();
    modes
}

fn named(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs.iter().map(|(name, mode)| ((*name).to_owned(), *mode)).collect()
}

#[test]
fn an_identity_stands_by_what_its_machine_was_told_and_keeps_its_key() {
    let (home, ca_home, other_home) = (Folder::new(), Folder::new(), Folder::new());
    let ca = Ca::load_or_create(&ca_home.0, Clock::system()).unwrap();
    let other = Ca::load_or_create(&other_home.0, Clock::system()).unwrap();
    let first = told(&ca, "first");
    let mut identity = Identity::load_or_create(&home.0, &first).unwrap();
    let (key, journal) = (identity.key().id(), identity.journal_key());
    assert!(matches!(identity.standing(), Standing::New));
    enrol(&mut identity, &ca, &first, &grant("father/m/a", 7)).unwrap();

    let standing = |told: &Introduction| {
        let identity = Identity::load_or_create(&home.0, told).unwrap();
        assert_eq!((identity.key().id(), identity.journal_key()), (key, journal.clone()));
        identity.standing().clone()
    };
    let Standing::Enrolled(enrolled) = standing(&first) else { panic!("it is enrolled") };
    assert_eq!((enrolled.path.as_str(), enrolled.incarnation), ("father/m/a", Incarnation::from_bits(7)));
    assert_eq!(enrolled.addresses, ["192.0.2.1:44443"]);
    assert!(matches!(standing(&Introduction { token: None, ..first.clone() }), Standing::Enrolled(_)));
    assert!(matches!(standing(&told(&ca, "second")), Standing::Outdated(_)));
    assert!(matches!(standing(&told(&other, "first")), Standing::Outdated(_)));
    assert_eq!(modes(&home.0), named(&[(".", 0o700), ("identity.json", 0o600), ("key.der", 0o600)]));
    assert_eq!(modes(&ca_home.0), named(&[(".", 0o700), ("ca.der", 0o600), ("key.der", 0o600)]));
    assert!(!std::fs::read_to_string(home.0.join("identity.json")).unwrap().contains("first"));
}

#[test]
fn a_certificate_for_another_key_or_another_place_is_not_taken() {
    let (home, ca_home) = (Folder::new(), Folder::new());
    let ca = Ca::load_or_create(&ca_home.0, Clock::system()).unwrap();
    let told = told(&ca, "token");
    let mut identity = Identity::load_or_create(&home.0, &told).unwrap();
    let foreign = issue(&ca, &PrivateKey::generate().unwrap(), &grant("father/m/a", 1));
    assert!(identity.renewed(foreign, &told, ca.clock()).is_err());
    let lie =
        Issued { path: NodePath::parse("father/m/b").unwrap(), ..issue(&ca, identity.key(), &grant("father", 1)) };
    assert!(identity.renewed(lie, &told, ca.clock()).is_err());
    enrol(&mut identity, &ca, &told, &grant("father/m/a", 1)).unwrap();
    assert!(enrol(&mut identity, &ca, &told, &grant("father/m/b", 1)).is_err());
    enrol(&mut identity, &ca, &told, &grant("father/m/a", 2)).unwrap();
    assert_eq!(identity.enrolled().unwrap().incarnation, Incarnation::from_bits(2));
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_and_damage_is_said() {
    let (home, ca_home) = (Folder::new(), Folder::new());
    let ca = Ca::load_or_create(&ca_home.0, Clock::system()).unwrap();
    let told = told(&ca, "token");
    let mut identity = Identity::load_or_create(&home.0, &told).unwrap();
    enrol(&mut identity, &ca, &told, &grant("father", 1)).unwrap();
    // What a write that was cut short leaves behind.
    std::fs::write(home.0.join("identity.json.tmp"), b"{\"path\":").unwrap();
    std::fs::set_permissions(home.0.join("identity.json.tmp"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut identity = Identity::load_or_create(&home.0, &told).unwrap();
    assert!(identity.enrolled().is_some());
    enrol(&mut identity, &ca, &told, &grant("father", 2)).unwrap();
    assert_eq!(modes(&home.0), named(&[(".", 0o700), ("identity.json", 0o600), ("key.der", 0o600)]));
    std::fs::write(home.0.join("identity.json"), b"{}").unwrap();
    assert!(matches!(Identity::load_or_create(&home.0, &told), Err(TrustError::Damaged { .. })));
    std::fs::write(home.0.join("key.der"), b"key").unwrap();
    assert!(matches!(Identity::load_or_create(&home.0, &told), Err(TrustError::Damaged { .. })));
}

#[test]
fn a_ca_is_made_once_and_a_foreign_key_beside_it_is_noticed() {
    let (home, other) = (Folder::new(), Folder::new());
    let ca = Ca::load_or_create(&home.0, Clock::system()).unwrap();
    let again = Ca::load_or_create(&home.0, Clock::system()).unwrap();
    assert_eq!((ca.pin(), ca.journal_key()), (again.pin(), again.journal_key()));
    Ca::load_or_create(&other.0, Clock::system()).unwrap();
    std::fs::copy(other.0.join("key.der"), home.0.join("key.der")).unwrap();
    assert!(matches!(Ca::load_or_create(&home.0, Clock::system()), Err(TrustError::Damaged { .. })));
    // A crash between the key and the certificate.
    std::fs::remove_file(other.0.join("ca.der")).unwrap();
    assert!(Ca::load_or_create(&other.0, Clock::system()).is_ok());
}

#[test]
fn a_certificate_says_what_was_granted_whatever_the_request_asks_for() {
    let home = Folder::new();
    let now = 1_750_000_000_000;
    let ca = Ca::load_or_create(&home.0, Clock::from_fn(move || now)).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::default();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.subject_alt_names = vec![SanType::URI("homestak:/father?incarnation=0".try_into().unwrap())];
    greedy.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let request = Request::read(greedy.serialize_request(&key).unwrap().der()).unwrap();
    let grant = grant("local/n2-tiered/root-pve", 9);
    let issued = ca.issue(&request, &grant, Duration::from_secs(60)).unwrap();
    let der = CertificateDer::from(issued.certificate);
    let subject = Subject::read(&der).unwrap();
    assert_eq!((&subject.path, subject.incarnation), (&grant.path, grant.incarnation));
    assert_eq!((subject.key, subject.not_after_ms), (request.key(), now + 60_000));
    assert_eq!(issued.not_after_ms, subject.not_after_ms);
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert_eq!(parsed.validity().not_before.timestamp() * 1000, i64::try_from(now - BACKDATED_MS).unwrap());

    let serving = ca.serve(&["192.0.2.1".to_owned()]).unwrap();
    let (_, parsed) = X509Certificate::from_der(&serving.chain[0]).unwrap();
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any && !parsed.is_ca());
    assert!(Subject::read(&serving.chain[0]).is_err(), "a hub's certificate is no child's");
}

#[test]
fn a_request_that_does_not_prove_its_key_is_refused() {
    let key = PrivateKey::generate().unwrap();
    let mut der = key.request().unwrap();
    assert!(Request::read(&der).is_ok());
    let last = der.len() - 1;
    der[last] ^= 1;
    assert!(Request::read(&der).is_err());
    assert!(Request::read(&der[..last]).is_err());
    assert!(Request::read(b"").is_err());
    let large = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let der = CertificateParams::default().serialize_request(&large).unwrap();
    assert!(Request::read(der.der()).is_err());
}

#[test]
fn a_clock_set_right_while_the_node_was_down_is_not_corrected_twice() {
    let (home, ca_home) = (Folder::new(), Folder::new());
    let now = 1_750_000_000_000;
    let ca = Ca::load_or_create(&ca_home.0, Clock::from_fn(move || now)).unwrap();
    let told = told(&ca, "token");
    let mut identity = Identity::load_or_create(&home.0, &told).unwrap();
    let wrong = Clock::from_fn(|| 60_000);
    let issued = issue(&ca, identity.key(), &grant("father", 1));
    let persisted = identity.renewed(issued, &told, &wrong).unwrap().persist().unwrap();
    identity.adopt(persisted);
    assert_eq!(wrong.now_ms(), now);
    let identity = Identity::load_or_create(&home.0, &told).unwrap();
    let still_wrong = Clock::from_fn(|| 90_000);
    identity.correct(&still_wrong);
    assert_eq!(still_wrong.now_ms(), now + 30_000);
    let right = Clock::from_fn(move || now + 40_000);
    identity.correct(&right);
    assert_eq!(right.now_ms(), now + 40_000);
    let enrolled = identity.enrolled().unwrap();
    assert!(
        enrolled.is_in_time(&right) && enrolled.is_in_time(&still_wrong) && !enrolled.is_in_time(&Clock::from_fn(|| 0))
    );
    assert!(!enrolled.is_in_time(&Clock::from_fn(move || now + 60_000)));
    assert_eq!(enrolled.renew_ms(), now + 40_000);
}

#[test]
fn a_private_key_does_not_print() {
    let key = PrivateKey::generate().unwrap();
    assert_eq!(format!("{key:?}"), format!("PrivateKey({})", key.id()));
    assert_ne!(key.derive("a"), key.derive("b"));
    assert!(CaPin::parse("sha256:").is_err());
}
