//! What a site keeps to itself: API tokens, password hashes, SSH keys and the key that provisioning tokens are signed with.
//!
//! [`open`] finds the file of a site folder, decrypts it in memory where it is encrypted, and yields typed [`Secrets`].
//! Nothing decrypted is written anywhere by this module, and nothing that it says shows a value.
//!
//! - `find`: which file, in which form. - `model`: what it may hold. - `keys`: the age identities at hand.

mod find;
mod keys;
mod model;

use std::path::{Path, PathBuf};

use homestak_manifests::diagnostic::{Code, Diagnostic};
use homestak_manifests::yaml;

pub use self::find::{ENCRYPTED, Form, PLAIN, may_need_identity};
use self::find::{Found, find};
pub use self::keys::Keys;
use self::model::whole;
pub use self::model::{Auth, Passwords, Secrets};

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
    let Some(Found { path, bytes, form, mut warnings }) = find(dir)? else { return Ok(Opened::nothing()) };
    let shown = path.display().to_string();
    let text = yaml::text(&shown, &bytes).map_err(|diagnostic| vec![*diagnostic]);
    let content = match form {
        Form::Plain => Ok(Secrets::parse(&shown, text?)?),
        Form::Sops | Form::Age => Err(locked(&shown, keys)),
    };
    let content = content.map(|(secrets, odd)| {
        warnings.extend(odd);
        secrets
    });
    Ok(Opened { content, file: Some((path, form)), warnings })
}

/// The file is encrypted, and no identity at hand opens it.
fn locked(shown: &str, keys: &Keys) -> Diagnostic {
    let message = match keys.len() {
        0 => "the secrets are encrypted and there is no age identity at hand".to_owned(),
        n => format!("the secrets are encrypted and none of the age identities at hand ({n}) opens them"),
    };
    let hint = "put the identity of one of its recipients into ~/.config/sops/age/keys.txt, or name its file in SOPS_AGE_KEY_FILE";
    let mut told = whole(shown, Code::NoKeyFits, message, hint);
    told.swap_remove(0)
}
