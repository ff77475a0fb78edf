//! The table of faults, as far as every test is held to it.

use std::fs;

use crate::binaries::workspace;

/// Asked of a host until it answers, whatever it says until then: a machine that becomes one has to come up first.
const UNTIL_IT_ANSWERS: &str = "GET /version";

/// The first of these requests that the table of faults has no rows for.
pub(super) fn unknown(requests: &[String]) -> Option<&String> {
    let calls = calls_with_rows();
    requests.iter().filter(|request| *request != UNTIL_IT_ANSWERS).find(|request| {
        let mut words = request.split([' ', '?']);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        !calls.iter().any(|(of, template)| of == method && is_of(template, path))
    })
}

/// The calls that the table of faults (`fakepve/faults.txt`) has rows for, `METHOD /path/{of}/one`.
fn calls_with_rows() -> Vec<(String, Vec<String>)> {
    let file = workspace().join("tests/fakepve/faults.txt");
    let text = fs::read_to_string(file).expect("the table is there");
    let mut calls: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut cells = line.split_whitespace();
            Some((cells.next()?.to_owned(), cells.next()?.split('/').map(str::to_owned).collect()))
        })
        .collect();
    calls.dedup();
    calls
}

/// Whether a path is one of those that a template stands for. The last part of a path may be a volume's id, which has slashes
/// of its own.
fn is_of(template: &[String], path: &str) -> bool {
    let parts: Vec<&str> = path.splitn(template.len(), '/').collect();
    let fits = |(wanted, part): (&String, &&str)| wanted.starts_with('{') || wanted == part;
    parts.len() == template.len() && template.iter().zip(&parts).all(fits)
}
