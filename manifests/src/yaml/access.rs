//! Taking typed values out of a tree. Each accessor yields the value or reports what is wrong with it, so that a reader
//! can go on to the next one and all that is wrong is known in the end.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::{Kind, Mapping, Odd, Resolved, Value};
use crate::diagnostic::{Code, Report, Span, quote_key};

/// What a mapping describes, for messages.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'v> {
    /// The only one of its kind in the file: `the manifest`.
    Whole(&'v str),
    /// One of several, by name: `node "edge"`.
    Named(&'v str, &'v str),
    /// One of several that has no name, by place, counted from 1: `node 3`.
    Numbered(&'v str, usize),
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Whole(what) => f.write_str(what),
            Subject::Named(what, name) => write!(f, "{what} {}", quote_key(name)),
            Subject::Numbered(what, number) => write!(f, "{what} {number}"),
        }
    }
}

/// A mapping whose keys mean something.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'v> {
    subject: Subject<'v>,
    within: Option<&'v str>,
    mapping: &'v Mapping,
    span: Span,
}

/// The value of one key, never null.
#[derive(Debug, Clone, Copy)]
pub struct Field<'v> {
    fields: Fields<'v>,
    key: &'v str,
    /// Where the key stands.
    pub key_span: Span,
    /// What stands there.
    pub value: &'v Value,
}

impl<'v> Fields<'v> {
    /// The keys of `value`, which describes `subject`.
    pub fn of(value: &'v Value, subject: Subject<'v>, report: &mut Report<'_>) -> Option<Self> {
        match &value.kind {
            Kind::Mapping(mapping) => Some(Self { subject, within: None, mapping, span: value.span }),
            _ => {
                let message = format!("{subject} is a mapping of keys to values, not {}", value.describe());
                report.error(Code::WrongType, value.span, message).hint("write it as lines of `key: value`");
                None
            }
        }
    }

    /// The same keys under a better name for what they describe.
    #[must_use]
    pub fn renamed(self, subject: Subject<'v>) -> Self {
        Self { subject, ..self }
    }

    /// Where the first key stands.
    pub fn span(&self) -> Span {
        self.span
    }

    /// What the keys describe.
    pub fn subject(&self) -> Subject<'v> {
        self.subject
    }

    /// The value of `key`; none where it is left out or null.
    pub fn get(&self, key: &str) -> Option<Field<'v>> {
        let entry = self.mapping.entries.iter().find(|entry| &*entry.key == key)?;
        let field = Field { fields: *self, key: &entry.key, key_span: entry.key_span, value: &entry.value };
        (!entry.value.is_null()).then_some(field)
    }

    /// The value of `key`, whose absence is reported with `code` and `hint`, at the empty key or at the subject.
    pub fn require(
        &self,
        key: &str,
        code: impl Into<&'static str>,
        hint: &str,
        report: &mut Report<'_>,
    ) -> Option<Field<'v>> {
        let found = self.get(key);
        if found.is_none() {
            let entry = self.mapping.entries.iter().find(|entry| &*entry.key == key);
            let span = entry.map_or(self.span, |entry| entry.key_span);
            report.error(code, span, format!("{}: `{}{key}` is missing", self.subject, self.prefix())).hint(hint);
        }
        found
    }

    /// Every key with its value, null or not.
    pub fn iter(&self) -> impl Iterator<Item = Field<'v>> + use<'v> {
        let fields = *self;
        let field = move |entry: &'v super::Entry| Field {
            fields,
            key: &entry.key,
            key_span: entry.key_span,
            value: &entry.value,
        };
        self.mapping.entries.iter().map(field)
    }

    /// Refuses every key that is not in `known`. `elsewhere` may say where a key belongs that is right in another place.
    pub fn only(&self, known: &[&'static str], elsewhere: fn(&str) -> Option<&'static str>, report: &mut Report<'_>) {
        for entry in &self.mapping.entries {
            if known.contains(&&*entry.key) {
                continue;
            }
            let message =
                format!("{}: unknown key {}", self.subject, quote_key(&format!("{}{}", self.prefix(), entry.key)));
            match elsewhere(&entry.key) {
                Some(hint) => report.error(Code::UnknownKey, entry.key_span, message).hint(hint),
                None => {
                    report.unknown(Code::UnknownKey, entry.key_span, message, &entry.key, known.iter().copied(), || {
                        format!("the keys known here are {}", known.join(", "))
                    })
                }
            }
        }
    }

    /// Warns about every key that is not in `known`: in files that other programs read too, it may be one of theirs.
    /// `elsewhere` may say where a key belongs that is right in another place.
    pub fn only_warn(
        &self,
        known: &[&'static str],
        elsewhere: fn(&str) -> Option<&'static str>,
        report: &mut Report<'_>,
    ) {
        for entry in self.mapping.entries.iter().filter(|entry| !known.contains(&&*entry.key)) {
            let key = quote_key(&format!("{}{}", self.prefix(), entry.key));
            let hint = match (elsewhere(&entry.key), report.nearest(&entry.key, known.iter().copied())) {
                (Some(hint), _) => hint.to_owned(),
                (None, Some(near)) => format!("did you mean {near:?}?"),
                (None, None) => format!("what is read here: {}", known.join(", ")),
            };
            let message = format!("{}: nothing reads the key {key}", self.subject);
            report.warning(Code::KeyIgnored, entry.key_span, message).hint(hint);
        }
    }

    /// The value of a key that has an older and a newer name; both may stand there only where they say the same.
    pub fn either(&self, names: &[&'static str], report: &mut Report<'_>) -> Option<Field<'v>> {
        let mut found = names.iter().filter_map(|name| self.get(name));
        let first = found.next()?;
        for second in found.filter(|second| !first.value.says_as(second.value)) {
            let (newer, older) = (quote_key(first.key), quote_key(second.key));
            let message = format!("{}: {newer} and {older} are two names of one setting", self.subject);
            report.error(Code::SettingTwice, second.key_span, message).hint(format!("keep {newer} and remove {older}"));
        }
        Some(first)
    }

    fn prefix(&self) -> impl fmt::Display + use<'v> {
        let within = self.within;
        fmt::from_fn(move |f| within.map_or(Ok(()), |within| write!(f, "{within}.")))
    }
}

/// `node "edge": vmid`, for messages.
impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = format!("{}{}", self.fields.prefix(), self.key);
        let plain =
            key.len() <= 60 && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        let key = if plain { format!("`{key}`") } else { quote_key(&key) };
        write!(f, "{}: {key}", self.fields.subject)
    }
}

impl<'v> Field<'v> {
    /// The key.
    pub fn key(&self) -> &'v str {
        self.key
    }

    /// Where the value stands.
    pub fn span(&self) -> Span {
        self.value.span
    }

    /// A mapping that belongs to the same subject, as `execution` does to a node.
    pub fn fields(&self, report: &mut Report<'_>) -> Option<Fields<'v>> {
        match &self.value.kind {
            Kind::Mapping(mapping) => {
                Some(Fields { within: Some(self.key), mapping, span: self.value.span, ..self.fields })
            }
            _ => self.mistyped("a mapping of keys to values", report),
        }
    }

    /// A list.
    pub fn items(&self, report: &mut Report<'_>) -> Option<&'v [Value]> {
        match &self.value.kind {
            Kind::Sequence(items) => Some(items),
            _ => self.mistyped("a list", report),
        }
    }

    /// Each item of a list, under the list's key.
    pub fn each(&self, report: &mut Report<'_>) -> impl Iterator<Item = Field<'v>> + use<'v> {
        let field = *self;
        self.items(report).unwrap_or_default().iter().map(move |value| Field { value, ..field })
    }

    /// Whether it is text without a single character, which in many files means that nothing is set.
    pub fn is_blank(&self) -> bool {
        matches!(&self.value.kind, Kind::Scalar(scalar) if scalar.as_str().is_empty())
    }

    /// Whether it is this text.
    pub fn says(&self, text: &str) -> bool {
        matches!(&self.value.kind, Kind::Scalar(scalar) if scalar.as_str() == text)
    }

    /// Text. A number, or a word that YAML 1.1 takes for true or false, is none unless it stands in quotes.
    pub fn text(&self, report: &mut Report<'_>) -> Option<&'v str> {
        match &self.value.kind {
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Text(text) => Some(text),
                _ => {
                    let shown = report.quote(scalar.as_str());
                    let message = format!("{self} is text, and {shown} without quotes is {}", self.value.describe());
                    report.error(Code::WrongType, self.span(), message).hint("put it in quotes");
                    None
                }
            },
            _ => self.mistyped("text", report),
        }
    }

    /// Text in which `yes` and `no` count as text too: however YAML 1.1 spells them, they become `yes` and `no`.
    pub fn text_or_yes_no(&self, report: &mut Report<'_>) -> Option<&'v str> {
        match &self.value.kind {
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Bool(true) => Some("yes"),
                Resolved::Bool(false) => Some("no"),
                _ => self.text(report),
            },
            _ => self.text(report),
        }
    }

    /// True or false, in any of the spellings of YAML 1.1.
    pub fn boolean(&self, report: &mut Report<'_>) -> Option<bool> {
        match &self.value.kind {
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Bool(value) => Some(value),
                _ => self.mistyped("true or false", report),
            },
            _ => self.mistyped("true or false", report),
        }
    }

    /// A whole number within `range`; `unit` says of what, as in ` GiB`.
    pub fn number(&self, range: RangeInclusive<u32>, unit: &str, report: &mut Report<'_>) -> Option<u32> {
        let Kind::Scalar(scalar) = &self.value.kind else { return self.mistyped("a whole number", report) };
        match scalar.resolve() {
            Resolved::Integer(number) => {
                let fits = u32::try_from(number).ok().filter(|number| range.contains(number));
                if fits.is_none() {
                    let shown = report.quote(scalar.as_str());
                    let hint = format!("write a number from {} to {}{unit}", range.start(), range.end());
                    let message = format!("{self} is out of range: {}", shown.trim_matches('"'));
                    report.error(Code::OutOfRange, self.span(), message).hint(hint);
                }
                fits
            }
            Resolved::Odd(odd) => self.odd(odd, scalar.as_str(), report),
            Resolved::Text(text) if !scalar.is_plain() && text.parse::<u32>().is_ok() => {
                let message = format!("{self} is a whole number, and in quotes it is text");
                report.error(Code::WrongType, self.span(), message).hint("remove the quotes");
                None
            }
            _ => self.mistyped("a whole number", report),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, words: &[(&'static str, T)], report: &mut Report<'_>) -> Option<T> {
        self.one_of(self.text(report)?, words, report)
    }

    /// One of a few words, of which `yes` and `no` may be spelt as YAML 1.1 does.
    pub fn yes_no_or<T: Copy>(&self, words: &[(&'static str, T)], report: &mut Report<'_>) -> Option<T> {
        self.one_of(self.text_or_yes_no(report)?, words, report)
    }

    fn one_of<T: Copy>(&self, text: &str, words: &[(&'static str, T)], report: &mut Report<'_>) -> Option<T> {
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let all = || words.iter().map(|(word, _)| *word);
        let message = format!("{self} cannot be {}", report.quote(text));
        report.unknown(Code::UnknownValue, self.span(), message, text, all(), || {
            format!("write one of {}", all().collect::<Vec<_>>().join(", "))
        });
        None
    }

    /// A name of some kind: what `parse` makes of the text, or the reason that it gives.
    pub fn name<T, E: fmt::Display>(&self, parse: fn(&str) -> Result<T, E>, report: &mut Report<'_>) -> Option<T> {
        self.parsed(Code::BadName, parse, report)
    }

    /// What `parse` makes of the text; the reason that it gives otherwise is the hint of an error with `code`.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        code: Code,
        parse: fn(&str) -> Result<T, E>,
        report: &mut Report<'_>,
    ) -> Option<T> {
        let text = self.text(report)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("{self} cannot be {}", report.quote(text));
                report.error(code, self.span(), message).hint(error.to_string());
                None
            }
        }
    }

    /// The value as JSON, for what is handed on as it is. Numbers that readers disagree about are reported; those with a
    /// fraction are none of them.
    pub fn json(&self, report: &mut Report<'_>) -> Option<serde_json::Value> {
        json(self, self.value, report)
    }

    fn odd<T>(&self, odd: Odd, text: &str, report: &mut Report<'_>) -> Option<T> {
        let shown: Cow<'_, str> = report.quote(text);
        let message = format!("{self}: {} {}", shown.trim_matches('"'), odd.reason());
        report.error(Code::OddNumber, self.span(), message).hint("write it as a whole decimal number of digits alone");
        None
    }

    fn mistyped<T>(&self, wanted: &str, report: &mut Report<'_>) -> Option<T> {
        let message = format!("{self} is {wanted}, not {}", self.value.describe());
        let hint = match (&self.value.kind, wanted) {
            (Kind::Scalar(_), "a list") => "write each item on a line of its own: `- item`".to_owned(),
            (Kind::Scalar(_), "a mapping of keys to values") => "write it as lines of `key: value`".to_owned(),
            _ => format!("replace it with {wanted}"),
        };
        report.error(Code::WrongType, self.span(), message).hint(hint);
        None
    }
}

/// The tree's depth is bounded by its reader.
fn json(field: &Field<'_>, value: &Value, report: &mut Report<'_>) -> Option<serde_json::Value> {
    let at = |value| Field { value, ..*field };
    match &value.kind {
        Kind::Sequence(items) => {
            // Every item is looked at, so that all that is wrong is known.
            let items: Vec<_> = items.iter().map(|item| json(field, item, report)).collect();
            items.into_iter().collect::<Option<Vec<_>>>().map(serde_json::Value::Array)
        }
        Kind::Mapping(mapping) => {
            let entries: Vec<_> = mapping
                .entries
                .iter()
                .map(|entry| Some((entry.key.to_string(), json(field, &entry.value, report)?)))
                .collect();
            entries.into_iter().collect::<Option<_>>().map(serde_json::Value::Object)
        }
        Kind::Scalar(scalar) => match scalar.resolve() {
            Resolved::Null => Some(serde_json::Value::Null),
            Resolved::Bool(value) => Some(value.into()),
            Resolved::Text(text) => Some(text.into()),
            Resolved::Integer(number) => match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => Some(number.into()),
                (_, Ok(number)) => Some(number.into()),
                _ => {
                    let field: Field<'_> = at(value);
                    let message = format!("{field} is out of range: {}", report.quote(scalar.as_str()));
                    report.error(Code::OutOfRange, field.span(), message).hint("put it in quotes if it is no number");
                    None
                }
            },
            Resolved::Odd(Odd::Fraction) if let Ok(number) = scalar.as_str().parse::<f64>() => {
                serde_json::Number::from_f64(number).map(serde_json::Value::Number)
            }
            Resolved::Odd(odd) => at(value).odd(odd, scalar.as_str(), report),
        },
    }
}
