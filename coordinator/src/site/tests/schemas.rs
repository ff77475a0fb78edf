//! The schemas agree with the readers: what one takes, the other takes, as far as one file says it.

use homestak_manifests::diagnostic::{Report, Source};
use homestak_manifests::yaml::{Fields, Kind, Subject, read};
use jsonschema::Validator;
use serde_json::Value;

use super::harbour::Harbour;
use super::mistakes::{MISTAKES, Mistake};
use crate::site::{SchemaKind, schema};

/// What only a look at other files, or at the text itself, can find.
const BEYOND: &[&str] = &["E608", "E620", "E630", "E631", "E632", "E633", "E640", "E643", "E646"];

/// Mistakes in the form of a value that a schema cannot see: how a length of time is written, how two addresses fit.
const UNSEEN: &[&str] = &["a length of time without a unit", "a gateway in another network"];

fn kind_of(file: &str) -> Option<SchemaKind> {
    Some(match file.strip_suffix(".yaml")?.split('/').next()? {
        "site" => SchemaKind::Site,
        "hosts" => SchemaKind::Host,
        "nodes" => SchemaKind::Node,
        "presets" => SchemaKind::Preset,
        "postures" => SchemaKind::Posture,
        "specs" => SchemaKind::Spec,
        "manifests" => SchemaKind::Manifest,
        _ => return None,
    })
}

fn validator(kind: SchemaKind) -> Validator {
    let schema: Value = serde_json::from_str(schema(kind)).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    jsonschema::draft202012::new(&schema).unwrap()
}

/// The file as JSON; none where it is no YAML. A file with nothing in it has every key left out.
fn json(text: &str) -> Option<Value> {
    let mut report = Report::new(Source::new("file", text));
    let value = read(&mut report)?;
    if value.is_null() {
        return Some(Value::Object(serde_json::Map::new()));
    }
    if !matches!(value.kind, Kind::Mapping(_)) {
        return Some(Value::Array(Vec::new()));
    }
    let fields = Fields::of(&value, Subject::Whole("the file"), &mut report)?;
    fields
        .iter()
        .map(|field| Some((field.key().to_owned(), field.json(&mut report)?)))
        .collect::<Option<_>>()
        .map(Value::Object)
}

#[test]
fn every_file_that_is_taken_passes_its_schema() {
    let harbour = Harbour::new();
    let mut seen = 0;
    for folder in ["", "hosts", "nodes", "presets", "postures", "specs", "manifests"] {
        for entry in std::fs::read_dir(harbour.path().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let file = path.strip_prefix(harbour.path()).unwrap().to_str().unwrap().to_owned();
            let Some(kind) = path.is_file().then(|| kind_of(&file)).flatten() else { continue };
            let value = json(&std::fs::read_to_string(&path).unwrap()).unwrap();
            validator(kind)
                .validate(&value)
                .unwrap_or_else(|error| panic!("{file}: {error} at {}", error.instance_path()));
            seen += 1;
        }
    }
    assert_eq!(seen, 14);
}

#[test]
fn every_mistake_in_the_form_of_a_file_is_one_to_its_schema_too() {
    let mut refused = 0;
    for Mistake(what, file, text, code) in MISTAKES {
        let Some((kind, value)) = kind_of(file).zip(json(text)) else { continue };
        let only_read = code.starts_with('W') || BEYOND.contains(code) || UNSEEN.contains(what);
        let passes = validator(kind).is_valid(&value);
        // An empty node file is one without its datastore, which site.yaml may have.
        let elsewhere = *what == "no datastore";
        assert_eq!(passes, only_read || elsewhere, "{file}: {what}");
        refused += usize::from(!passes);
    }
    assert!(refused >= 25, "{refused}");
}
