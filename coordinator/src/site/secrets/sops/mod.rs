//! SOPS's YAML form (github.com/getsops/sops), read and written in memory: the structure and the keys are plain, each value
//! is encrypted with a data key that the file's own `sops` section holds, itself encrypted to age recipients.
//!
//! A file is believed as a whole or not at all: every value must open where it stands, and all of them together must come
//! to the message authentication code that was made of them: SHA-512 over the values in their order, comments and nulls
//! left out, itself encrypted under the time of the last change.
//!
//! - `value`: one encrypted value. - `plain`: values as the code covers them. - `section`: what a file says of itself.
//! - `rules`: which values are encrypted. - `write`: the other way.

mod plain;
mod rules;
mod section;
mod value;
mod write;

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::{Entry, Kind, Mapping, Scalar, Value};
use sha2::{Digest as _, Sha512};

pub(super) use self::rules::Rule;
use self::section::{Section, Unlocked};
use self::value::{DataKey, Refused, Type};
pub(super) use self::write::encrypt;
use super::creation::Creation;
use super::envelope;
use super::keys::Keys;

/// The key of a file's section about itself.
const SECTION: &str = "sops";

/// What the code begins with where it covers encrypted values alone: the SHA-256 of `sops`.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// What became of a file.
pub(super) enum Decrypted {
    /// Its tree, every value in the place where its encrypted one stood.
    Tree(Value),
    /// No identity fits; the kinds of other keys that could open it.
    NoKeyFits(Vec<&'static str>),
}

/// Decrypts a file's tree. None where it is not to be believed: the report says why.
pub(super) fn decrypt(file: &Value, keys: &Keys, report: &mut Report<'_>) -> Option<Decrypted> {
    let (content, section) = parts(file, report)?;
    let section = Section::of(section, report)?;
    let key = match section.unlock(keys, report)? {
        Unlocked::Key(key) => key,
        Unlocked::NoKeyFits(others) => return Some(Decrypted::NoKeyFits(others)),
    };
    let mut opening = Opening { key: &key, section: &section, code: Code512::new(section.only_encrypted), report };
    let before = opening.report.errors();
    let tree = opening.value(&content, &mut Vec::new());
    let code = opening.code.finish();
    if report.errors() > before {
        return None;
    }
    let (sealed, span) = section.mac;
    let expected = value::open(sealed, &key, section.modified);
    if !expected.is_ok_and(|expected| *expected.text == code) {
        let message = "the values of the file do not come to its message authentication code: some were removed, added or put in another order since it was encrypted";
        let hint = "take the file from a backup or from version control; after a merge by hand, encrypt it anew from the plain one";
        report.error(Code::SopsMac, span, message).hint(hint);
        return None;
    }
    Some(Decrypted::Tree(tree))
}

/// How a file is encrypted, so that what becomes of it can be too: by its own rule, for all of its recipients. None where
/// somebody would be left out: the report says whom.
pub(super) fn creation_of(file: &Value, report: &mut Report<'_>) -> Option<Creation> {
    let (_, section) = parts(file, report)?;
    let span = section.span;
    let section = Section::of(section, report)?;
    let hint = "change it with SOPS itself: `sops edit FILE`";
    if !section.others.is_empty() {
        let message = format!(
            "the file is also for keys of the kind {}, for which nothing is encrypted here",
            section.others.join(", ")
        );
        report.error(Code::SopsUnsupported, span, message).hint(hint);
        return None;
    }
    if section.rule.is_by_comments() {
        let message = "comments decide what is encrypted in the file, and they are not written here";
        report.error(Code::SopsUnsupported, span, message).hint(hint);
        return None;
    }
    let mut recipients = Vec::new();
    for (text, span) in &section.recipients {
        let Some(recipient) = envelope::recipient(text) else {
            let message = "the file names a recipient that is none of age's X25519 keys";
            report.error(Code::RecipientInvalid, *span, message).hint(hint);
            return None;
        };
        recipients.push(((*text).to_owned(), recipient));
    }
    Some(Creation { recipients, rule: section.rule, only_encrypted: section.only_encrypted })
}

/// The content of a file and its section.
fn parts<'v>(file: &'v Value, report: &mut Report<'_>) -> Option<(Value, &'v Value)> {
    let Kind::Mapping(mapping) = &file.kind else {
        report
            .error(Code::SopsMalformed, file.span, "the file is no mapping")
            .hint("SOPS encrypts mappings alone here");
        return None;
    };
    let Some(section) = mapping.value(SECTION) else {
        report.error(Code::SopsMalformed, file.span, "the file has no `sops` section").hint("encrypt it again");
        return None;
    };
    let rest = mapping.entries().iter().filter(|entry| &*entry.key != SECTION).cloned().collect();
    Some((Value { span: file.span, kind: Kind::Mapping(Mapping::new(rest)) }, section))
}

/// The message authentication code while it is summed up.
struct Code512 {
    sum: Sha512,
    only_encrypted: bool,
}

impl Code512 {
    fn new(only_encrypted: bool) -> Self {
        let mut sum = Sha512::new();
        if only_encrypted {
            sum.update(ONLY_ENCRYPTED);
        }
        Self { sum, only_encrypted }
    }

    /// Covers a value in its one spelling.
    fn cover(&mut self, text: &str, encrypted: bool) {
        if encrypted || !self.only_encrypted {
            self.sum.update(text.as_bytes());
        }
    }

    /// In capital hexadecimal digits.
    fn finish(self) -> String {
        self.sum.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

/// The additional data of a value below these keys. Places in lists do not count.
fn place(keys: &[&str]) -> String {
    keys.iter().flat_map(|key| [*key, ":"]).collect()
}

/// A file that is being decrypted.
struct Opening<'s, 'v, 'r, 't> {
    key: &'s DataKey,
    section: &'s Section<'v>,
    code: Code512,
    report: &'r mut Report<'t>,
}

impl Opening<'_, '_, '_, '_> {
    /// Decrypts a value and what is in it; where it cannot, that is reported and the value stays as it is.
    fn value<'k>(&mut self, value: &'k Value, keys: &mut Vec<&'k str>) -> Value {
        let kind = match &value.kind {
            Kind::Scalar(scalar) => Kind::Scalar(self.scalar(value, scalar, keys)),
            Kind::Sequence(items) => Kind::Sequence(items.iter().map(|item| self.value(item, keys)).collect()),
            Kind::Mapping(mapping) => {
                let entry = |entry: &'k Entry| {
                    keys.push(&entry.key);
                    let value = self.value(&entry.value, keys);
                    keys.pop();
                    Entry { key: entry.key.clone(), key_span: entry.key_span, value }
                };
                Kind::Mapping(Mapping::new(mapping.entries().iter().map(entry).collect()))
            }
        };
        Value { span: value.span, kind }
    }

    fn scalar(&mut self, value: &Value, scalar: &Scalar, keys: &[&str]) -> Scalar {
        let text = scalar.as_str();
        let rule: &Rule = &self.section.rule;
        let Some((kind, spelled)) = plain::covered(scalar) else { return scalar.clone() };
        if !rule.encrypts(keys, value::is_sealed(text)) {
            self.code.cover(&spelled, false);
            return scalar.clone();
        }
        // SOPS leaves an empty text as it is.
        if text.is_empty() && kind == Type::Text {
            self.code.cover("", true);
            return scalar.clone();
        }
        match value::open(text, self.key, &place(keys)) {
            Ok(opened) => {
                self.code.cover(&plain::canonical(&opened.text, opened.kind), true);
                opened.scalar()
            }
            Err(refused) => {
                self.refuse(value, keys, refused);
                scalar.clone()
            }
        }
    }

    fn refuse(&mut self, value: &Value, keys: &[&str], refused: Refused) {
        const BACKUP: &str =
            "take the file from a backup or from version control, or encrypt it anew from the plain one";
        let at = keys.join(".");
        let (code, message, hint) = match refused {
            Refused::Form => (
                Code::SopsMalformed,
                format!("`{at}` is not encrypted, as the file says that it is"),
                "encrypt the file again; what stands there may have been seen by others",
            ),
            Refused::Type => (Code::SopsUnsupported, format!("`{at}` is of a type that is not read here"), BACKUP),
            Refused::Seal => (
                Code::SopsTampered,
                format!("`{at}` does not open: it was changed, or moved here from elsewhere, since it was encrypted"),
                BACKUP,
            ),
        };
        self.report.error(code, value.span, message).hint(hint);
    }
}
