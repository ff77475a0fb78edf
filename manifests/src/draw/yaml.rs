//! A manifest as YAML that reads as if somebody had written it, in the order of the schema.

use std::fmt::{self, Write as _};

use crate::model::{Manifest, Mode, Node, SCHEMA_VERSION, Settings};

/// Words that YAML, of one version or another, takes for something else than text.
const RESERVED: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// The schema's own form as YAML, what is at its default left out. Ends with a line break.
pub fn yaml(manifest: &Manifest) -> String {
    let mut out = format!("schema_version: {SCHEMA_VERSION}\nname: {}\n", Text(manifest.name.as_str()));
    if let Some(description) = &manifest.description {
        let _ = writeln!(out, "description: {}", Text(description));
    }
    let _ = writeln!(out, "pattern: {}", manifest.pattern.as_str());
    if manifest.default_mode != Mode::default() {
        let _ = writeln!(out, "execution:\n  default_mode: {}", manifest.default_mode.as_str());
    }
    settings(&mut out, manifest.settings);
    out.push_str("\nnodes:\n");
    for (index, one) in manifest.nodes.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        node(&mut out, one);
    }
    out
}

fn settings(out: &mut String, settings: Settings) {
    let usual = Settings::default();
    if settings == usual {
        return;
    }
    out.push_str("settings:\n");
    let mut line = |key: &str, differs: bool, value: &dyn fmt::Display| {
        if differs {
            let _ = writeln!(out, "  {key}: {value}");
        }
    };
    line("verify_ssh", settings.verify_ssh != usual.verify_ssh, &settings.verify_ssh);
    line("cleanup_on_failure", settings.cleanup_on_failure != usual.cleanup_on_failure, &settings.cleanup_on_failure);
    line("timeout_buffer", settings.timeout_buffer != usual.timeout_buffer, &settings.timeout_buffer);
    line("on_error", settings.on_error != usual.on_error, &settings.on_error);
    if let Some(base) = settings.vmid_base {
        line("vmid_base", true, &base);
    }
}

fn node(out: &mut String, node: &Node) {
    let _ = writeln!(out, "  - name: {}\n    type: {}", Text(node.name.as_str()), node.kind);
    let mut line = |key: &str, value: Option<&dyn fmt::Display>| {
        if let Some(value) = value {
            let _ = writeln!(out, "    {key}: {value}");
        }
    };
    let [spec, preset, image] =
        [&node.spec, &node.preset, &node.image].map(|name| name.as_ref().map(|n| Text(n.as_str())));
    line("spec", spec.as_ref().map(|text| text as _));
    line("preset", preset.as_ref().map(|text| text as _));
    line("image", image.as_ref().map(|text| text as _));
    line("vmid", node.vmid.as_ref().map(|vmid| vmid as _));
    line("disk", node.disk.as_ref().map(|disk| disk as _));
    line("parent", node.parent.as_ref().map(|name| Text(name.as_str())).as_ref().map(|text| text as _));
    if let Some(mode) = node.mode {
        let _ = writeln!(out, "    execution:\n      mode: {}", mode.as_str());
    }
}

/// Text, in quotes unless every reader takes it for text without.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if word && !RESERVED.iter().any(|reserved| text.eq_ignore_ascii_case(reserved)) {
            return f.write_str(text);
        }
        f.write_char('"')?;
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() || !is_plain(c) => write!(f, "\\U{:08X}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Characters that show themselves and that every YAML reader takes (YAML 1.2.2, 5.1), line separators aside.
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fdff}' | '\u{10000}'..)
}
