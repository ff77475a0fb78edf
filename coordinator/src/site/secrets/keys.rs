//! The age identities at hand. The command line reads them, as its user may; the daemon is told them over its socket and
//! holds them in memory alone.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use homestak_manifests::diagnostic::{Code, Diagnostic};
use homestak_protocol::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::model::caution;

/// Where SOPS looks for identities in the environment. What lives longer than a command is started without them.
pub const IDENTITIES: &[&str] = &["SOPS_AGE_KEY", "SOPS_AGE_KEY_FILE", "SOPS_AGE_KEY_CMD"];

/// The most identities that are held: each is tried on each file, and nobody has a tenth of them.
const MAX_IDENTITIES: usize = 64;

/// The longest identity that is held; those of age have 74 characters.
const MAX_IDENTITY: usize = 1024;

/// How an identity begins that is read here.
const X25519: &str = "AGE-SECRET-KEY-1";

/// Age identities; as text they are secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys(Vec<Secret>);

impl Keys {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One identity after the other.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }

    /// Takes the identities out of a key file's text, with how many of them are of kinds that are not read here.
    pub fn parse(text: &str) -> (Self, usize) {
        let mut keys = Self::default();
        let mut other = 0;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with(X25519) && line.len() <= MAX_IDENTITY { keys.add(line) } else { other += 1 }
        }
        (keys, other)
    }

    /// Adds those that are new, and says whether any was.
    pub fn learn(&mut self, others: &Self) -> bool {
        let before = self.0.len();
        others.0.iter().for_each(|key| self.add(key.expose()));
        self.0.len() > before
    }

    fn add(&mut self, key: &str) {
        if self.0.len() < MAX_IDENTITIES && key.len() <= MAX_IDENTITY && !self.0.iter().any(|known| known.matches(key))
        {
            self.0.push(Secret::new(key.to_owned()));
        }
    }

    /// Reads those of this process's user, where SOPS keeps them: `SOPS_AGE_KEY`, the file `SOPS_AGE_KEY_FILE`, and
    /// `sops/age/keys.txt` in `XDG_CONFIG_HOME` or `~/.config`. All of them count. With what is odd about them.
    pub fn of_user(env: impl Fn(&str) -> Option<OsString>) -> (Self, Vec<Diagnostic>) {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let mut keys = Self::default();
        let mut odd = Vec::new();
        if let Some(text) = set("SOPS_AGE_KEY") {
            keys.take("SOPS_AGE_KEY", &Zeroizing::new(text.to_string_lossy().into_owned()), &mut odd);
        }
        if let Some(file) = set("SOPS_AGE_KEY_FILE") {
            keys.take_file(Path::new(&file), true, &mut odd);
        }
        let config = set("XDG_CONFIG_HOME").map(PathBuf::from);
        if let Some(config) = config.or_else(|| set("HOME").map(|home| Path::new(&home).join(".config"))) {
            keys.take_file(&config.join("sops/age/keys.txt"), false, &mut odd);
        }
        (keys, odd)
    }

    fn take_file(&mut self, file: &Path, named: bool, odd: &mut Vec<Diagnostic>) {
        let shown = file.display().to_string();
        match fs::read(file).map(Zeroizing::new) {
            Ok(bytes) => {
                if fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
                    let message = "others than its owner can read this file of age identities";
                    odd.extend(caution(&shown, Code::IdentitiesOpen, message, format!("chmod 600 {shown}")));
                }
                self.take(&shown, &Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()), odd);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {}
            Err(error) => {
                let message = format!("the file of age identities cannot be read: {error}");
                let hint = "SOPS_AGE_KEY_FILE names a file that `age-keygen -o FILE` wrote";
                odd.extend(caution(&shown, Code::IdentityInvalid, message, hint));
            }
        }
    }

    fn take(&mut self, origin: &str, text: &str, odd: &mut Vec<Diagnostic>) {
        let (keys, other) = Self::parse(text);
        if other > 0 || keys.is_empty() {
            let message = match other {
                0 => "there is no age identity in it".to_owned(),
                other => format!("{other} lines are no age identity that is read here"),
            };
            let hint = format!(
                "identities begin with {X25519}; those of plugins, SSH keys and files with a passphrase are not read"
            );
            odd.extend(caution(origin, Code::IdentityInvalid, message, hint));
        }
        self.learn(&keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AGE-SECRET-KEY-1ONE";
    const TWO: &str = "AGE-SECRET-KEY-1TWO";

    #[test]
    fn all_places_count_and_nothing_is_held_twice() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("sops/age/keys.txt");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("# created: today\n# public key: age1x\n{TWO}\n{ONE}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let env = |name: &str| match name {
            "SOPS_AGE_KEY" => Some(ONE.into()),
            "XDG_CONFIG_HOME" => Some(home.path().into()),
            _ => None,
        };
        let (keys, odd) = Keys::of_user(env);
        assert_eq!((keys.len(), odd.len()), (2, 0), "{odd:?}");
        assert!(!format!("{keys:?}").contains("AGE"));
    }

    #[test]
    fn what_cannot_be_used_is_told_without_being_shown() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("keys");
        fs::write(&file, "AGE-PLUGIN-YUBIKEY-1HUNTER2\n").unwrap();
        let env = |name: &str| match name {
            "SOPS_AGE_KEY" => Some("hunter2".into()),
            "SOPS_AGE_KEY_FILE" => Some(file.clone().into()),
            "HOME" => Some("/nowhere".into()),
            _ => None,
        };
        let (keys, odd) = Keys::of_user(env);
        let codes: Vec<&str> = odd.iter().map(|diagnostic| diagnostic.code).collect();
        assert!(keys.is_empty());
        assert_eq!(codes, ["W668", "W665", "W668"]);
        assert!(!format!("{odd:?}").to_lowercase().contains("hunter2"), "{odd:?}");
        let missing = |name: &str| (name == "SOPS_AGE_KEY_FILE").then(|| "/nowhere/keys".into());
        assert_eq!(Keys::of_user(missing).1.len(), 1);
    }

    #[test]
    fn there_is_an_end_to_what_is_held() {
        let text: String = (0..200).map(|n| format!("{ONE}{n}\n")).collect();
        assert_eq!(Keys::parse(&text).0.len(), MAX_IDENTITIES);
        assert_eq!(Keys::parse(&format!("{ONE}{}", "x".repeat(5_000))), (Keys::default(), 1));
    }
}
