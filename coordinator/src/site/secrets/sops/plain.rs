//! What a value that is not encrypted is to SOPS, and the bytes of any value that go into the message authentication code.
//!
//! SOPS reads YAML with go-yaml v3, for which `yes` is text, `0640` octal and `1_000` a thousand; its code covers what it
//! understood, not what was written, so that reader's ideas are followed here and nowhere else.

use homestak_manifests::yaml::Scalar;

use super::value::Type;

/// What a value comes to: its type and its text in the one spelling that the code covers; none for null, which it leaves out.
pub(super) fn covered(scalar: &Scalar) -> Option<(Type, String)> {
    let text = scalar.as_str();
    if !scalar.is_plain() {
        return Some((Type::Text, text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => None,
        "true" | "True" | "TRUE" => Some((Type::Boolean, "True".into())),
        "false" | "False" | "FALSE" => Some((Type::Boolean, "False".into())),
        _ => Some(number(text).unwrap_or_else(|| (Type::Text, text.to_owned()))),
    }
}

/// The covered spelling of a value that was decrypted.
pub(super) fn canonical(text: &str, kind: Type) -> String {
    match kind {
        Type::Text | Type::Comment => text.to_owned(),
        Type::Integer => text.parse::<i64>().map_or_else(|_| text.to_owned(), |number| number.to_string()),
        Type::Float => text.parse::<f64>().map_or_else(|_| text.to_owned(), float),
        Type::Boolean => {
            if boolean(text) == Some(true) {
                "True".into()
            } else {
                "False".into()
            }
        }
    }
}

/// Go's `strconv.ParseBool`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's `strconv.FormatFloat(f, 'f', -1, 64)`.
fn float(number: f64) -> String {
    if number.is_nan() {
        "NaN".into()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        number.to_string()
    }
}

fn number(text: &str) -> Option<(Type, String)> {
    let first = text.bytes().next()?;
    if !matches!(first, b'+' | b'-' | b'.' | b'0'..=b'9') {
        return None;
    }
    if let Some(integer) = integer(&text.replace('_', "")) {
        return Some((Type::Integer, integer.to_string()));
    }
    let special = match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        _ => None,
    };
    let digits = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-' | b'_'));
    let parsed = || digits(text).then(|| text.replace('_', "").parse().ok()).flatten();
    special.or_else(parsed).map(|number| (Type::Float, float(number)))
}

/// A whole number of 64 bits, in any of the bases.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = sign * i128::from_str_radix(digits, base).ok()?;
    (i64::try_from(number).is_ok() || u64::try_from(number).is_ok()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_what_go_yaml_takes_them_for() {
        for (text, kind, shown) in [
            ("12", Type::Integer, "12"),
            ("+12", Type::Integer, "12"),
            ("0640", Type::Integer, "416"),
            ("0x1F", Type::Integer, "31"),
            ("1_000", Type::Integer, "1000"),
            ("-7", Type::Integer, "-7"),
            ("1.50", Type::Float, "1.5"),
            ("1e3", Type::Float, "1000"),
            ("-.inf", Type::Float, "-Inf"),
            ("true", Type::Boolean, "True"),
            ("yes", Type::Text, "yes"),
            ("192.0.2.1", Type::Text, "192.0.2.1"),
            ("-", Type::Text, "-"),
            ("0x", Type::Text, "0x"),
        ] {
            assert_eq!(covered(&Scalar::plain(text)), Some((kind, shown.into())), "{text}");
        }
        assert_eq!(covered(&Scalar::plain("~")), None);
        assert_eq!(covered(&Scalar::quoted("12")), Some((Type::Text, "12".into())));
        assert_eq!(canonical("1.0", Type::Float), "1");
    }
}
