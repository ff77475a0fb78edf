//! `secrets.yaml` as values: what it may hold, and reading it. Where the text comes from, and whether it was encrypted, is
//! not known here.
//!
//! What is kept of a secret is wiped when it goes. Nothing that is said about the file shows a line or a value of it.

use homestak_manifests::diagnostic::{Code, Diagnostic, Report, Source, Span};
use homestak_manifests::yaml::{self, Field, Fields, Kind, Subject, Value};
use homestak_protocol::secret::Secret;
use homestak_protocol::token::SigningKey;

const SECTIONS: &[&str] = &["api_tokens", "passwords", "ssh_keys", "auth"];
const PASSWORDS: &[&str] = &["vm_root"];
const AUTH: &[&str] = &["signing_key", "previous_signing_key"];

/// How OpenSSH's public keys begin.
const PUBLIC_KEYS: &[&str] = &["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];

/// How a password's hash begins, in the form of `crypt(5)`.
const HASH: char = '$';

/// What a site keeps to itself.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// API tokens of hosts, by the names that `nodes/*.yaml` refer to, in the order of the file.
    pub api_tokens: Vec<(String, Secret)>,
    /// Passwords of machines.
    pub passwords: Passwords,
    /// Public SSH keys by name (`user@host`), in the order of the file. They are secret to nobody.
    pub ssh_keys: Vec<(String, String)>,
    /// Keys that provisioning tokens are signed with.
    pub auth: Auth,
}

/// Passwords of machines.
#[derive(Debug, Clone, Default)]
pub struct Passwords {
    /// The hash of every machine's root password; none where root has no password.
    pub vm_root: Option<Secret>,
}

/// Keys that provisioning tokens are signed with.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// What new tokens are signed with; none where the coordinator is to draw one.
    pub signing_key: Option<SigningKey>,
    /// What tokens from before the last change of keys were signed with; they are still good.
    pub previous_signing_key: Option<SigningKey>,
}

impl Secrets {
    /// The API token of that name.
    pub fn api_token(&self, name: &str) -> Option<&Secret> {
        self.api_tokens.iter().find(|(known, _)| known == name).map(|(_, token)| token)
    }

    /// The public SSH key of that name.
    pub fn ssh_key(&self, name: &str) -> Option<&str> {
        self.ssh_keys.iter().find(|(known, _)| known == name).map(|(_, key)| key.as_str())
    }

    /// Reads `text`, with what in it is probably not meant; otherwise all that is wrong. `file` is only repeated.
    pub fn parse(file: &str, text: &str) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut report = Report::new(Source::secret(file, text));
        let value = yaml::read(&mut report);
        let secrets = value.and_then(|value| Self::of(&value, &mut report));
        finish(secrets, report)
    }

    /// Takes what there is out of a tree; none where that is no mapping.
    pub(super) fn of(value: &Value, report: &mut Report<'_>) -> Option<Self> {
        if value.is_null() {
            return Some(Self::default());
        }
        let fields = Fields::of(value, Subject::Whole("the secrets file"), report)?;
        warn_unknown(&fields, SECTIONS, report);
        let passwords = section(&fields, "passwords", PASSWORDS, report);
        let auth = section(&fields, "auth", AUTH, report);
        let key = |name: &str, report: &mut Report<'_>| {
            auth.and_then(|auth| auth.get(name)).and_then(|field| signing_key(&field, report))
        };
        Some(Self {
            api_tokens: named(&fields, "api_tokens", report, |field, report| {
                Some(Secret::new(given(field, report)?.to_owned()))
            }),
            passwords: Passwords {
                vm_root: passwords
                    .and_then(|passwords| passwords.get("vm_root"))
                    .and_then(|f| root_password(&f, report)),
            },
            ssh_keys: named(&fields, "ssh_keys", report, public_key),
            auth: Auth {
                signing_key: key("signing_key", report),
                previous_signing_key: key("previous_signing_key", report),
            },
        })
    }
}

/// What came of reading, with warnings; or everything that is wrong.
pub(super) fn finish<T>(read: Option<T>, report: Report<'_>) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
    match read.filter(|_| !report.has_errors()) {
        Some(value) => Ok((value, report.into_diagnostics())),
        None => Err(report.into_diagnostics()),
    }
}

/// A section whose keys are known.
fn section<'v>(fields: &Fields<'v>, name: &str, known: &[&'static str], report: &mut Report<'_>) -> Option<Fields<'v>> {
    let section = fields.get(name)?.fields(report)?;
    warn_unknown(&section, known, report);
    Some(section)
}

/// A section whose keys are names that the operator chose.
fn named<T>(
    fields: &Fields<'_>,
    name: &str,
    report: &mut Report<'_>,
    read: impl Fn(&Field<'_>, &mut Report<'_>) -> Option<T>,
) -> Vec<(String, T)> {
    let Some(section) = fields.get(name).and_then(|field| field.fields(report)) else { return Vec::new() };
    let mut all = Vec::new();
    for field in section.iter() {
        if is_empty(field.value) {
            report
                .warning(Code::SecretEmpty, field.key_span, format!("{field} has no value"))
                .hint("give it one, or remove the line");
        } else if let Some(value) = read(&field, report) {
            all.push((field.key().to_owned(), value));
        }
    }
    all
}

/// Keys that nothing reads are told, and no error: other tools may keep theirs in the same file.
fn warn_unknown(fields: &Fields<'_>, known: &[&'static str], report: &mut Report<'_>) {
    for field in fields.iter().filter(|field| !known.contains(&field.key())) {
        let hint = match report.nearest(field.key(), known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("what is read here: {}", known.join(", ")),
        };
        report.warning(Code::SecretsUnknown, field.key_span, format!("{field} is read by nothing")).hint(hint);
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || matches!(&value.kind, Kind::Scalar(scalar) if scalar.as_str().trim().is_empty())
}

/// The text of a field, without the space around it; none where it is empty.
fn given<'v>(field: &Field<'v>, report: &mut Report<'_>) -> Option<&'v str> {
    if is_empty(field.value) { None } else { field.text(report).map(str::trim) }
}

fn signing_key(field: &Field<'_>, report: &mut Report<'_>) -> Option<SigningKey> {
    // Sixty-four digits without a letter are a number to YAML and a key to us.
    let text = match &field.value.kind {
        Kind::Scalar(scalar) if !scalar.as_str().trim().is_empty() => scalar.as_str().trim(),
        _ => given(field, report)?,
    };
    let key = SigningKey::parse_hex(text).ok();
    if key.is_none() {
        let message = format!("{field} is no signing key: it has {} characters", text.chars().count());
        report
            .error(Code::SigningKeyInvalid, field.span(), message)
            .hint("write 64 hexadecimal digits, as `openssl rand -hex 32` prints them, or leave it empty");
    }
    key
}

fn root_password(field: &Field<'_>, report: &mut Report<'_>) -> Option<Secret> {
    let text = given(field, report)?;
    if !text.starts_with(HASH) {
        report
            .warning(
                Code::NotAHash,
                field.span(),
                format!("{field} is not the hash of a password, so no password opens it"),
            )
            .hint("write what `openssl passwd -6` prints");
    }
    Some(Secret::new(text.to_owned()))
}

fn public_key(field: &Field<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = given(field, report)?;
    if text.contains("PRIVATE KEY") {
        report
            .error(Code::PrivateKey, field.span(), format!("{field} is a private key"))
            .hint("put the public key here, the line of the `.pub` file; the private one belongs on no other machine");
        return None;
    }
    if !PUBLIC_KEYS.iter().any(|start| text.starts_with(start)) {
        report
            .warning(Code::OddPublicKey, field.span(), format!("{field} does not look like a public SSH key"))
            .hint("write the line of the `.pub` file, such as `ssh-ed25519 AAAA... comment`");
    }
    Some(text.to_owned())
}

/// A problem of the file as a whole.
pub(super) fn whole(file: &str, code: Code, message: impl Into<String>, hint: impl Into<String>) -> Vec<Diagnostic> {
    let mut report = Report::new(Source::secret(file, ""));
    report.error(code, Span::START, message).hint(hint);
    report.into_diagnostics()
}

/// A warning about the file as a whole.
pub(super) fn caution(file: &str, code: Code, message: impl Into<String>, hint: impl Into<String>) -> Vec<Diagnostic> {
    let mut report = Report::new(Source::secret(file, ""));
    report.warning(code, Span::START, message).hint(hint);
    report.into_diagnostics()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";

    fn parse(text: &str) -> Result<(Secrets, Vec<Diagnostic>), Vec<Diagnostic>> {
        Secrets::parse("secrets.yaml", text)
    }

    #[test]
    fn everything_is_read_in_the_order_of_the_file() {
        let text = format!(
            "api_tokens:\n  father: root@pam!t=one\n  attic: root@pam!t=two\npasswords:\n  vm_root: $6$salt$hash\n\
             ssh_keys:\n  zoe@desk: ssh-ed25519 AAAA zoe\n  adam@desk: ssh-rsa BBBB adam\nauth:\n  signing_key: \"{KEY}\"\n"
        );
        let (secrets, warnings) = parse(&text).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let names: Vec<&str> = secrets.ssh_keys.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["zoe@desk", "adam@desk"]);
        assert_eq!(secrets.api_token("attic").unwrap().expose(), "root@pam!t=two");
        assert_eq!(secrets.ssh_key("adam@desk"), Some("ssh-rsa BBBB adam"));
        assert!(secrets.passwords.vm_root.is_some() && secrets.auth.signing_key.is_some());
        let shown = format!("{secrets:?}");
        assert!(!shown.contains("pam") && !shown.contains("salt") && !shown.contains("0011"), "{shown}");
    }

    #[test]
    fn nothing_and_empty_sections_are_no_mistake() {
        for text in [
            "",
            "# nothing yet\n",
            "api_tokens: {}\npasswords:\n  vm_root: \"\"\nssh_keys:\nauth:\n  signing_key: ''\n",
        ] {
            let (secrets, warnings) = parse(text).unwrap();
            assert!(warnings.is_empty(), "{warnings:?}");
            assert!(secrets.api_tokens.is_empty() && secrets.auth.signing_key.is_none());
        }
    }

    #[test]
    fn a_key_of_digits_alone_is_a_key() {
        let (secrets, _) = parse(&format!("auth:\n  signing_key: {}\n", "1".repeat(64))).unwrap();
        assert!(secrets.auth.signing_key.is_some());
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_none_with_the_value() {
        for (text, code, line) in [
            ("auth:\n  signing_key: hunter2\n", "E661", 2),
            ("auth:\n  previous_signing_key: [hunter2]\n", "E619", 2),
            ("passwords:\n  vm_root: 1_2\n", "E619", 2),
            ("passwords: hunter2\n", "E619", 1),
            ("- hunter2\n", "E619", 1),
            ("api_tokens:\n  father: {token: hunter2}\n", "E619", 2),
            ("api_tokens:\n  father: \"hunter2\n", "E602", 2),
            ("api_tokens: {father: hunter2\npasswords:\n", "E602", 0),
            ("api_tokens:\n  a: hunter2\n  a: hunter2\n", "E608", 3),
            ("ssh_keys:\n  me@desk: |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    hunter2\n", "E662", 0),
            ("a: hunter2\n---\nb: hunter2\n", "E607", 0),
        ] {
            let wrong = parse(text).unwrap_err();
            let first = wrong.iter().find(|diagnostic| diagnostic.is_error()).unwrap();
            assert_eq!(first.code, code, "{text}: {wrong:?}");
            assert!(line == 0 || first.line == line, "{text}: {first:?}");
            assert!(first.hint.is_some(), "{first:?}");
            assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_odd_is_a_warning() {
        let text = "api_token:\n  father: x\napi_tokens:\n  attic: \"\"\npasswords:\n  vm_rot: x\n  vm_root: plain\nssh_keys:\n  me@desk: AAAA\n";
        let (secrets, warnings) = parse(text).unwrap();
        let codes: Vec<&str> = warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["W662", "W663", "W662", "W667", "W664"], "{warnings:?}");
        assert_eq!(warnings[0].hint.as_deref(), Some("did you mean \"api_tokens\"?"));
        assert!(secrets.api_tokens.is_empty() && secrets.ssh_keys.len() == 1);
    }
}
