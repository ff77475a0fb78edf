//! What PVE's API takes: forms, with booleans as 0 and 1.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything is encoded that is not unreserved (RFC 3986, 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Parameters of a call, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Form(String);

impl Form {
    /// No parameters.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With this one.
    pub(crate) fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        let value = value.to_string();
        let separator = if self.0.is_empty() { "" } else { "&" };
        let (key, value) = (encoded(key), encoded(&value));
        // Writing to a text does not fail.
        let _infallible = write!(self.0, "{separator}{key}={value}");
        self
    }

    /// With this one, if there is one.
    pub(crate) fn with_some(self, key: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// With a switch.
    pub(crate) fn with_switch(self, key: &str, on: bool) -> Self {
        self.with(key, u8::from(on))
    }

    /// As it is sent.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A text as a part of a path or form.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded_once_and_what_pve_decodes_itself_twice() {
        let form = Form::new().with("net0", "virtio,bridge=vmbr0").with_switch("onboot", true);
        assert_eq!(form.as_str(), "net0=virtio%2Cbridge%3Dvmbr0&onboot=1");
        // PVE::API2::Qemu decodes `sshkeys` once more than the form.
        let keys = Form::new().with("sshkeys", encoded("ssh-ed25519 AAAA+/= a@b"));
        assert_eq!(keys.as_str(), "sshkeys=ssh-ed25519%2520AAAA%252B%252F%253D%2520a%2540b");
    }
}
