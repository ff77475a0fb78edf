//! JSON that every YAML reader takes for the same thing.

use std::fmt::Write as _;

use serde_json::Value;

/// The document as text. Whatever some reader may refuse or take for a line's end is escaped as YAML has it; outside of
/// texts, JSON has ASCII only.
pub(super) fn to_text(document: &Value) -> String {
    let json = format!("{document:#}\n");
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        let _infallible = match u32::from(char) {
            0x0a | 0x20..=0x7e => text.write_char(char),
            code @ 0..=0xffff => write!(text, "\\u{code:04x}"),
            // JSON would have two halves here, which YAML does not put together.
            code => write!(text, "\\U{code:08x}"),
        };
    }
    text
}
