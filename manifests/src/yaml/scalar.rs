//! What a single value is taken for: YAML 1.2's core types, YAML 1.1's booleans, and numbers that readers disagree about.
//!
//! The files that are read were written for a YAML 1.1 reader, for which a plain `yes` is true, `0640` is octal and
//! `1_000` a thousand. Booleans are few and clear, so they are taken as that reader took them. Numbers whose value
//! depends on the reader are told apart here and refused where they are used.

use std::sync::Arc;

/// A single value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    text: Arc<str>,
    plain: bool,
}

/// What a single value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved<'v> {
    /// `null`, `~`, or nothing.
    Null,
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// A whole decimal number; one past the type's range is cut to it, which is outside of any range that is wanted.
    Integer(i128),
    /// A number spelt in a way that not all readers understand alike, or one with a fraction.
    Odd(Odd),
    /// Anything else, and everything in quotes.
    Text(&'v str),
}

/// Ways of writing a number that are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// `0640`: octal for some, decimal for others.
    LeadingZero,
    /// `0x1f`, `0o17`, `0b1`.
    Base,
    /// `1_000`.
    Underscore,
    /// `1:30`, which is 90 to YAML 1.1.
    Sixty,
    /// `1.5`, `1e3`, `.inf`.
    Fraction,
}

impl Odd {
    /// What makes it odd, as the rest of a sentence about the number.
    pub const fn reason(self) -> &'static str {
        match self {
            Odd::LeadingZero => "starts with a zero, which some readers take for octal",
            Odd::Base => "is not decimal",
            Odd::Underscore => "has underscores in it, which not all readers understand",
            Odd::Sixty => "has colons in it, which some readers take for minutes and seconds",
            Odd::Fraction => "has a fraction or an exponent",
        }
    }
}

impl Scalar {
    /// A value that stands without quotes, for trees that come from elsewhere than a file.
    pub fn plain(text: &str) -> Self {
        Self::new(text, true)
    }

    /// Text that stands in quotes.
    pub fn quoted(text: &str) -> Self {
        Self::new(text, false)
    }

    pub(super) fn new(text: &str, plain: bool) -> Self {
        Self { text: text.into(), plain }
    }

    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The text, without quotes and with escapes resolved.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it stands without quotes, so that it may be something else than text.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// What it is taken for.
    pub fn resolve(&self) -> Resolved<'_> {
        if self.plain { resolve(&self.text) } else { Resolved::Text(&self.text) }
    }
}

fn resolve(text: &str) -> Resolved<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Resolved::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Resolved::Bool(false),
        _ => number(text).unwrap_or(Resolved::Text(text)),
    }
}

fn number(text: &str) -> Option<Resolved<'_>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let first = digits.bytes().next()?;
    if first != b'.' && !first.is_ascii_digit() {
        return None;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        if first == b'0' && digits.len() > 1 {
            return Some(Resolved::Odd(Odd::LeadingZero));
        }
        let magnitude = digits.parse().unwrap_or(i128::MAX);
        return Some(Resolved::Integer(if negative { -magnitude } else { magnitude }));
    }
    odd(digits).map(Resolved::Odd)
}

fn odd(digits: &str) -> Option<Odd> {
    let all = |text: &str, allowed: fn(u8) -> bool| !text.is_empty() && text.bytes().all(|b| b == b'_' || allowed(b));
    let based = |prefix: &str, allowed| digits.strip_prefix(prefix).is_some_and(|rest| all(rest, allowed));
    if based("0x", |b| b.is_ascii_hexdigit())
        || based("0o", |b| matches!(b, b'0'..=b'7'))
        || based("0b", |b| matches!(b, b'0' | b'1'))
    {
        return Some(Odd::Base);
    }
    if all(digits, |b| b.is_ascii_digit()) {
        return Some(Odd::Underscore);
    }
    if sixty(digits) {
        return Some(Odd::Sixty);
    }
    let special = matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    let float = all(digits, numeric) && digits.replace('_', "").parse::<f64>().is_ok();
    (special || float).then_some(Odd::Fraction)
}

/// YAML 1.1's sexagesimal numbers: no leading zero, every part after the first below sixty, the last with a fraction or not.
fn sixty(digits: &str) -> bool {
    let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole);
    let mut parts = whole.split(':');
    let first = parts.next().is_some_and(|part| {
        !part.starts_with('0') && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    });
    let mut rest = 0;
    let below = parts.all(|part| {
        rest += 1;
        part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u8>().is_ok_and(|n| n < 60)
    });
    first && below && rest > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_taken_as_the_old_reader_took_them() {
        for (text, expected) in [
            ("", Resolved::Null),
            ("~", Resolved::Null),
            ("null", Resolved::Null),
            ("yes", Resolved::Bool(true)),
            ("Off", Resolved::Bool(false)),
            ("0", Resolved::Integer(0)),
            ("-12", Resolved::Integer(-12)),
            ("99011", Resolved::Integer(99011)),
            ("edge", Resolved::Text("edge")),
            ("y", Resolved::Text("y")),
            ("192.0.2.1", Resolved::Text("192.0.2.1")),
            ("2001:db8::1", Resolved::Text("2001:db8::1")),
            ("00:16:3e:5a:00:01", Resolved::Text("00:16:3e:5a:00:01")),
            ("9-lives", Resolved::Text("9-lives")),
            ("-", Resolved::Text("-")),
        ] {
            assert_eq!(resolve(text), expected, "{text:?}");
        }
        assert_eq!(Scalar::new("yes", false).resolve(), Resolved::Text("yes"));
        assert_eq!(resolve(&"9".repeat(100)), Resolved::Integer(i128::MAX));
    }

    #[test]
    fn numbers_that_readers_disagree_about_are_told_apart() {
        for (text, expected) in [
            ("0640", Odd::LeadingZero),
            ("-007", Odd::LeadingZero),
            ("0x1F", Odd::Base),
            ("0o17", Odd::Base),
            ("0b101", Odd::Base),
            ("1_000", Odd::Underscore),
            ("1:30", Odd::Sixty),
            ("10:11:22", Odd::Sixty),
            ("1.5", Odd::Fraction),
            ("64.0", Odd::Fraction),
            ("1e3", Odd::Fraction),
            (".5", Odd::Fraction),
            ("-.inf", Odd::Fraction),
        ] {
            assert_eq!(resolve(text), Resolved::Odd(expected), "{text:?}");
        }
    }
}
