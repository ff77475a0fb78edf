//! What a node keeps about itself, in the folder `identity` of its state: its key, the certificate that its parent issued,
//! and how to find that parent again.
//!
//! The key is on disk before anybody sees it, since the parent binds the token to it; it outlives everything else here, so
//! that a machine which is told of another parent, or given another token, shows the same key again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use homestak_protocol::ids::Incarnation;
use homestak_protocol::message::Issued;
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::ca::{BACKDATED_MS, two_thirds};
use super::clock::Clock;
use super::key::PrivateKey;
use super::pin::CaPin;
use super::subject::Subject;
use super::{TrustError, files};
use crate::transport::limits::MAX_ADDRESSES;

/// Where the key is kept.
const KEY: &str = "key.der";
/// Where all else is kept.
const FILE: &str = "identity.json";

/// The longest `host:port` that is kept: a DNS name has at most 253 characters.
const MAX_ADDRESS: usize = 260;

/// What the key that seals journals is derived for.
pub(super) const JOURNAL_LABEL: &str = "homestak journal 1";

/// How a node knows its parent and its parent knows it, as its machine was told at creation.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// `HOMESTAK_CA`: the CA of the parent.
    pub ca: CaPin,
    /// `HOMESTAK_TOKEN`. A node that is enrolled needs it no more.
    pub token: Option<Secret>,
}

/// A node's key, and what it has been told since.
#[derive(Debug)]
pub struct Identity {
    folder: PathBuf,
    key: PrivateKey,
    standing: Standing,
}

/// How the node stands with its parent.
#[derive(Debug, Clone)]
pub enum Standing {
    /// It has never been heard of.
    New,
    /// It has a certificate (which may have expired) for what it was told at creation.
    Enrolled(Enrolled),
    /// It has a certificate, but has been told of another parent or another token since: it must enrol again, by the same
    /// key.
    Outdated(Enrolled),
}

/// What a parent said when it issued a certificate, and how to find it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Its place.
    pub path: NodePath,
    /// The life of its machine.
    pub incarnation: Incarnation,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// When that was issued, in milliseconds since 1970 by the parent's clock.
    pub issued_ms: u64,
    /// When it ends.
    pub not_after_ms: u64,
    /// Every address and name of the parent, as it last told them.
    pub addresses: Vec<String>,
    /// What had to be added to the own clock when the parent last told the time, in milliseconds.
    pub clock_offset_ms: i64,
}

impl Enrolled {
    /// When it is time for the next certificate, in milliseconds since 1970 by the parent's clock.
    pub fn renew_ms(&self) -> u64 {
        let life = Duration::from_millis(self.not_after_ms.saturating_sub(self.issued_ms));
        self.issued_ms.saturating_add(two_thirds(life))
    }

    /// Whether the certificate is in its time by the corrected or by the own clock: that may have been set right since
    /// the parent last told the time.
    pub fn is_in_time(&self, clock: &Clock) -> bool {
        let begin = self.issued_ms.saturating_sub(BACKDATED_MS);
        [clock.now_ms(), clock.own_ms()].iter().any(|now| (begin..self.not_after_ms).contains(now))
    }
}

/// `identity.json`.
#[derive(Serialize, Deserialize)]
struct Stored {
    path: NodePath,
    incarnation: String,
    certificate: String,
    issued_ms: u64,
    not_after_ms: u64,
    addresses: Vec<String>,
    clock_offset_ms: i64,
    ca: String,
    /// SHA-256 of the token, to notice another one.
    token: Option<String>,
}

impl Identity {
    /// Reads the identity in this folder; makes and persists its key if there is none.
    pub fn load_or_create(folder: &Path, told: &Introduction) -> Result<Self, TrustError> {
        files::private_folder(folder)?;
        let key = PrivateKey::load_or_generate(&folder.join(KEY))?;
        let file = folder.join(FILE);
        let standing = match files::read_private(&file)? {
            None => Standing::New,
            Some(json) => {
                let damaged = |why: String| TrustError::Damaged { path: file.clone(), why };
                let stored: Stored = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
                let current = stored.is_for(told);
                let enrolled = stored.into_enrolled().ok_or_else(|| damaged("a field makes no sense".into()))?;
                // A power cut cannot come between the two files; a careless copy of a folder can.
                let same_key = Subject::read(&enrolled.certificate).is_ok_and(|subject| subject.key == key.id());
                match (current, same_key) {
                    (true, true) => Standing::Enrolled(enrolled),
                    _ => Standing::Outdated(enrolled),
                }
            }
        };
        Ok(Self { folder: folder.to_owned(), key, standing })
    }

    /// Reads the identity in this folder, if there is one. Nothing is made.
    pub fn load(folder: &Path, told: &Introduction) -> Result<Option<Self>, TrustError> {
        if !folder.join(KEY).exists() {
            return Ok(None);
        }
        Self::load_or_create(folder, told).map(Some)
    }

    /// Its key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Corrects a clock by what the parent last said, unless that clock has been set right since.
    pub fn correct(&self, clock: &Clock) {
        let plausible = |enrolled: &Enrolled| clock.own_ms().saturating_add(BACKDATED_MS) >= enrolled.issued_ms;
        match self.enrolled() {
            Some(enrolled) if enrolled.clock_offset_ms < 0 || !plausible(enrolled) => {
                clock.set_offset_ms(enrolled.clock_offset_ms);
            }
            _ => clock.set_offset_ms(0),
        }
    }

    /// How it stands with its parent.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What its parent said, if it is enrolled with the parent that it was told of.
    pub fn enrolled(&self) -> Option<&Enrolled> {
        match &self.standing {
            Standing::Enrolled(enrolled) => Some(enrolled),
            Standing::New | Standing::Outdated(_) => None,
        }
    }

    /// A key for sealing its journal. It protects copies of the journal, not the journal against root on its machine.
    pub fn journal_key(&self) -> Zeroizing<[u8; 32]> {
        self.key.derive(JOURNAL_LABEL)
    }

    /// What a new certificate changes. It must be for our key, and after first contact for our place.
    pub fn renewed(&self, issued: Issued, told: &Introduction, clock: &Clock) -> Result<Update, TrustError> {
        let refused = |why: &str| TrustError::Refused(format!("the parent's certificate for us is not for us: {why}"));
        let certificate = CertificateDer::from(issued.certificate);
        let subject = Subject::read(&certificate)?;
        if subject.key != self.key.id() {
            return Err(refused("it is for another key"));
        }
        if (&subject.path, subject.incarnation) != (&issued.path, issued.incarnation) {
            return Err(refused("it names another place than the answer"));
        }
        let before = self.enrolled();
        if before.is_some_and(|before| before.path != subject.path) {
            return Err(refused("it names another place than the one before"));
        }
        let addresses = match before {
            Some(before) if issued.addresses.is_empty() => before.addresses.clone(),
            _ => kept(&issued.addresses),
        };
        let enrolled = Enrolled {
            path: issued.path,
            incarnation: issued.incarnation,
            certificate,
            issued_ms: issued.now_ms,
            not_after_ms: subject.not_after_ms,
            addresses,
            clock_offset_ms: clock.hear(issued.now_ms),
        };
        self.update(enrolled, told)
    }

    /// What a Welcome changes, if it has news of the parent's addresses or time.
    pub fn heard(
        &self,
        addresses: &[String],
        now_ms: u64,
        told: &Introduction,
        clock: &Clock,
    ) -> Result<Option<Update>, TrustError> {
        let offset = clock.hear(now_ms);
        let Some(enrolled) = self.enrolled() else { return Ok(None) };
        let addresses = kept(addresses);
        let moved = offset.abs_diff(enrolled.clock_offset_ms) > super::clock::AGREES_MS;
        let elsewhere = !addresses.is_empty() && addresses != enrolled.addresses;
        if !moved && !elsewhere {
            return Ok(None);
        }
        let mut enrolled = Enrolled { clock_offset_ms: offset, ..enrolled.clone() };
        if elsewhere {
            enrolled.addresses = addresses;
        }
        self.update(enrolled, told).map(Some)
    }

    /// Goes by what is on disk now.
    pub fn adopt(&mut self, persisted: Persisted) {
        self.standing = Standing::Enrolled(persisted.0);
    }

    fn update(&self, enrolled: Enrolled, told: &Introduction) -> Result<Update, TrustError> {
        let stored = Stored {
            path: enrolled.path.clone(),
            incarnation: enrolled.incarnation.to_string(),
            certificate: STANDARD.encode(&enrolled.certificate),
            issued_ms: enrolled.issued_ms,
            not_after_ms: enrolled.not_after_ms,
            addresses: enrolled.addresses.clone(),
            clock_offset_ms: enrolled.clock_offset_ms,
            ca: told.ca.to_string(),
            token: told.token.as_ref().map(digest),
        };
        let json = serde_json::to_vec_pretty(&stored).map_err(|error| TrustError::Refused(error.to_string()))?;
        Ok(Update { file: self.folder.join(FILE), json, enrolled })
    }
}

/// A change of an identity that is not on disk yet.
#[derive(Debug)]
pub struct Update {
    file: PathBuf,
    json: Vec<u8>,
    enrolled: Enrolled,
}

/// A change of an identity that is on disk, and may be gone by.
#[derive(Debug)]
pub struct Persisted(Enrolled);

impl Update {
    /// Writes it to disk; blocks until it is there.
    pub fn persist(self) -> Result<Persisted, TrustError> {
        files::write_private(&self.file, &self.json)?;
        Ok(Persisted(self.enrolled))
    }
}

/// Where the parent is reached that a node was last enrolled with, as that parent said; none where it never was.
pub fn known_addresses(folder: &Path) -> Vec<String> {
    let stored = files::read_private(&folder.join(FILE)).ok().flatten();
    let stored = stored.and_then(|json| serde_json::from_slice::<Stored>(&json).ok());
    stored.map(|stored| stored.addresses).unwrap_or_default()
}

/// As many addresses as are worth keeping.
fn kept(addresses: &[String]) -> Vec<String> {
    addresses.iter().take(MAX_ADDRESSES).filter(|address| address.len() <= MAX_ADDRESS).cloned().collect()
}

impl Stored {
    fn is_for(&self, told: &Introduction) -> bool {
        let same_token = told.token.as_ref().is_none_or(|token| self.token.as_deref() == Some(&digest(token)));
        self.ca == told.ca.to_string() && same_token
    }

    fn into_enrolled(self) -> Option<Enrolled> {
        Some(Enrolled {
            path: self.path,
            incarnation: Incarnation::parse(&self.incarnation)?,
            certificate: CertificateDer::from(STANDARD.decode(self.certificate).ok()?),
            issued_ms: self.issued_ms,
            not_after_ms: self.not_after_ms,
            addresses: self.addresses,
            clock_offset_ms: self.clock_offset_ms,
        })
    }
}

fn digest(token: &Secret) -> String {
    STANDARD.encode(Sha256::digest(token.expose()))
}
