//! For whom a secrets file is encrypted and which of its values: as a creation rule of `.sops.yaml` says, or for recipients
//! that were named.

use std::fs;
use std::io;
use std::path::Path;

use age::x25519::Recipient;
use homestak_manifests::diagnostic::{Code, Diagnostic, Report, Source, Span};
use homestak_manifests::yaml::{self, Fields, Kind, Subject, Value};
use regex::Regex;

use super::envelope;
use super::find::PLAIN;
use super::model::{finish, whole};
use super::sops::Rule;

/// Where SOPS looks for creation rules.
pub const RULES: &str = ".sops.yaml";

/// Kinds of keys that cannot be encrypted to here.
const OTHER_KEYS: &[&str] = &["pgp", "kms", "gcp_kms", "azure_keyvault", "hc_vault_transit_uri", "hc_vault", "hckms"];

/// Rules by which comments decide; comments are not written.
const BY_COMMENTS: &[&str] = &["unencrypted_comment_regex", "encrypted_comment_regex"];

/// How a file is to be encrypted.
#[derive(Clone)]
pub struct Creation {
    /// For whom, at least one.
    pub(super) recipients: Vec<(String, Recipient)>,
    /// Which values.
    pub(super) rule: Rule,
    /// Whether the message authentication code covers encrypted values alone.
    pub(super) only_encrypted: bool,
}

impl Creation {
    /// For recipients that were named on the command line.
    pub fn to(recipients: &[String]) -> Result<Self, Vec<Diagnostic>> {
        let parse = |text: &String| match envelope::recipient(text) {
            Some(recipient) => Ok((text.clone(), recipient)),
            None => Err(not_a_recipient("--recipient", text)),
        };
        let recipients = recipients.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { recipients, rule: Rule::default(), only_encrypted: false })
    }

    /// As the folder's `.sops.yaml` says; none where there is none. Folders above it are not asked: who can write there may
    /// not be who may read the secrets.
    pub fn of_folder(dir: &Path) -> Result<Option<Self>, Vec<Diagnostic>> {
        let file = dir.join(RULES);
        let shown = file.display().to_string();
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(whole(
                    &shown,
                    Code::RuleInvalid,
                    format!("the creation rules cannot be read: {error}"),
                    "chmod u+r it",
                ));
            }
        };
        let text = yaml::text(&shown, &bytes).map_err(|diagnostic| vec![*diagnostic])?;
        let mut report = Report::new(Source::new(&shown, text));
        let value = yaml::read(&mut report);
        let creation = value.and_then(|value| first_match(&value, &mut report));
        finish(creation, report).map(|(creation, _)| Some(creation))
    }

    /// For whom, as they were named.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        self.recipients.iter().map(|(text, _)| text.as_str())
    }
}

fn not_a_recipient(file: &str, text: &str) -> Vec<Diagnostic> {
    let message = format!("{text:?} is no age recipient that can be encrypted to");
    whole(file, Code::RecipientInvalid, message, "recipients begin with age1 and are what `age-keygen -y FILE` prints")
}

/// The first rule whose path fits the plain file.
fn first_match(value: &Value, report: &mut Report<'_>) -> Option<Creation> {
    let fields = Fields::of(value, Subject::Whole("the file of creation rules"), report)?;
    let hint = "add a rule with `path_regex: secrets\\.yaml$` and `age: ` with your recipient";
    let rules = fields.require("creation_rules", Code::RuleInvalid, hint, report)?;
    for (at, rule) in rules.items(report)?.iter().enumerate() {
        let rule = Fields::of(rule, Subject::Numbered("creation rule", at + 1), report)?;
        if applies(&rule, report)? {
            return creation(&rule, report);
        }
    }
    report.error(Code::RuleInvalid, rules.key_span, format!("no creation rule is for {PLAIN}")).hint(hint);
    None
}

fn applies(rule: &Fields<'_>, report: &mut Report<'_>) -> Option<bool> {
    let Some(field) = rule.get("path_regex").or_else(|| rule.get("filename_regex")) else { return Some(true) };
    match Regex::new(field.text(report)?) {
        Ok(regex) => Some(regex.is_match(PLAIN)),
        Err(_) => {
            let message = format!("{field} is no regular expression");
            report.error(Code::RuleInvalid, field.span(), message).hint("write it in the syntax of RE2");
            None
        }
    }
}

fn creation(rule: &Fields<'_>, report: &mut Report<'_>) -> Option<Creation> {
    for name in BY_COMMENTS {
        if let Some(field) = rule.get(name) {
            let message = format!("{field}: comments do not decide here");
            report
                .error(Code::RuleInvalid, field.key_span, message)
                .hint("use encrypted_regex, or encrypt with `sops`");
            return None;
        }
    }
    let keys = only_group(rule, report)?;
    for holder in [rule, &keys] {
        if let Some(field) = OTHER_KEYS.iter().find_map(|name| holder.get(name)).filter(|field| !is_empty(field.value))
        {
            let message = format!(
                "{field}: keys of this kind are not encrypted to here, and leaving them out would shut somebody out"
            );
            report
                .error(Code::RuleInvalid, field.key_span, message)
                .hint("encrypt with `sops`, or name whom it is for with --recipient");
            return None;
        }
    }
    let Some(age) = keys.get("age").or_else(|| rule.get("age")) else {
        let message = format!("{} names no age recipient", rule.subject());
        report.error(Code::RuleInvalid, rule.span(), message).hint("add `age: ` with what `age-keygen -y FILE` prints");
        return None;
    };
    let listed = recipients(age.value, age.span(), report)?;
    let only_encrypted = match rule.get("mac_only_encrypted") {
        Some(field) => field.boolean(report)?,
        None => false,
    };
    Some(Creation { recipients: listed, rule: Rule::of(rule, report)?, only_encrypted })
}

fn is_empty(value: &Value) -> bool {
    match &value.kind {
        Kind::Scalar(scalar) => scalar.as_str().trim().is_empty(),
        Kind::Sequence(items) => items.is_empty(),
        Kind::Mapping(mapping) => mapping.entries().is_empty(),
    }
}

/// The rule's only group of keys; the rule itself where it has none.
fn only_group<'v>(rule: &Fields<'v>, report: &mut Report<'_>) -> Option<Fields<'v>> {
    let Some(groups) = rule.get("key_groups") else { return Some(*rule) };
    match groups.items(report)? {
        [one] => Fields::of(one, Subject::Whole("the key group"), report),
        _ => {
            let message = format!("{groups}: a data key that is split among groups of keys is not written here");
            report.error(Code::RuleInvalid, groups.key_span, message).hint("use one group, or encrypt with `sops`");
            None
        }
    }
}

/// Recipients: a list, or a text with commas between them.
fn recipients(value: &Value, span: Span, report: &mut Report<'_>) -> Option<Vec<(String, Recipient)>> {
    let scalars: Vec<&Value> = match &value.kind {
        Kind::Sequence(items) => items.iter().collect(),
        _ => vec![value],
    };
    let mut all = Vec::new();
    for value in scalars {
        let Kind::Scalar(scalar) = &value.kind else {
            report.error(Code::RuleInvalid, value.span, "recipients are text").hint("write `age: age1...`");
            return None;
        };
        for text in scalar.as_str().split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let Some(recipient) = envelope::recipient(text) else {
                let message = format!("{} is no age recipient that can be encrypted to", report.quote(text));
                report
                    .error(Code::RecipientInvalid, value.span, message)
                    .hint("recipients begin with age1 and are what `age-keygen -y FILE` prints");
                return None;
            };
            all.push((text.to_owned(), recipient));
        }
    }
    if all.is_empty() {
        report.error(Code::RuleInvalid, span, "no recipient is named").hint("write what `age-keygen -y FILE` prints");
        return None;
    }
    Some(all)
}
