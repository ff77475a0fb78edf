//! `images:` of `site.yaml`: where an image comes from that neither a host nor the one that carries it has.

use std::collections::BTreeMap;

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::{Field, Fields};
use homestak_protocol::extras::{Checksum, ImageSource};
use homestak_protocol::name::SiteName;

use super::take;

const KEYS: &[&str] = &["url", "sha256", "sha512"];

/// Reads the mapping of names.
pub(super) fn read(file: &Fields<'_>, report: &mut Report<'_>) -> BTreeMap<SiteName, ImageSource> {
    let Some(section) = take::section(file, "images", report) else { return BTreeMap::new() };
    let named: Vec<Field<'_>> = section.iter().collect();
    named.iter().filter_map(|field| image(field, report)).collect()
}

fn image(field: &Field<'_>, report: &mut Report<'_>) -> Option<(SiteName, ImageSource)> {
    let name = SiteName::parse(field.key()).map_err(|error| {
        report
            .error(Code::BadName, field.key_span, format!("{field}: {error}"))
            .hint("call it as manifests do, like debian-12");
    });
    let fields = field.fields(report)?;
    fields.only(KEYS, |_| None, report);
    let hint = "add `url: ` and the https address of the image";
    let url = fields.require("url", Code::KeyMissing, hint, report);
    let url = url.and_then(|field| field.parsed(Code::BadAddress, url_of, report));
    let sum = checksum(&fields, report);
    Some((name.ok()?, ImageSource { url: url?, checksum: sum? }))
}

/// One of the two. A file from elsewhere is taken by what it holds, so there has to be one.
fn checksum(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<Checksum> {
    let (short, long) = (take::filled(fields, "sha256"), take::filled(fields, "sha512"));
    match (short, long) {
        (Some(field), None) => field.parsed(Code::UnknownValue, |text| hex(text, 64), report).map(Checksum::Sha256),
        (None, Some(field)) => field.parsed(Code::UnknownValue, |text| hex(text, 128), report).map(Checksum::Sha512),
        (None, None) => {
            let message = format!("{}: there is no checksum", fields.subject());
            let hint = "add `sha256: ` or `sha512: ` and the digits that the image's publisher gives";
            report.error(Code::KeyMissing, fields.span(), message).hint(hint);
            None
        }
        (Some(_), Some(field)) => {
            let message = format!("{field}: there is a sha256 already");
            report.error(Code::SettingTwice, field.span(), message).hint("keep one of the two");
            None
        }
    }
}

fn url_of(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("write it as https://HOST/PATH")?;
    let (host, path) = rest.split_once('/').ok_or("the path of the file is missing: write it as https://HOST/PATH")?;
    match () {
        () if host.is_empty() || host.contains('@') => Err("write it as https://HOST/PATH, with no user in it"),
        () if path.is_empty() || path.ends_with('/') => Err("the name of the file is missing at its end"),
        () if text.chars().any(|c| c.is_whitespace() || c.is_control()) => Err("an address has no spaces"),
        () => Ok(text.to_owned()),
    }
}

fn hex(text: &str, digits: usize) -> Result<String, String> {
    let is = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is { Ok(text.to_ascii_lowercase()) } else { Err(format!("write {digits} hexadecimal digits")) }
}
