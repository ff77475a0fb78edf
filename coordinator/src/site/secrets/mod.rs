//! What a site keeps to itself: API tokens, password hashes, SSH keys and the key that provisioning tokens are signed with.
//!
//! [`open`] finds the file of a site folder, decrypts it in memory where it is encrypted, and yields typed [`Secrets`].
//! Nothing decrypted is written anywhere by this module, and nothing that it says shows a value.
//!
//! - `find`: which file, in which form. - `model`: what it may hold. - `keys`: the age identities at hand.
//! - `envelope`: age. - `sops`: SOPS's form. - `creation`: for whom a file is
//!   encrypted. - `keep`: making and encrypting it. - `change`, `insert`: one more token in it. - `emit`: a tree as text.

mod change;
mod creation;
mod emit;
mod envelope;
mod find;
mod insert;
mod keep;
mod keys;
mod model;
mod sops;

use std::path::{Path, PathBuf};

use homestak_manifests::diagnostic::{Code, Diagnostic, Report, Source};
use homestak_manifests::yaml;
use zeroize::Zeroizing;

pub use self::change::{Kept, TokenKept, keep_token, look_at_token};
pub use self::creation::{Creation, RULES};
pub use self::find::{ENCRYPTED, Form, PLAIN, may_need_identity};
use self::find::{Found, find, form};
pub use self::keep::{encrypt, init, remove_plain};
pub use self::keys::{IDENTITIES, Keys};
pub use self::model::{Auth, Passwords, Secrets};
use self::model::{finish, whole};

/// The secrets of a site folder, as far as they can be had.
#[derive(Debug)]
pub struct Opened {
    /// What they are; or, where they are encrypted and no identity fits, that.
    content: Result<Secrets, Diagnostic>,
    /// The file that counts, and how it holds them; none where there is none and nothing is secret.
    pub file: Option<(PathBuf, Form)>,
    /// What is odd about it.
    pub warnings: Vec<Diagnostic>,
}

impl Opened {
    /// A site without secrets.
    pub fn nothing() -> Self {
        Self { content: Ok(Secrets::default()), file: None, warnings: Vec::new() }
    }

    /// The secrets; where they are locked away, why and what to do. Who needs none goes on without asking.
    pub fn secrets(&self) -> Result<&Secrets, &Diagnostic> {
        self.content.as_ref()
    }

    /// Whether they are locked away.
    pub fn is_locked(&self) -> bool {
        self.content.is_err()
    }
}

/// Opens the secrets of a site folder. A file that cannot be read, is not what it should be or was tampered with is an
/// error with all that is wrong; one that is whole, encrypted and not for us is not (see [`Opened::secrets`]).
pub fn open(dir: &Path, keys: &Keys) -> Result<Opened, Vec<Diagnostic>> {
    let Some(Found { path, bytes, form, warnings }) = find(dir)? else { return Ok(Opened::nothing()) };
    let mut opened = opened(&path.display().to_string(), &bytes, form, keys)?;
    opened.file = Some((path, form));
    opened.warnings.splice(0..0, warnings);
    Ok(opened)
}

/// The same of a file's bytes, whatever their form. `file` is only repeated.
pub fn read(file: &str, bytes: &[u8], keys: &Keys) -> Result<Opened, Vec<Diagnostic>> {
    opened(file, bytes, form(bytes), keys)
}

fn opened(shown: &str, bytes: &[u8], form: Form, keys: &Keys) -> Result<Opened, Vec<Diagnostic>> {
    let read = match form {
        Form::Plain => Read::plain(shown, text(shown, bytes)?)?,
        Form::Age => match unwrapped(shown, bytes, keys)? {
            Some(plain) => Read::plain(shown, text(shown, &plain)?)?,
            None => Read::Locked(Vec::new()),
        },
        Form::Sops => from_sops(shown, text(shown, bytes)?, keys)?,
    };
    Ok(match read {
        Read::Known(secrets, warnings) => Opened { content: Ok(secrets), file: None, warnings },
        Read::Locked(others) => Opened { content: Err(locked(shown, keys, &others)), file: None, warnings: Vec::new() },
    })
}

/// What came of a file.
enum Read {
    /// Its secrets, and what is odd.
    Known(Secrets, Vec<Diagnostic>),
    /// No identity fits; what else could open it.
    Locked(Vec<&'static str>),
}

impl Read {
    fn plain(shown: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        Secrets::parse(shown, text).map(|(secrets, odd)| Self::Known(secrets, odd))
    }
}

fn text<'b>(shown: &str, bytes: &'b [u8]) -> Result<&'b str, Vec<Diagnostic>> {
    yaml::text(shown, bytes).map_err(|diagnostic| vec![*diagnostic])
}

/// What a file holds that age has encrypted as a whole; none where no identity fits.
fn unwrapped(shown: &str, bytes: &[u8], keys: &Keys) -> Result<Option<Zeroizing<Vec<u8>>>, Vec<Diagnostic>> {
    match envelope::decrypt(bytes, keys) {
        Ok(plain) => Ok(Some(plain)),
        Err(envelope::Refused::NoKeyFits) => Ok(None),
        Err(envelope::Refused::Malformed(why)) => {
            let hint =
                "take the file from a backup or from version control, or encrypt it anew with `age -r RECIPIENT`";
            Err(whole(shown, Code::AgeMalformed, format!("the file cannot be decrypted: {why}"), hint))
        }
    }
}

/// The secrets of a SOPS file.
fn from_sops(shown: &str, text: &str, keys: &Keys) -> Result<Read, Vec<Diagnostic>> {
    let mut report = Report::new(Source::secret(shown, text));
    let file = yaml::read(&mut report);
    let secrets = file.and_then(|file| match sops::decrypt(&file, keys, &mut report)? {
        sops::Decrypted::Tree(tree) => Secrets::of(&tree, &mut report).map(Ok),
        sops::Decrypted::NoKeyFits(others) => Some(Err(others)),
    });
    let (secrets, odd) = finish(secrets, report)?;
    Ok(match secrets {
        Ok(secrets) => Read::Known(secrets, odd),
        Err(others) => Read::Locked(others),
    })
}

/// The plain text of a folder's secrets, for people: that of a plain file as it is, an encrypted one's as it decrypts.
pub fn decrypt(dir: &Path, keys: &Keys) -> Result<Zeroizing<String>, Vec<Diagnostic>> {
    let Some(Found { path, bytes, form, .. }) = find(dir)? else {
        let hint = "begin with `homestak-coord secrets init`";
        return Err(whole(&dir.display().to_string(), Code::SecretsUnreadable, "the site has no secrets file", hint));
    };
    let shown = path.display().to_string();
    let plain = match form {
        Form::Plain => return Ok(Zeroizing::new(text(&shown, &bytes)?.to_owned())),
        Form::Age => match unwrapped(&shown, &bytes, keys)? {
            Some(plain) => return Ok(Zeroizing::new(text(&shown, &plain)?.to_owned())),
            None => Err(Vec::new()),
        },
        Form::Sops => {
            let mut report = Report::new(Source::secret(&shown, text(&shown, &bytes)?));
            let decrypted = yaml::read(&mut report).and_then(|file| sops::decrypt(&file, keys, &mut report));
            match finish(decrypted, report)?.0 {
                sops::Decrypted::Tree(tree) => Ok(tree),
                sops::Decrypted::NoKeyFits(others) => Err(others),
            }
        }
    };
    let tree = plain.map_err(|others| vec![locked(&shown, keys, &others)])?;
    let mut emitter = emit::Emitter::default();
    emitter.document(&tree);
    Ok(emitter.finish())
}

/// The file is encrypted, and no identity at hand opens it.
fn locked(shown: &str, keys: &Keys, others: &[&str]) -> Diagnostic {
    let message = match keys.len() {
        0 => "the secrets are encrypted and there is no age identity at hand".to_owned(),
        n => format!("the secrets are encrypted and none of the age identities at hand ({n}) opens them"),
    };
    let message = match others {
        [] => message,
        others => format!("{message}; keys of the kinds {} could, and are not used here", others.join(", ")),
    };
    let hint = "put the identity of one of its recipients into ~/.config/sops/age/keys.txt, or name its file in SOPS_AGE_KEY_FILE";
    let mut told = whole(shown, Code::NoKeyFits, message, hint);
    told.swap_remove(0)
}
