//! What a fake host shows: a certificate under a CA of its own, as Proxmox VE makes them.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ring::digest::{SHA256, digest};

/// Certificate and key, as files.
pub(super) struct Certificate {
    pub(super) ca: PathBuf,
    pub(super) file: PathBuf,
    pub(super) key: PathBuf,
    /// `AB:CD:…`
    pub(super) fingerprint: String,
}

/// Makes them in this folder.
pub(super) fn make(folder: &Path) -> Certificate {
    let key = || KeyPair::generate().expect("there is chance enough for a key");
    let (root_key, own_key) = (key(), key());
    let params = |names: Vec<String>| CertificateParams::new(names).expect("a certificate can be made");
    let mut root = params(Vec::new());
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "Proxmox Virtual Environment");
    let ca = root.self_signed(&root_key).expect("a certificate can be made");
    let issuer = Issuer::from_params(&root, &root_key);
    let own = params(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).signed_by(&own_key, &issuer);
    let own = own.expect("a certificate can be made");
    let write = |name: &str, what: &str, der: &[u8]| {
        let file = folder.join(name);
        fs::write(&file, pem(what, der)).expect("a stage's folder can be written");
        file
    };
    let hash = digest(&SHA256, own.der());
    Certificate {
        ca: write("ca.pem", "CERTIFICATE", ca.der()),
        file: write("cert.pem", "CERTIFICATE", own.der()),
        key: write("key.pem", "PRIVATE KEY", &own_key.serialize_der()),
        fingerprint: hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"),
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}
