//! The `sops` section of a file: to whom its data key is encrypted, its rule and its message authentication code.

use homestak_manifests::diagnostic::{Code, Report, Span};
use homestak_manifests::yaml::{Fields, Subject, Value};
use zeroize::Zeroizing;

use super::rules::Rule;
use super::value::DataKey;
use crate::site::secrets::envelope::{self, Refused};
use crate::site::secrets::keys::Keys;

/// Kinds of keys that SOPS knows and that are not read here.
const OTHER_KEYS: &[&str] = &["pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms"];

/// The most recipients whose copy of the data key is tried.
const MAX_RECIPIENTS: usize = 256;

/// What a file says about itself.
#[derive(Debug)]
pub(super) struct Section<'v> {
    /// Copies of the data key, each encrypted by age, in armour; with where they stand.
    copies: Vec<(&'v str, Span)>,
    /// For whom these are, where they say so.
    pub(super) recipients: Vec<(&'v str, Span)>,
    /// Kinds of other keys that could open it.
    pub(super) others: Vec<&'static str>,
    /// Which values are encrypted.
    pub(super) rule: Rule,
    /// Whether the code covers encrypted values alone.
    pub(super) only_encrypted: bool,
    /// The code, encrypted for [`Section::modified`].
    pub(super) mac: (&'v str, Span),
    /// When the file was encrypted, as it says.
    pub(super) modified: &'v str,
}

/// What became of the data key.
pub(super) enum Unlocked {
    /// Here it is.
    Key(DataKey),
    /// No identity fits; what else could open it.
    NoKeyFits(Vec<&'static str>),
}

impl<'v> Section<'v> {
    /// Reads the section.
    pub(super) fn of(value: &'v Value, report: &mut Report<'_>) -> Option<Self> {
        let fields = Fields::of(value, Subject::Whole("the `sops` section"), report)?;
        let rule = Rule::of(&fields, report)?;
        let mac = required(&fields, "mac", report)?;
        let (modified, _) = required(&fields, "lastmodified", report)?;
        let only_encrypted = match fields.get("mac_only_encrypted") {
            Some(field) => field.boolean(report)?,
            None => false,
        };
        let keys = group(&fields, report)?;
        let listed = |name: &str| {
            keys.get(name)
                .filter(|field| field.items(&mut Report::new(report.source())).is_some_and(|all| !all.is_empty()))
        };
        let others = OTHER_KEYS.iter().copied().filter(|name| listed(name).is_some()).collect();
        let (mut copies, mut recipients) = (Vec::new(), Vec::new());
        if let Some(field) = keys.get("age") {
            for (at, item) in field.items(report)?.iter().enumerate().take(MAX_RECIPIENTS) {
                let recipient = Fields::of(item, Subject::Numbered("age recipient", at + 1), report)?;
                copies.push(required(&recipient, "enc", report)?);
                let named = recipient.get("recipient");
                recipients.extend(named.and_then(|field| Some((field.text(report)?, field.span()))));
            }
        }
        Some(Self { copies, recipients, others, rule, only_encrypted, mac, modified })
    }

    /// Opens the data key with the first identity that fits.
    pub(super) fn unlock(&self, keys: &Keys, report: &mut Report<'_>) -> Option<Unlocked> {
        for (copy, span) in &self.copies {
            match envelope::decrypt(copy.as_bytes(), keys) {
                Ok(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
                    Ok(key) => return Some(Unlocked::Key(Zeroizing::new(key))),
                    Err(_) => return malformed(*span, "the data key does not have 256 bits", report),
                },
                Err(Refused::NoKeyFits) => {}
                Err(Refused::Malformed(why)) => {
                    return malformed(*span, &format!("the data key cannot be decrypted: {why}"), report);
                }
            }
        }
        Some(Unlocked::NoKeyFits(self.others.clone()))
    }
}

fn malformed<T>(span: Span, message: &str, report: &mut Report<'_>) -> Option<T> {
    report
        .error(Code::AgeMalformed, span, message)
        .hint("take the file from a backup or from version control, or encrypt it anew from the plain one");
    None
}

/// The keys of the file: those of the section itself, or of its only group.
fn group<'v>(fields: &Fields<'v>, report: &mut Report<'_>) -> Option<Fields<'v>> {
    let Some(groups) = fields.get("key_groups") else { return Some(*fields) };
    match groups.items(report)? {
        [] => Some(*fields),
        [one] => Fields::of(one, Subject::Whole("the key group"), report),
        many => {
            let message =
                format!("the data key is split among {} groups of keys, and such files are not read here", many.len());
            report.error(Code::SopsUnsupported, groups.key_span, message).hint(
                "use one group: leave `key_groups` out of the creation rule and run `sops updatekeys` on the file",
            );
            None
        }
    }
}

/// A text that the section must have.
fn required<'v>(fields: &Fields<'v>, name: &str, report: &mut Report<'_>) -> Option<(&'v str, Span)> {
    const CUT: &str = "the file was cut or edited by hand: take it from a backup, or encrypt it anew";
    let field = fields.require(name, Code::SopsMalformed, CUT, report)?;
    Some((field.text(report)?, field.span()))
}
