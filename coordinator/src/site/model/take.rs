//! Taking values that parse out of the fields of a site file.

use std::collections::BTreeSet;
use std::fmt;

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::{Field, Fields};
use homestak_protocol::ids::Vmid;

/// The value of `key`, unless it is empty text: example files have the settings that nobody has made yet as `""`.
pub(super) fn filled<'v>(fields: &Fields<'v>, key: &str) -> Option<Field<'v>> {
    fields.get(key).filter(|field| !field.is_blank())
}

/// The same of a setting with a newer and an older name.
pub(super) fn renamed<'v>(fields: &Fields<'v>, names: &[&'static str], report: &mut Report<'_>) -> Option<Field<'v>> {
    fields.either(names, report).filter(|field| !field.is_blank())
}

/// What `parse` makes of the text at `key`.
pub(super) fn name<T, E: fmt::Display>(
    fields: &Fields<'_>,
    key: &str,
    parse: fn(&str) -> Result<T, E>,
    report: &mut Report<'_>,
) -> Option<T> {
    filled(fields, key)?.name(parse, report)
}

/// An address of some form at `key`.
pub(super) fn address<T, E: fmt::Display>(
    fields: &Fields<'_>,
    key: &str,
    parse: fn(&str) -> Result<T, E>,
    report: &mut Report<'_>,
) -> Option<T> {
    filled(fields, key)?.parsed(Code::BadAddress, parse, report)
}

/// What `parse` makes of each text of the list at `key`; what stands there twice is kept once.
pub(super) fn names<T: PartialEq, E: fmt::Display>(
    fields: &Fields<'_>,
    key: &str,
    parse: fn(&str) -> Result<T, E>,
    report: &mut Report<'_>,
) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for item in fields.get(key).iter().flat_map(|field| field.each(report)).collect::<Vec<_>>() {
        match item.name(parse, report) {
            Some(value) if !all.contains(&value) => all.push(value),
            _ => {}
        }
    }
    all
}

/// True or false at `key`.
pub(super) fn flag(fields: &Fields<'_>, key: &str, report: &mut Report<'_>) -> Option<bool> {
    fields.get(key)?.boolean(report)
}

/// A vmid at `key`.
pub(super) fn vmid(fields: &Fields<'_>, key: &str, report: &mut Report<'_>) -> Option<Vmid> {
    fields.get(key)?.number(Vmid::MIN..=Vmid::MAX, "", report).and_then(Vmid::new)
}

/// The mapping at `key`.
pub(super) fn section<'v>(fields: &Fields<'v>, key: &str, report: &mut Report<'_>) -> Option<Fields<'v>> {
    fields.get(key)?.fields(report)
}

/// Reports a reference to something that the site has not, with the nearest that it has.
pub(super) fn unknown<T: AsRef<str>>(
    field: &Field<'_>,
    what: &str,
    code: Code,
    found: &str,
    known: &BTreeSet<T>,
    report: &mut Report<'_>,
) {
    let message = format!("{field}: the site has no {what} {}", report.quote(found));
    let names = || known.iter().map(T::as_ref);
    report.unknown(code, field.span(), message, found, names(), || one_of(what, names()));
}

/// `there are a, b`, or how many.
pub(super) fn one_of<'n>(what: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    match names.clone().count() {
        0 => format!("the site has no {what} at all"),
        1..=10 => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
        more => format!("there are {more} to choose from"),
    }
}
