//! The built-in manifests: `catalog/*.yaml`, compiled in.

/// A built-in manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The name that it is asked for by, and has.
    pub name: &'static str,
    /// The file that it is, for messages.
    pub file: &'static str,
    /// Its YAML.
    pub text: &'static str,
}

macro_rules! entries {
    ($($name:literal),* $(,)?) => {
        &[$(Entry {
            name: $name,
            file: concat!("catalog/", $name, ".yaml"),
            text: include_str!(concat!("../catalog/", $name, ".yaml")),
        },)*]
    };
}

/// All of them, from the smallest to the largest.
pub const ENTRIES: &[Entry] = entries!["n1-push", "n1-pull", "n2-tiered", "n2-push", "n2-mixed", "n3-deep", "flat-3"];

/// The one of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}
