//! Which values of a file are encrypted: the one rule that a file or a creation rule names, else all but those below a key
//! that ends in `_unencrypted`.

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::Fields;
use regex::Regex;

/// SOPS's own rule where none is named.
const DEFAULT_SUFFIX: &str = "_unencrypted";

const NAMES: &[&str] = &[
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
];

/// The rule of a file, and how its section spells it.
#[derive(Debug, Clone)]
pub(in crate::site::secrets) struct Rule {
    /// The key of the section, and the value.
    pub(super) spelled: (&'static str, String),
    which: Which,
}

#[derive(Debug, Clone)]
enum Which {
    /// Not below a key that ends in `_unencrypted`, unless it looks encrypted: some programs know no rule but those that
    /// are spelled out.
    Default,
    /// Not below a key that is so.
    AllBut(Match),
    /// Only below a key that is so.
    Only(Match),
    /// Comments above a value decide. They are not covered by the code and anybody may change them, so nothing is lost by
    /// taking what looks encrypted for encrypted.
    Comments,
}

#[derive(Debug, Clone)]
enum Match {
    Suffix(String),
    Regex(Regex),
}

impl Rule {
    /// The rule of a file's section, or of a creation rule.
    pub(in crate::site::secrets) fn of(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut rules = NAMES.iter().filter_map(|name| fields.get(name).map(|field| (*name, field)));
        let Some((name, field)) = rules.next() else { return Some(Self::default()) };
        if let Some((other, field)) = rules.next() {
            let message = format!("{name} and {other} are both there, and SOPS follows one");
            report.error(Code::SopsMalformed, field.key_span, message).hint("keep one of them");
            return None;
        }
        let text = field.text(report)?.to_owned();
        let regex = |report: &mut Report<'_>| {
            let regex = Regex::new(&text).ok();
            if regex.is_none() {
                let message = format!("{field} is no regular expression that can be followed");
                report.error(Code::SopsUnsupported, field.span(), message).hint("write it in the syntax of RE2");
            }
            regex
        };
        let which = match name {
            "unencrypted_suffix" => Which::AllBut(Match::Suffix(text.clone())),
            "encrypted_suffix" => Which::Only(Match::Suffix(text.clone())),
            "unencrypted_regex" => Which::AllBut(Match::Regex(regex(report)?)),
            "encrypted_regex" => Which::Only(Match::Regex(regex(report)?)),
            _ => Which::Comments,
        };
        Some(Self { spelled: (name, text), which })
    }

    /// Whether comments decide.
    pub(super) fn is_by_comments(&self) -> bool {
        matches!(self.which, Which::Comments)
    }

    /// Whether the value below these keys is encrypted. `looks` says whether it looks so.
    pub(super) fn encrypts(&self, keys: &[&str], looks: bool) -> bool {
        match &self.which {
            Which::Default => looks || !keys.iter().any(|key| key.ends_with(DEFAULT_SUFFIX)),
            Which::AllBut(matched) => !keys.iter().any(|key| matched.is(key)),
            Which::Only(matched) => keys.iter().any(|key| matched.is(key)),
            Which::Comments => looks,
        }
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self { spelled: ("unencrypted_suffix", DEFAULT_SUFFIX.to_owned()), which: Which::Default }
    }
}

impl Match {
    fn is(&self, key: &str) -> bool {
        match self {
            Match::Suffix(suffix) => key.ends_with(suffix),
            Match::Regex(regex) => regex.is_match(key),
        }
    }
}
