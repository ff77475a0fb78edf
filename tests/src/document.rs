//! Reading the JSON documents of the command line, as a script would.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::stage::Stage;

/// The keys of an object.
#[track_caller]
pub fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap_or_else(|| panic!("not an object: {object}")).keys().map(String::as_str).collect()
}

/// The nodes of a document.
#[track_caller]
pub fn nodes(document: &Value) -> &Vec<Value> {
    document["nodes"].as_array().unwrap_or_else(|| panic!("no nodes: {document:#}"))
}

/// The node of this name or path.
#[track_caller]
pub fn node<'a>(document: &'a Value, name: &str) -> &'a Value {
    let found = nodes(document).iter().find(|node| node["name"] == name || node["path"] == name);
    found.unwrap_or_else(|| panic!("no node {name}: {document:#}"))
}

/// One key of every node, by the node's name.
#[track_caller]
pub fn each<'a>(document: &'a Value, key: &str) -> BTreeMap<&'a str, &'a str> {
    let text = |value: &'a Value| value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    nodes(document).iter().map(|node| (text(&node["name"]), text(&node[key]))).collect()
}

/// Fails unless every node has this under this key.
#[track_caller]
pub fn all(document: &Value, key: &str, value: &str) {
    assert!(each(document, key).values().all(|found| *found == value), "not all {key} are {value}: {document:#}");
}

/// Fails unless the events of every origin are numbered from 1 without a hole and without one twice, and came in order.
#[track_caller]
pub fn is_contiguous(stage: &Stage) {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let runs = stage.json(0, &["runs"]);
    for run in runs["runs"].as_array().expect("`runs` lists runs") {
        let logs = stage.json(0, &["logs", run["run"].as_str().expect("a run has an id")]);
        let mut of_run: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in logs["lines"].as_array().expect("`logs` lists lines") {
            let origin = line["origin"].as_str().expect("a line has an origin").to_owned();
            of_run.entry(origin).or_default().push(line["seq"].as_u64().expect("a line has a number"));
        }
        for (origin, seen) in of_run {
            assert!(seen.is_sorted(), "the events of {origin} in one run: {seen:?}");
            numbers.entry(origin).or_default().extend(seen);
        }
    }
    for (origin, mut seen) in numbers {
        seen.sort_unstable();
        let due: Vec<_> = (1..=seen.len()).map(|n| u64::try_from(n).expect("few")).collect();
        assert_eq!(seen, due, "the events of {origin}");
    }
}
