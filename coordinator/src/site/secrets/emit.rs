//! A tree as YAML: what `secrets decrypt` prints and what an encrypted file is written as. Four columns a level, as SOPS
//! writes; text stands in quotes unless every reader takes it for text without.

use homestak_manifests::yaml::{Kind, Resolved, Scalar, Value};
use zeroize::Zeroizing;

/// Columns a level.
const STEP: usize = 4;

/// Text that is being written. It may hold secrets.
#[derive(Debug, Default)]
pub(super) struct Emitter(Zeroizing<String>);

impl Emitter {
    /// What was written.
    pub(super) fn finish(self) -> Zeroizing<String> {
        self.0
    }

    /// A tree, from the first column on.
    pub(super) fn document(&mut self, value: &Value) {
        match &value.kind {
            Kind::Mapping(mapping) if !mapping.entries().is_empty() => self.block(value, 0),
            _ => self.inline(value),
        }
    }

    /// `key:` at that depth; its value follows.
    pub(super) fn key(&mut self, key: &str, depth: usize) {
        self.indent(depth);
        self.0.push_str(&written(&Scalar::quoted(key)));
        self.0.push(':');
    }

    /// A line of its own below a key that stands at that depth.
    pub(super) fn line(&mut self, text: &str, depth: usize) {
        self.indent(depth);
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// A value after `key:` or `-` at that depth.
    fn value(&mut self, value: &Value, depth: usize) {
        match &value.kind {
            Kind::Mapping(mapping) if !mapping.entries().is_empty() => {
                self.0.push('\n');
                self.block(value, depth + 1);
            }
            Kind::Sequence(items) if !items.is_empty() => {
                self.0.push('\n');
                self.block(value, depth + 1);
            }
            _ => {
                self.0.push(' ');
                self.inline(value);
            }
        }
    }

    fn block(&mut self, value: &Value, depth: usize) {
        match &value.kind {
            Kind::Mapping(mapping) => {
                for entry in mapping.entries() {
                    self.key(&entry.key, depth);
                    self.value(&entry.value, depth);
                }
            }
            Kind::Sequence(items) => {
                for item in items {
                    self.indent(depth);
                    self.0.push('-');
                    self.value(item, depth);
                }
            }
            Kind::Scalar(_) => self.inline(value),
        }
    }

    fn inline(&mut self, value: &Value) {
        match &value.kind {
            Kind::Mapping(_) => self.0.push_str("{}"),
            Kind::Sequence(_) => self.0.push_str("[]"),
            Kind::Scalar(scalar) => self.0.push_str(&Zeroizing::new(written(scalar))),
        }
        self.0.push('\n');
    }

    fn indent(&mut self, depth: usize) {
        self.0.extend(std::iter::repeat_n(' ', depth * STEP));
    }
}

/// A scalar as it is written.
fn written(scalar: &Scalar) -> String {
    let text = scalar.as_str();
    let plain = Scalar::plain(text);
    let safe = match plain.resolve() {
        Resolved::Null => scalar.is_plain() && !text.is_empty(),
        Resolved::Text(text) => is_word(text),
        _ => scalar.is_plain(),
    };
    if safe {
        text.to_owned()
    } else if scalar.is_plain() && text.is_empty() {
        "null".into()
    } else {
        quoted(text)
    }
}

/// Text that no reader takes for anything else: no space, no sign of YAML's, and none of the words that some readers know.
fn is_word(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'/' | b'_' | b'$'));
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_.@+=$-![],:".contains(&b));
    // One that stands before a colon, or ends in one, would be a key.
    let short = matches!(text, "y" | "Y" | "n" | "N");
    first && rest && !short && !text.ends_with(':')
}

/// In double quotes: a JSON string is one of YAML too.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use homestak_manifests::diagnostic::{Report, Source};
    use homestak_manifests::yaml;

    use super::*;

    fn read(text: &str) -> Value {
        yaml::read(&mut Report::new(Source::new("f", text))).unwrap()
    }

    fn emit(value: &Value) -> String {
        let mut emitter = Emitter::default();
        emitter.document(value);
        emitter.finish().to_string()
    }

    #[test]
    fn a_tree_is_written_as_it_is_read() {
        let text = "\
auth:
    signing_key: \"\"
    \"off\": \"off\"
    number: 12
    text: \"12\"
    none: null
empty: {}
list:
    - a
    -
        b: c
        d: []
    - \"# no comment\"
\"odd: key\": \"two\\nlines\"
token: root@pam!homestak=00-11
";
        assert_eq!(emit(&read(text)), text);
        assert_eq!(emit(&read("")), "null\n");
    }
}
