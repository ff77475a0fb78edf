//! apt's files of sources, in both their forms (sources.list(5)).

use std::path::Path;

/// The server of the repositories that want a subscription.
const ENTERPRISE: &str = "enterprise.proxmox.com";
/// The part of PVE's repository that wants none.
const COMPONENT: &str = "pve-no-subscription";

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A line for each source.
    Lines,
    /// A paragraph of fields for each (deb822).
    Stanzas,
}

impl Form {
    /// The ending of such a file's name.
    pub(super) const fn ending(self) -> &'static str {
        match self {
            Form::Lines => "list",
            Form::Stanzas => "sources",
        }
    }
}

/// The repository that takes no subscription.
pub(super) struct Source {
    pub(super) url: String,
    pub(super) suite: &'static str,
}

impl Source {
    /// The text of a file that names it. Without a keyring whatever lies there is trusted.
    pub(super) fn text(&self, form: Form, keyring: Option<&Path>) -> String {
        let Self { url, suite } = self;
        match form {
            Form::Lines => {
                let option = keyring.map_or("trusted=yes".to_owned(), |file| format!("signed-by={}", file.display()));
                format!("deb [{option}] {url} {suite} {COMPONENT}\n")
            }
            Form::Stanzas => {
                let option = keyring.map_or("Trusted: yes".to_owned(), |file| format!("Signed-By: {}", file.display()));
                format!("Types: deb\nURIs: {url}\nSuites: {suite}\nComponents: {COMPONENT}\n{option}\n")
            }
        }
    }

    /// Whether a file names it.
    pub(super) fn is_in(&self, form: Form, text: &str) -> bool {
        let is_ours = |mut words: std::str::SplitWhitespace<'_>| {
            let url = self.url.trim_end_matches('/');
            words.any(|word| word.trim_end_matches('/') == url)
        };
        match form {
            Form::Lines => text.lines().any(|line| {
                is_on(line) && is_ours(line.split_whitespace()) && line.split_whitespace().any(|word| word == COMPONENT)
            }),
            Form::Stanzas => stanzas(text).any(|stanza| {
                let has = |name, wanted: &str| {
                    field(stanza, name).is_some_and(|text| text.split_whitespace().any(|is| is == wanted))
                };
                is_enabled(stanza)
                    && field(stanza, "URIs").is_some_and(|uris| is_ours(uris.split_whitespace()))
                    && has("Components", COMPONENT)
            }),
        }
    }
}

/// The text with what wants a subscription turned off; none where nothing is on.
pub(super) fn without_enterprise(form: Form, text: &str) -> Option<String> {
    let changed = match form {
        Form::Lines => {
            let off = |line: &str| match is_on(line) && line.contains(ENTERPRISE) {
                true => format!("# {line}\n"),
                false => format!("{line}\n"),
            };
            text.lines().map(off).collect::<String>()
        }
        Form::Stanzas => {
            let off = |stanza: &str| {
                let wants = field(stanza, "URIs").is_some_and(|uris| uris.contains(ENTERPRISE)) && is_enabled(stanza);
                if wants { disabled(stanza) } else { stanza.to_owned() }
            };
            text.split_inclusive("\n\n").map(off).collect()
        }
    };
    (changed.trim_end() != text.trim_end()).then_some(changed)
}

fn is_on(line: &str) -> bool {
    matches!(line.split_whitespace().next(), Some("deb" | "deb-src"))
}

fn stanzas(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter(|stanza| !stanza.trim().is_empty())
}

/// A field's value with its continued lines.
fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let mut at = 0;
    for line in stanza.split_inclusive('\n') {
        let begins = at;
        at += line.len();
        let Some((key, _)) = line.split_once(':') else { continue };
        if !key.eq_ignore_ascii_case(name) {
            continue;
        }
        let rest = stanza.get(begins + key.len() + 1..)?;
        let end = rest.find("\n").and_then(|first| {
            let more = rest.get(first + 1..)?.split_inclusive('\n').take_while(|line| line.starts_with([' ', '\t']));
            Some(first + more.map(str::len).sum::<usize>())
        });
        return rest.get(..end.unwrap_or(rest.len())).map(str::trim);
    }
    None
}

fn is_enabled(stanza: &str) -> bool {
    !field(stanza, "Enabled").is_some_and(|is| matches!(is.to_ascii_lowercase().as_str(), "no" | "false"))
}

/// A stanza that is off: in front of its first field, or where it says that it is on.
fn disabled(stanza: &str) -> String {
    let mut said = false;
    let mut lines = Vec::new();
    let is_key = |line: &str, name: &str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
    let has = stanza.lines().any(|line| is_key(line, "Enabled"));
    for line in stanza.split('\n') {
        if is_key(line, "Enabled") {
            lines.push("Enabled: false");
            continue;
        }
        if !has && !said && line.contains(':') && !line.starts_with('#') {
            lines.push("Enabled: false");
            said = true;
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# mine\ndeb https://enterprise.proxmox.com/debian/pve bookworm pve-enterprise\ndeb http://deb.debian.org/debian bookworm main\n";
    const STANZAS: &str = "Types: deb\nURIs: https://enterprise.proxmox.com/debian/pve\nSuites: trixie\nComponents: pve-enterprise\n\n# ceph\nEnabled: yes\nTypes: deb\nURIs:\n https://enterprise.proxmox.com/debian/ceph-squid\nSuites: trixie\n\nTypes: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\n";

    #[test]
    fn what_wants_a_subscription_is_off_and_the_rest_is_as_it_was() {
        let off = without_enterprise(Form::Lines, LIST).unwrap();
        assert_eq!(off, LIST.replace("deb https://enterprise", "# deb https://enterprise"));
        assert_eq!(without_enterprise(Form::Lines, &off), None);
        let off = without_enterprise(Form::Stanzas, STANZAS).unwrap();
        let wanted = STANZAS
            .replacen("Types: deb\n", "Enabled: false\nTypes: deb\n", 1)
            .replace("Enabled: yes", "Enabled: false");
        assert_eq!(off, wanted);
        assert_eq!(without_enterprise(Form::Stanzas, &off), None);
    }

    #[test]
    fn what_is_written_is_what_is_found() {
        let source = Source { url: "http://download.proxmox.com/debian/pve".into(), suite: "trixie" };
        for form in [Form::Lines, Form::Stanzas] {
            for keyring in [None, Some(Path::new("/usr/share/keyrings/k.gpg"))] {
                let text = source.text(form, keyring);
                assert!(source.is_in(form, &text), "{text}");
                assert_eq!(without_enterprise(form, &text), None);
            }
            assert!(!source.is_in(form, LIST) && !source.is_in(form, STANZAS));
        }
        let off = format!("Enabled: no\n{}", source.text(Form::Stanzas, None));
        assert!(!source.is_in(Form::Stanzas, &off));
        assert!(!source.is_in(Form::Lines, &format!("# {}", source.text(Form::Lines, None))));
    }
}
