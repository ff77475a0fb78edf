//! Texts of site files that end up in other programs' files and commands: each parses, or says what it is made of. The rules
//! are those of the agent, which parses the same texts again where they arrive.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident, $rule:literal, $check:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(Box<str>);

        impl $name {
            /// Parses the text, or says what such a text is made of.
            pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err($rule) }
            }

            /// As it was written.
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

texts! {
    /// A user's name, as useradd(8) takes it.
    UserName,
    "a user's name is a lower-case letter or `_`, then lower-case letters, digits, `_` and `-`, 32 at most",
    |text| text.len() <= 32 && made_of(text, |c| c.is_ascii_lowercase() || c == '_', |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-')
    });

    /// A Debian package, with a version or architecture perhaps.
    Package,
    "a package's name starts with a lower-case letter or digit and goes on with letters, digits, `+`, `-`, `.`, `:`, `=` and `~`",
    |text| made_of(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), |c| {
        c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | ':' | '=' | '~')
    });

    /// A systemd unit; `.service` may be left out.
    Unit,
    "a service's name starts with a letter or digit and goes on with letters, digits, `@`, `:`, `-`, `_` and `.`",
    |text| made_of(text, |c| c.is_ascii_alphanumeric(), |c| {
        c.is_ascii_alphanumeric() || matches!(c, '@' | ':' | '-' | '_' | '.')
    });

    /// A name of the tz database.
    TimeZone,
    "a time zone is a name like `Europe/Berlin` or `Etc/UTC`",
    |text| !text.contains("..") && made_of(text, |c| c.is_ascii_alphabetic(), |c| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-')
    });

    /// A DNS domain.
    Domain,
    "a domain is made of labels of letters, digits and `-`, with dots between them, like `lab.example`",
    |text| text.len() <= 253 && text.split('.').all(|label| {
        label.len() <= 63 && !label.ends_with('-') && made_of(label, |c| c.is_ascii_alphanumeric(), |c| {
            c.is_ascii_alphanumeric() || c == '-'
        })
    });

    /// A network interface, as the kernel takes it.
    Interface,
    "a bridge's name has at most 15 letters, digits, `_`, `-` and `.`, like `vmbr0`",
    |text| text.len() <= 15 && made_of(text, |c| c.is_ascii_alphanumeric(), |c| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
    });

    /// A storage of a PVE host.
    Datastore,
    "a datastore's name is a letter, then letters, digits, `_`, `-` and `.`, like `local-zfs`",
    |text| made_of(text, |c| c.is_ascii_alphabetic(), |c| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
    });

    /// A word that is handed on: a release, a branch.
    Word,
    "it is one word of letters, digits, `.`, `_`, `-`, `+` and `/`",
    |text| made_of(text, |c| c.is_ascii_alphanumeric(), |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/')
    });
}

fn made_of(text: &str, first: fn(char) -> bool, rest: fn(char) -> bool) -> bool {
    let mut chars = text.chars();
    text.len() <= 255 && chars.next().is_some_and(first) && chars.all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_shell_or_a_path_takes_apart_gets_through() {
        for bad in ["", "-rf", "a b", "a;b", "a\nb", "../x", "/etc", "$(x)", "a'b"] {
            assert!(UserName::parse(bad).is_err(), "{bad:?}");
            assert!(Package::parse(bad).is_err(), "{bad:?}");
            assert!(Unit::parse(bad).is_err(), "{bad:?}");
            assert!(TimeZone::parse(bad).is_err(), "{bad:?}");
            assert!(Domain::parse(bad).is_err(), "{bad:?}");
            assert!(Interface::parse(bad).is_err(), "{bad:?}");
            assert!(Datastore::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Domain::parse("lab.example").is_ok() && Domain::parse("lab..example").is_err());
        assert!(Package::parse("libc6:i386=2.36-9+deb12u4").is_ok());
        assert!(TimeZone::parse("America/Argentina/Buenos_Aires").is_ok());
    }
}
