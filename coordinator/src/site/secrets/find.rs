//! Which file of a site folder holds its secrets, and in which form: plain YAML, SOPS, or age as a whole. The name proposes,
//! the content decides.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use homestak_manifests::diagnostic::{Code, Diagnostic};
use homestak_manifests::yaml::MAX_BYTES;
use zeroize::Zeroizing;

use super::model::{caution, whole};

/// The plain file. An operator who decrypts to it wants it to be what counts.
pub const PLAIN: &str = "secrets.yaml";

/// The encrypted ones, the first that is there first; the one that `secrets encrypt` writes leads.
pub const ENCRYPTED: &[&str] = &["secrets.yaml.enc", "secrets.enc.yaml", "secrets.yaml.age"];

/// How age begins a file: as bytes, and in armour.
const AGE: &[&[u8]] = &[b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----"];

/// How SOPS begins a value.
const SEALED: &[u8] = b"ENC[AES256_GCM,";

/// The file that counts.
pub(super) struct Found {
    /// Where it lies, as it is told.
    pub(super) path: PathBuf,
    /// What it holds.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// How.
    pub(super) form: Form,
    /// What is odd about it and its neighbours.
    pub(super) warnings: Vec<Diagnostic>,
}

/// How a file holds its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// YAML that anybody can read who can read the file.
    Plain,
    /// YAML whose values are encrypted one by one.
    Sops,
    /// Anything, encrypted as a whole.
    Age,
}

impl Form {
    /// As documents call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Form::Plain => "plain",
            Form::Sops => "sops",
            Form::Age => "age",
        }
    }
}

/// A file that is there.
struct Candidate {
    name: &'static str,
    changed: Option<SystemTime>,
    mode: u32,
}

/// Finds it; none where the folder has no secrets.
pub(super) fn find(dir: &Path) -> Result<Option<Found>, Vec<Diagnostic>> {
    let mut there = Vec::new();
    for name in [PLAIN].iter().chain(ENCRYPTED) {
        there.extend(look(dir, name)?);
    }
    let Some((first, rest)) = there.split_first() else { return Ok(None) };
    let path = dir.join(first.name);
    let shown = path.display().to_string();
    let bytes = read(&path).map_err(|error| unreadable(&shown, &error))?;
    let form = form(&bytes);
    if form == Form::Plain && first.name != PLAIN {
        let message = "the file is encrypted neither by SOPS nor by age, as its name says";
        let hint =
            format!("encrypt it with `homestak-coord secrets encrypt`, or name it {PLAIN} and close it to others");
        return Err(whole(&shown, Code::SopsMalformed, message, hint));
    }
    let mut warnings = Vec::new();
    if form == Form::Plain && first.mode & 0o077 != 0 {
        let message = format!("others than its owner can read the file (mode {:04o})", first.mode & 0o7777);
        warnings.extend(caution(&shown, Code::SecretsOpen, message, format!("chmod 600 {shown}")));
    }
    for other in rest {
        warnings.extend(beside(&shown, first, other));
    }
    Ok(Some(Found { path, bytes, form, warnings }))
}

/// Whether a file of that folder may need an age identity. It is not opened for it, but for a plain one with a SOPS section.
pub fn may_need_identity(dir: &Path) -> bool {
    let plain = || read(&dir.join(PLAIN)).is_ok_and(|bytes| form(&bytes) != Form::Plain);
    ENCRYPTED.iter().any(|name| dir.join(name).exists()) || plain()
}

/// What there is to say about a file that is not read since `first` is.
fn beside(shown: &str, first: &Candidate, other: &Candidate) -> Vec<Diagnostic> {
    if first.name != PLAIN {
        let message = format!("{} is not read, since this file is there too", other.name);
        return caution(shown, Code::SecretsIgnored, message, "keep one of them");
    }
    if first.changed >= other.changed {
        return Vec::new();
    }
    let message = format!("{} is newer than this file, and this file is what is read", other.name);
    let hint =
        format!("decrypt it again with `homestak-coord secrets decrypt`, or remove {PLAIN} so that it is read itself");
    caution(shown, Code::SecretsStale, message, hint)
}

fn look(dir: &Path, name: &'static str) -> Result<Option<Candidate>, Vec<Diagnostic>> {
    let path = dir.join(name);
    let refuse = |error: &io::Error| unreadable(&path.display().to_string(), error);
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(Some(Candidate { name, changed: meta.modified().ok(), mode: meta.mode() })),
        Ok(_) => Err(refuse(&io::Error::other("it is no file"))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            // A link that points nowhere was meant to be a file.
            if fs::symlink_metadata(&path).is_ok() { Err(refuse(&error)) } else { Ok(None) }
        }
        Err(error) => Err(refuse(&error)),
    }
}

/// Reads a file, at most a byte past what is parsed.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    // With room for all of it at once, so that no copy is left behind by growing.
    let size = usize::try_from(file.metadata()?.len().min(limit)).unwrap_or(MAX_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.saturating_add(1)));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the content says that it is.
pub(super) fn form(bytes: &[u8]) -> Form {
    if AGE.iter().any(|start| bytes.trim_ascii_start().starts_with(start)) {
        return Form::Age;
    }
    // SOPS writes its section without indentation. One that has lost it is not plain either.
    let section = |line: &[u8]| line.starts_with(b"sops:") || line.starts_with(b"\"sops\":");
    let sealed = |line: &[u8]| line.windows(SEALED.len()).any(|part| part == SEALED);
    let lines = || bytes.split(|&byte| byte == b'\n');
    if lines().any(|line| section(line) || sealed(line)) { Form::Sops } else { Form::Plain }
}

fn unreadable(shown: &str, error: &io::Error) -> Vec<Diagnostic> {
    let hint =
        "the process that reads it, most likely the daemon, needs the right to; see `homestak-coord server status`";
    whole(shown, Code::SecretsUnreadable, format!("the secrets file cannot be opened: {error}"), hint)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        dir
    }

    fn codes(found: &Found) -> Vec<&str> {
        found.warnings.iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn the_content_decides_what_a_file_is() {
        for (text, form) in [
            ("auth: {}\n", Form::Plain),
            ("auth: ENC[x]\nsops:\n  mac: x\n", Form::Sops),
            ("auth: {signing_key: 'ENC[AES256_GCM,data:'}\n", Form::Sops),
            ("age-encryption.org/v1\n-> X25519 x\n", Form::Age),
            ("\n-----BEGIN AGE ENCRYPTED FILE-----\n", Form::Age),
        ] {
            let dir = folder(&[(PLAIN, text)]);
            assert_eq!(find(dir.path()).unwrap().unwrap().form, form, "{text}");
            assert_eq!(may_need_identity(dir.path()), form != Form::Plain);
        }
        assert!(find(folder(&[]).path()).unwrap().is_none());
        assert_eq!(find(folder(&[("secrets.yaml.enc", "a: b\n")]).path()).err().unwrap()[0].code, "E664");
    }

    #[test]
    fn a_plain_file_counts_and_says_when_it_is_open_or_old() {
        let dir = folder(&[(PLAIN, "auth: {}\n"), ("secrets.yaml.enc", "sops:\n")]);
        let found = find(dir.path()).unwrap().unwrap();
        assert_eq!((found.form, found.path), (Form::Plain, dir.path().join(PLAIN)));
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        File::options().write(true).open(dir.path().join(PLAIN)).unwrap().set_modified(past).unwrap();
        fs::set_permissions(dir.path().join(PLAIN), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(codes(&find(dir.path()).unwrap().unwrap()), ["W660", "W661"]);
    }

    #[test]
    fn of_two_encrypted_files_one_is_read_and_the_other_named() {
        let dir = folder(&[("secrets.enc.yaml", "sops:\n"), ("secrets.yaml.age", "age-encryption.org/v1\n")]);
        let found = find(dir.path()).unwrap().unwrap();
        assert_eq!((found.form, codes(&found)), (Form::Sops, vec!["W666"]));
        assert!(found.warnings[0].message.contains("secrets.yaml.age"));
    }

    #[test]
    fn what_is_there_and_cannot_be_opened_is_no_absence() {
        let dir = folder(&[]);
        fs::create_dir(dir.path().join(PLAIN)).unwrap();
        assert_eq!(find(dir.path()).err().unwrap()[0].code, "E660");
        let dir = folder(&[]);
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join("secrets.yaml.enc")).unwrap();
        assert_eq!(find(dir.path()).err().unwrap()[0].code, "E660");
    }
}
