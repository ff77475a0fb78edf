//! Encrypting a tree as SOPS does, so that SOPS and what reads its files open ours.

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::{Entry, Kind, Mapping, Scalar, Value};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::value::{DataKey, NONCE, Type};
use super::{Code512, SECTION, place, plain, value};
use crate::site::secrets::creation::Creation;
use crate::site::secrets::emit::Emitter;
use crate::site::secrets::envelope;

/// The version of SOPS whose form this is: the first that knows all of what is written here.
const VERSION: &str = "3.9.0";

/// Encrypts a tree for those whom `creation` names, as changed at `modified` (RFC 3339, whole seconds). None where it cannot
/// be: the report says why.
pub(in crate::site::secrets) fn encrypt(
    tree: &Value,
    creation: &Creation,
    modified: &str,
    report: &mut Report<'_>,
) -> Option<String> {
    let Kind::Mapping(mapping) = &tree.kind else {
        let message = "the file is no mapping, and SOPS encrypts nothing else";
        report.error(Code::SopsUnsupported, tree.span, message).hint("write it as lines of `key: value`");
        return None;
    };
    if let Some(section) = mapping.value(SECTION) {
        report.error(Code::SopsUnsupported, section.span, "the file is encrypted already").hint("decrypt it first");
        return None;
    }
    let chance = SystemRandom::new();
    let mut key: DataKey = Zeroizing::new([0; 32]);
    let drawn = chance.fill(&mut *key).ok();
    let mut sealing = Sealing {
        key: &key,
        creation,
        chance: &chance,
        code: Code512::new(creation.only_encrypted),
        failed: drawn.is_none(),
    };
    let sealed = sealing.value(tree, &mut Vec::new());
    let (code, mut failed) = (std::mem::replace(&mut sealing.code, Code512::new(false)).finish(), sealing.failed);
    let mac = sealing.seal(&code, Type::Text, modified);
    failed |= mac.is_none();
    let copies: Option<Vec<(String, String)>> = creation
        .recipients
        .iter()
        .map(|(text, recipient)| Some((text.clone(), envelope::encrypt(&*key, std::slice::from_ref(recipient))?)))
        .collect();
    let (Some(mac), Some(copies), false) = (mac, copies, failed) else {
        report.error(Code::SopsUnsupported, tree.span, "no random numbers are to be had").hint("try again");
        return None;
    };
    let mut out = Emitter::default();
    out.document(&sealed);
    out.line("sops:", 0);
    out.line("age:", 1);
    for (recipient, copy) in copies {
        out.line(&format!("- recipient: {recipient}"), 2);
        out.line("  enc: |", 2);
        copy.lines().for_each(|line| out.line(line, 4));
    }
    out.line(&format!("lastmodified: \"{modified}\""), 1);
    out.line(&format!("mac: {mac}"), 1);
    let (name, text) = &creation.rule.spelled;
    out.line(&format!("{name}: {}", serde_json::Value::from(text.as_str())), 1);
    if creation.only_encrypted {
        out.line("mac_only_encrypted: true", 1);
    }
    out.line(&format!("version: {VERSION}"), 1);
    Some(out.finish().to_string())
}

/// A tree that is being encrypted.
struct Sealing<'s> {
    key: &'s DataKey,
    creation: &'s Creation,
    chance: &'s SystemRandom,
    code: Code512,
    failed: bool,
}

impl Sealing<'_> {
    fn value<'k>(&mut self, value: &'k Value, keys: &mut Vec<&'k str>) -> Value {
        let kind = match &value.kind {
            Kind::Scalar(scalar) => Kind::Scalar(self.scalar(scalar, keys)),
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

    fn scalar(&mut self, scalar: &Scalar, keys: &[&str]) -> Scalar {
        let Some((kind, spelled)) = plain::covered(scalar) else { return scalar.clone() };
        let encrypted = self.creation.rule.encrypts(keys, false);
        if !encrypted {
            self.code.cover(&spelled, false);
            return scalar.clone();
        }
        // A number that only a float can hold would lose digits: a key of 64 digits is one.
        let digits = scalar.as_str().bytes().all(|b| b.is_ascii_digit());
        let (kind, spelled) =
            if kind == Type::Float && digits { (Type::Text, scalar.as_str().to_owned()) } else { (kind, spelled) };
        let kept = if kind == Type::Integer && spelled.parse::<i64>().is_err() { Type::Text } else { kind };
        self.code.cover(&spelled, true);
        match self.seal(&spelled, kept, &place(keys)) {
            Some(sealed) if sealed.is_empty() => Scalar::quoted(""),
            Some(sealed) => Scalar::plain(&sealed),
            None => {
                self.failed = true;
                Scalar::quoted("")
            }
        }
    }

    fn seal(&self, text: &str, kind: Type, place: &str) -> Option<String> {
        let mut nonce = [0; NONCE];
        self.chance.fill(&mut nonce).ok()?;
        value::seal(text, kind, self.key, place, &nonce)
    }
}
