//! Changing one thing in a site's secrets file: what is plain stays plain, what is encrypted is encrypted again, for the
//! same people.

use std::fs;
use std::path::{Path, PathBuf};

use homestak_manifests::diagnostic::{Code, Diagnostic, Report, Source};
use homestak_manifests::yaml;
use homestak_node::trust::files::write_private;
use homestak_protocol::secret::Secret;
use zeroize::Zeroizing;

use super::find::{Found, find};
use super::insert::with_token;
use super::model::{finish, whole};
use super::{Creation, Form, Keys, RULES, decrypt, envelope, open, sops, text};

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was there already.
    Unchanged,
    /// It is new.
    Added,
    /// It took the place of another one.
    Replaced,
}

/// A secrets file with one more token.
#[derive(Debug)]
pub struct TokenKept {
    /// The file.
    pub file: PathBuf,
    /// How it holds its secrets.
    pub form: Form,
    /// What became of the token.
    pub kept: Kept,
}

/// Looks whether [`keep_token`] would put this API token there, and over which; nothing is written.
pub fn look_at_token(
    dir: &Path,
    keys: &Keys,
    name: &str,
    token: &Secret,
    replace: bool,
) -> Result<TokenKept, Vec<Diagnostic>> {
    let opened = open(dir, keys)?;
    let Some((file, form)) = opened.file.clone() else {
        let hint = "begin with `homestak-coord secrets init`";
        return Err(whole(&dir.display().to_string(), Code::SecretsUnreadable, "the site has no secrets file", hint));
    };
    let secrets = opened.secrets().map_err(|locked| vec![locked.clone()])?;
    let kept = match secrets.api_token(name) {
        None => Kept::Added,
        Some(there) if there == token => Kept::Unchanged,
        Some(_) if replace => Kept::Replaced,
        Some(_) => {
            let message = format!("the secrets have another API token of the name {name}");
            let hint = "--force puts the new one in its place; make sure that nobody uses the old one any more";
            return Err(whole(&file.display().to_string(), Code::SecretsThere, message, hint));
        }
    };
    Ok(TokenKept { file, form, kept })
}

/// Puts an API token into the secrets file of a folder, encrypted as it is, as changed at `modified` (RFC 3339). Another one
/// of that name is only replaced if `replace` says so. The file is replaced whole or not at all.
pub fn keep_token(
    dir: &Path,
    keys: &Keys,
    name: &str,
    token: &Secret,
    replace: bool,
    modified: &str,
) -> Result<TokenKept, Vec<Diagnostic>> {
    let looked = look_at_token(dir, keys, name, token, replace)?;
    if looked.kept == Kept::Unchanged {
        return Ok(looked);
    }
    let plain = with_token(&looked.file.display().to_string(), &decrypt(dir, keys)?, name, token.expose())?;
    let sealed = match looked.form {
        Form::Plain => plain,
        Form::Age => as_age(dir, &looked.file, &plain)?,
        Form::Sops => as_sops(dir, &looked.file, &plain, modified)?,
    };
    write(&looked.file, sealed.as_bytes())?;
    Ok(looked)
}

/// Encrypted as a whole. Such a file does not say for whom it is.
fn as_age(dir: &Path, file: &Path, plain: &str) -> Result<Zeroizing<String>, Vec<Diagnostic>> {
    let shown = file.display().to_string();
    let Some(creation) = Creation::of_folder(dir)? else {
        let message = format!("a file that age has encrypted does not say for whom, and there is no {RULES}");
        let hint = format!("write {RULES} with a rule for secrets.yaml and its recipients, or add the token by hand");
        return Err(whole(&shown, Code::RuleInvalid, message, hint));
    };
    let recipients: Vec<_> = creation.recipients.iter().map(|(_, recipient)| recipient.clone()).collect();
    envelope::encrypt(plain.as_bytes(), &recipients).map(Zeroizing::new).ok_or_else(|| {
        whole(
            &shown,
            Code::SecretsUnwritable,
            "the file cannot be encrypted",
            format!("look at the recipients in {RULES}"),
        )
    })
}

/// Encrypted value by value, by the rule and for the recipients that the file itself names.
fn as_sops(dir: &Path, file: &Path, plain: &str, modified: &str) -> Result<Zeroizing<String>, Vec<Diagnostic>> {
    let shown = file.display().to_string();
    let Some(Found { bytes, .. }) = find(dir)?.filter(|found| found.path == file) else {
        return Err(whole(&shown, Code::SecretsUnreadable, "the file went away meanwhile", "try again"));
    };
    let mut report = Report::new(Source::secret(&shown, text(&shown, &bytes)?));
    let creation = yaml::read(&mut report).and_then(|before| sops::creation_of(&before, &mut report));
    let (creation, _) = finish(creation, report)?;
    let mut report = Report::new(Source::secret(&shown, plain));
    let sealed = yaml::read(&mut report).and_then(|tree| sops::encrypt(&tree, &creation, modified, &mut report));
    finish(sealed, report).map(|(sealed, _)| Zeroizing::new(sealed))
}

/// Replaces the file, also where a link leads to it, with the mode that it has.
fn write(file: &Path, bytes: &[u8]) -> Result<(), Vec<Diagnostic>> {
    let unwritable = |why: String| {
        let hint = "the folder must be yours to write to and its disk not full";
        whole(&file.display().to_string(), Code::SecretsUnwritable, format!("the file cannot be written: {why}"), hint)
    };
    let place = fs::canonicalize(file).map_err(|error| unwritable(error.to_string()))?;
    let mode = fs::metadata(&place).map_err(|error| unwritable(error.to_string()))?.permissions();
    write_private(&place, bytes).map_err(|error| unwritable(error.to_string()))?;
    fs::set_permissions(&place, mode).map_err(|error| unwritable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use age::x25519::Identity;

    use super::super::{encrypt, init, remove_plain};
    use super::*;

    const NOW: &str = "2024-05-01T12:00:00Z";
    const LATER: &str = "2024-05-02T12:00:00Z";

    fn pair() -> (Keys, String) {
        use secrecy::ExposeSecret as _;
        let identity = Identity::generate();
        (Keys::parse(identity.to_string().expose_secret()).0, identity.to_public().to_string())
    }

    fn token() -> Secret {
        Secret::new("homestak@pve!agent=0-1".into())
    }

    fn tokens(dir: &Path, keys: &Keys) -> Vec<(String, String)> {
        let opened = open(dir, keys).unwrap();
        let secrets = opened.secrets().unwrap();
        secrets.api_tokens.iter().map(|(name, token)| (name.clone(), token.expose().to_owned())).collect()
    }

    #[test]
    fn a_token_is_kept_once_and_another_one_only_makes_room_when_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::default();
        let refused = keep_token(dir.path(), &keys, "father", &token(), false, NOW).unwrap_err();
        assert_eq!(refused[0].code, "E660", "there is nothing to add to");
        init(dir.path(), None, NOW).unwrap();
        let keep = |token: &Secret, replace| keep_token(dir.path(), &keys, "father", token, replace, NOW);
        assert_eq!(keep(&token(), false).unwrap().kept, Kept::Added);
        assert_eq!(keep(&token(), false).unwrap().kept, Kept::Unchanged);
        let other = Secret::new("homestak@pve!agent=0-2".into());
        assert_eq!(keep(&other, false).unwrap_err()[0].code, "E672");
        assert_eq!(keep(&other, true).unwrap().kept, Kept::Replaced);
        assert_eq!(tokens(dir.path(), &keys), [("father".to_owned(), other.expose().to_owned())]);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(dir.path().join("secrets.yaml")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_encrypted_is_encrypted_again_for_the_same_people_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let ((keys, one), (others, two), (strangers, _)) = (pair(), pair(), pair());
        init(dir.path(), None, NOW).unwrap();
        encrypt(dir.path(), &Creation::to(&[one, two]).unwrap(), NOW).unwrap();
        remove_plain(dir.path()).unwrap();
        assert_eq!(keep_token(dir.path(), &strangers, "father", &token(), false, LATER).unwrap_err()[0].code, "E663");
        let kept = keep_token(dir.path(), &keys, "father", &token(), false, LATER).unwrap();
        assert_eq!((kept.kept, kept.form), (Kept::Added, Form::Sops));
        for keys in [&keys, &others] {
            assert_eq!(tokens(dir.path(), keys), [("father".to_owned(), token().expose().to_owned())]);
            assert!(open(dir.path(), keys).unwrap().secrets().unwrap().auth.signing_key.is_some());
        }
        let bytes = fs::read_to_string(&kept.file).unwrap();
        assert!(!bytes.contains("0-1") && bytes.contains(LATER), "{bytes}");
        assert!(open(dir.path(), &strangers).unwrap().is_locked());
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, [kept.file], "nothing plain is left anywhere");
    }

    #[test]
    fn a_file_that_age_has_encrypted_is_so_again_where_somebody_says_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, recipient) = pair();
        let whole = envelope::encrypt(b"api_tokens: {}\n", &[envelope::recipient(&recipient).unwrap()]).unwrap();
        fs::write(dir.path().join("secrets.yaml.age"), whole).unwrap();
        assert_eq!(keep_token(dir.path(), &keys, "father", &token(), false, NOW).unwrap_err()[0].code, "E670");
        let rules = format!("creation_rules:\n  - path_regex: secrets\\.yaml$\n    age: {recipient}\n");
        fs::write(dir.path().join(RULES), rules).unwrap();
        let kept = keep_token(dir.path(), &keys, "father", &token(), false, NOW).unwrap();
        assert_eq!((kept.kept, kept.form), (Kept::Added, Form::Age));
        assert_eq!(tokens(dir.path(), &keys), [("father".to_owned(), token().expose().to_owned())]);
    }
}
