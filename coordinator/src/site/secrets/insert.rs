//! One more API token in the text of a plain secrets file, and nothing else changed: comments, order and spelling stay.

use homestak_manifests::diagnostic::{Code, Diagnostic, Report, Source, Span};
use homestak_manifests::yaml::{self, Entry, Kind, Mapping, Value};
use zeroize::Zeroizing;

use super::emit::Emitter;
use super::model::whole;

const SECTION: &str = "api_tokens";
/// How far entries stand in where none shows how.
const STEP: usize = 4;
/// Names that YAML takes for something else than text.
const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// The text with the token of that name; the old one of that name makes room. `shown` names the file in what is wrong.
pub(super) fn with_token(
    shown: &str,
    text: &str,
    name: &str,
    token: &str,
) -> Result<Zeroizing<String>, Vec<Diagnostic>> {
    let before = read(shown, text)?;
    let new = edited(text, &before, name, token);
    // Whatever people write, what comes out says what went in and the token, or it is not written.
    let after = new.as_ref().and_then(|new| read(shown, new).ok());
    match (new, after) {
        (Some(new), Some(after)) if adds(&before, &after, name, token) => Ok(new),
        _ => {
            let message = format!("`{SECTION}` is not written in a way that a token can be added to");
            let hint =
                format!("add `{name}: ` and the token below `{SECTION}:` by hand, or write that section as lines");
            Err(whole(shown, Code::SecretsUnwritable, message, hint))
        }
    }
}

fn read(shown: &str, text: &str) -> Result<Value, Vec<Diagnostic>> {
    let mut report = Report::new(Source::secret(shown, text));
    yaml::read(&mut report).ok_or_else(|| report.into_diagnostics())
}

/// The text as it is meant to be; none where it is written in no way that is known here.
fn edited(text: &str, tree: &Value, name: &str, token: &str) -> Option<Zeroizing<String>> {
    let entry = format!("{}: {}", key(name), serde_json::Value::from(token));
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(section) = entries(tree).iter().find(|entry| &*entry.key == SECTION) else {
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Some(Zeroizing::new(format!("{text}{gap}{SECTION}:\n{:STEP$}{entry}\n", "")));
    };
    let at = index(section.key_span.line)?;
    let line = lines.get(at)?;
    let tokens = entries(&section.value);
    let old = tokens.iter().find(|token| &*token.key == name);
    let place = match (old, tokens.first()) {
        // In the place of the old one, after its key.
        (Some(old), _) => {
            let at = index(old.key_span.line)?;
            let column = index(old.key_span.column)?;
            let head: String = lines.get(at)?.chars().take(column).collect();
            return head.trim().is_empty().then(|| put(&lines, at, 1, &format!("{head}{entry}\n")));
        }
        (None, Some(first)) => first.key_span,
        (None, None) if !is_empty(&section.value) => return None,
        (None, None) => {
            // `api_tokens:`, `api_tokens: {}` or `api_tokens: null`, with what is said behind it.
            let said = line.split_once(" #").map(|(_, said)| format!("  #{}", said.trim_end())).unwrap_or_default();
            let block = format!("{SECTION}:{said}\n{:STEP$}{entry}\n", "");
            return Some(put(&lines, at, 1, &block));
        }
    };
    if place.line == section.key_span.line {
        let brace = line.find('{')?;
        let (before, after) = line.split_at_checked(brace + 1)?;
        return Some(put(&lines, at, 1, &format!("{before} {entry}, {}", after.trim_start())));
    }
    let indent = index(place.column)?;
    Some(put(&lines, at + 1, 0, &format!("{:indent$}{entry}\n", "")))
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || matches!(&value.kind, Kind::Mapping(mapping) if mapping.entries().is_empty())
}

/// The lines with `new` in the place of `count` of them.
fn put(lines: &[&str], at: usize, count: usize, new: &str) -> Zeroizing<String> {
    let (before, after) = lines.split_at(at.min(lines.len()));
    let rest = after.get(count..).unwrap_or_default();
    let gap = if before.last().is_some_and(|line| !line.ends_with('\n')) { "\n" } else { "" };
    Zeroizing::new([before.concat().as_str(), gap, new, rest.concat().as_str()].concat())
}

/// A number that counts from 1, as one that counts from 0.
fn index(from_one: u32) -> Option<usize> {
    usize::try_from(from_one).ok()?.checked_sub(1)
}

fn key(name: &str) -> String {
    let plain =
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && !WORDS.contains(&name.to_ascii_lowercase().as_str());
    if plain { name.to_owned() } else { format!("{name:?}") }
}

fn entries(value: &Value) -> &[Entry] {
    match &value.kind {
        Kind::Mapping(mapping) => mapping.entries(),
        _ => &[],
    }
}

/// Whether `after` is `before` with that token.
fn adds(before: &Value, after: &Value, name: &str, token: &str) -> bool {
    let tokens = |tree: &Value| {
        let section = entries(tree).iter().find(|entry| &*entry.key == SECTION);
        section.map(|section| entries(&section.value).to_vec()).unwrap_or_default()
    };
    let is_it = |entry: &Entry| {
        &*entry.key == name && matches!(&entry.value.kind, Kind::Scalar(scalar) if scalar.as_str() == token)
    };
    let (old, new) = (tokens(before), tokens(after));
    new.iter().any(is_it)
        && said(&old, name) == said(&new, name)
        && said(entries(before), SECTION) == said(entries(after), SECTION)
}

/// What entries say, but for one.
fn said(entries: &[Entry], but: &str) -> Zeroizing<String> {
    let kept = entries.iter().filter(|entry| &*entry.key != but).cloned().collect();
    let mut emitter = Emitter::default();
    emitter.document(&Value { span: Span::START, kind: Kind::Mapping(Mapping::new(kept)) });
    emitter.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "homestak@pve!agent=0-1";

    fn with(text: &str, name: &str) -> String {
        with_token("secrets.yaml", text, name, TOKEN).unwrap().to_string()
    }

    #[test]
    fn a_token_is_added_and_everything_else_is_as_people_wrote_it() {
        let entry = format!("father: \"{TOKEN}\"");
        let block =
            "# mine\napi_tokens:\n  # the old one\n  attic: 'a@pam!b=c'   # keep\n\nssh_keys: {me: ssh-ed25519 AAAA}\n";
        assert_eq!(with(block, "father"), block.replacen("api_tokens:\n", &format!("api_tokens:\n  {entry}\n"), 1));
        let flow = "api_tokens: {attic: a@pam!b=c}\nauth: {}\n";
        assert_eq!(with(flow, "father"), format!("api_tokens: {{ {entry}, attic: a@pam!b=c}}\nauth: {{}}\n"));
        for empty in ["api_tokens:\n", "api_tokens: {}\n", "api_tokens: null\n", "", "api_tokens:"] {
            assert_eq!(with(empty, "father"), format!("api_tokens:\n    {entry}\n"), "{empty:?}");
        }
        let said = with("api_tokens: {}  # none yet\nauth: {}\n", "father");
        assert_eq!(said, format!("api_tokens:  # none yet\n    {entry}\nauth: {{}}\n"));
        assert_eq!(with("auth: {}", "father"), format!("auth: {{}}\napi_tokens:\n    {entry}\n"));
    }

    #[test]
    fn an_old_token_of_that_name_makes_room() {
        let text = "api_tokens:\n  attic: x@pam!y=z\n  father: old\nauth: {}\n";
        assert_eq!(with(text, "father"), text.replace("father: old", &format!("father: \"{TOKEN}\"")));
        assert!(with("api_tokens: {}\n", "true").contains("\"true\": "), "a name is a text");
    }

    #[test]
    fn what_is_written_otherwise_is_refused_and_nothing_of_it_is_shown() {
        for odd in ["api_tokens: [a, secret-word]\n", "api_tokens: {father: secret-word}\n", "- secret-word\n"] {
            let problems = with_token("secrets.yaml", odd, "father", TOKEN).unwrap_err();
            let told = format!("{problems:?}");
            assert!(!told.contains("secret-word") && !told.contains(TOKEN), "{told}");
        }
    }
}
