//! Making a site's secrets file, and encrypting it. The plain text of an encrypted one is in memory alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use homestak_manifests::diagnostic::{Code, Diagnostic, Report, Source};
use homestak_manifests::yaml;
use homestak_node::trust::files::write_private;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::creation::Creation;
use super::find::{ENCRYPTED, Form, Found, PLAIN, find};
use super::model::{finish, whole};
use super::{Secrets, sops, text};

/// What is encrypted is written to.
const SEALED: &str = "secrets.yaml.enc";

/// Makes the secrets file of a folder that has none: a fresh signing key and empty sections. With `creation` it is
/// encrypted before it is written, else it is closed to others. Gives its path.
pub fn init(dir: &Path, creation: Option<&Creation>, modified: &str) -> Result<PathBuf, Vec<Diagnostic>> {
    if let Some(there) =
        [PLAIN].iter().chain(ENCRYPTED).map(|name| dir.join(name)).find(|path| path.symlink_metadata().is_ok())
    {
        let hint = "`homestak-coord secrets check` says what is in it; move it away to begin anew";
        return Err(whole(&there.display().to_string(), Code::SecretsThere, "the site has secrets already", hint));
    }
    let plain =
        fresh().ok_or_else(|| whole(PLAIN, Code::SecretsUnwritable, "no random numbers are to be had", "try again"))?;
    if let Some(creation) = creation {
        return seal(dir, &plain, creation, modified);
    }
    let path = dir.join(PLAIN);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = written.and_then(|mut file| file.write_all(plain.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| unwritable(&path, &error))?;
    Ok(path)
}

/// Encrypts the plain secrets file of a folder beside it, in place of one that is encrypted. Gives the path of that.
pub fn encrypt(dir: &Path, creation: &Creation, modified: &str) -> Result<PathBuf, Vec<Diagnostic>> {
    let path = dir.join(PLAIN);
    let shown = path.display().to_string();
    let hint = format!("begin with `homestak-coord secrets init`, or write {PLAIN} first");
    let Some(Found { bytes, form: Form::Plain, .. }) = find(dir)?.filter(|found| found.path == path) else {
        return Err(whole(&shown, Code::SecretsUnreadable, "there is no plain secrets file to encrypt", hint));
    };
    let plain = text(&shown, &bytes)?;
    // What nobody could use is better seen before it is hidden.
    Secrets::parse(&shown, plain)?;
    let sealed = seal(dir, plain, creation, modified)?;
    // It is of the same state as the plain one, which is not out of date by it.
    let changed = fs::metadata(&path).and_then(|meta| meta.modified());
    let kept = changed.and_then(|time| OpenOptions::new().write(true).open(&sealed)?.set_modified(time));
    kept.map_err(|error| unwritable(&sealed, &error))?;
    Ok(sealed)
}

/// Removes the plain secrets file.
pub fn remove_plain(dir: &Path) -> Result<(), Vec<Diagnostic>> {
    let path = dir.join(PLAIN);
    fs::remove_file(&path).map_err(|error| unwritable(&path, &error))
}

fn seal(dir: &Path, plain: &str, creation: &Creation, modified: &str) -> Result<PathBuf, Vec<Diagnostic>> {
    let shown = dir.join(PLAIN).display().to_string();
    let mut report = Report::new(Source::secret(&shown, plain));
    let tree = yaml::read(&mut report);
    let sealed = tree.and_then(|tree| sops::encrypt(&tree, creation, modified, &mut report));
    let (sealed, _) = finish(sealed, report)?;
    let path = dir.join(SEALED);
    write_private(&path, sealed.as_bytes()).map_err(|error| {
        let hint = "the folder must be yours to write to and its disk not full";
        whole(
            &path.display().to_string(),
            Code::SecretsUnwritable,
            format!("the file cannot be written: {error}"),
            hint,
        )
    })?;
    Ok(path)
}

fn unwritable(path: &Path, error: &io::Error) -> Vec<Diagnostic> {
    let hint = "the folder must be yours to write to and its disk not full";
    whole(&path.display().to_string(), Code::SecretsUnwritable, format!("the file cannot be written: {error}"), hint)
}

/// A secrets file of nothing but a key that was just drawn.
fn fresh() -> Option<Zeroizing<String>> {
    let mut key = Zeroizing::new([0_u8; 32]);
    SystemRandom::new().fill(&mut *key).ok()?;
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str(
        "# What this site keeps to itself. Whoever can read this file can do everything.\n\
         \n\
         # API tokens of hosts, by name: `father: root@pam!homestak=...`\n\
         api_tokens: {}\n\
         \n\
         # The hash of every machine's root password, as `openssl passwd -6` prints it; without one root has none.\n\
         passwords:\n    vm_root: \"\"\n\
         \n\
         # Public SSH keys, by name: `me@desk: ssh-ed25519 AAAA...`\n\
         ssh_keys: {}\n\
         \n\
         # What provisioning tokens are signed with. To change it, move the old one to `previous_signing_key`.\n\
         auth:\n    signing_key: \"",
    );
    key.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    text.push_str("\"\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use age::x25519::Identity;

    use super::super::{Keys, decrypt, open};
    use super::*;

    const NOW: &str = "2024-05-01T12:00:00Z";

    fn pair() -> (Keys, Creation) {
        use secrecy::ExposeSecret as _;
        let identity = Identity::generate();
        let keys = Keys::parse(identity.to_string().expose_secret()).0;
        (keys, Creation::to(&[identity.to_public().to_string()]).unwrap())
    }

    #[test]
    fn a_site_begins_with_a_key_of_its_own_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = init(dir.path(), None, NOW).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let opened = open(dir.path(), &Keys::default()).unwrap();
        assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
        assert!(opened.secrets().unwrap().auth.signing_key.is_some());
        let before = fs::read(&path).unwrap();
        assert_eq!(init(dir.path(), None, NOW).unwrap_err()[0].code, "E672");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_is_encrypted_from_the_start_is_never_plain_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, creation) = pair();
        let path = init(dir.path(), Some(&creation), NOW).unwrap();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, [path]);
        let plain = decrypt(dir.path(), &keys).unwrap();
        let key = plain.split("signing_key: ").nth(1).unwrap().trim().trim_matches('"').to_owned();
        assert!(key.len() == 64 && !fs::read_to_string(&names[0]).unwrap().contains(&key));
        assert!(open(dir.path(), &keys).unwrap().secrets().is_ok());
        assert_eq!(open(dir.path(), &pair().0).unwrap().secrets().unwrap_err().code, "E663");
    }

    #[test]
    fn what_is_encrypted_and_decrypted_is_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, creation) = pair();
        let text = format!(
            "api_tokens:\n    father: root@pam!t=1-2\nssh_keys:\n    zoe@desk: \"ssh-ed25519 AAAA zoe\"\n    adam@desk: \"ssh-ed25519 BBBB adam\"\nauth:\n    signing_key: {}\nother:\n    - 1\n    - true\n    -\n        deep: 1.5\n    - null\n    - \"\"\n",
            "1".repeat(64)
        );
        fs::write(dir.path().join(PLAIN), &text).unwrap();
        encrypt(dir.path(), &creation, NOW).unwrap();
        let codes: Vec<&str> = open(dir.path(), &keys).unwrap().warnings.iter().map(|warning| warning.code).collect();
        assert!(!codes.contains(&"W661"), "what was just encrypted is not out of date");
        remove_plain(dir.path()).unwrap();
        assert_eq!(
            *decrypt(dir.path(), &keys).unwrap(),
            text.replace(&"1".repeat(64), &format!("\"{}\"", "1".repeat(64)))
        );
        let opened = open(dir.path(), &keys).unwrap();
        let names: Vec<&str> = opened.secrets().unwrap().ssh_keys.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["zoe@desk", "adam@desk"]);
        assert_eq!(encrypt(dir.path(), &creation, NOW).unwrap_err()[0].code, "E660", "there is nothing plain left");
    }
}
