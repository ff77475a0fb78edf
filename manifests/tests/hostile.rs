//! Files made to hurt: refused, with a reason, before they cost much.
#![cfg(test)]

use std::time::{Duration, Instant};

use homestak_manifests::diagnostic::{MAX_DIAGNOSTICS, Source};
use homestak_manifests::{Code, Diagnostic, parse, yaml};

/// Far above what any of these takes in an unoptimized build; a reader that is quadratic in any of them passes it.
const LIMIT: Duration = Duration::from_secs(60);

fn codes(text: &str) -> Vec<&'static str> {
    let start = Instant::now();
    let found = parse("hostile.yaml", text, None).map(|_| ()).expect_err("refused");
    let taken = start.elapsed();
    assert!(taken < LIMIT, "{taken:?} for {:?}…", text.chars().take(40).collect::<String>());
    let shown: usize = found.iter().map(|diagnostic| diagnostic.to_string().len()).sum();
    assert!(shown < 2 * 1024 * 1024, "{shown} bytes of diagnostics");
    found.iter().map(|diagnostic| diagnostic.code).collect()
}

fn only(text: &str) -> &'static str {
    match codes(text)[..] {
        [code] => code,
        ref other => panic!("one code, not {} of them, first {:?}", other.len(), other.first()),
    }
}

fn head(rest: &str) -> String {
    format!("schema_version: 2\nname: m\n{rest}")
}

#[test]
fn a_file_of_100_megabytes_is_refused_unread() {
    let start = Instant::now();
    let text = " ".repeat(100_000_000);
    assert_eq!(only(&text), Code::TooLarge.as_str());
    assert_eq!(yaml::text("f", text.as_bytes()).unwrap_err().code, Code::TooLarge.as_str());
    assert!(start.elapsed() < LIMIT);
}

#[test]
fn a_file_that_is_no_text_is_refused_where_it_stops_to_be() {
    let refused: Diagnostic = *yaml::text("f", b"a: 1\nb: \xff\xfe").unwrap_err();
    assert_eq!((refused.code, refused.line, refused.column), (Code::NotText.as_str(), 2, 4));
    assert_eq!(yaml::text("f", "a: ä".as_bytes()).unwrap(), "a: ä");
}

#[test]
fn ten_thousand_levels_of_anything_are_refused_without_harm_to_the_stack() {
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    let work = || {
        let n = 10_000;
        let lines = |line: &str| (0..n).map(|i| format!("{}{line}\n", " ".repeat(i.min(400)))).collect::<String>();
        assert_eq!(only(&format!("{}{}", "[".repeat(n), "]".repeat(n))), Code::TooNested.as_str());
        assert_eq!(only(&"{a: ".repeat(n)), Code::TooNested.as_str());
        assert_eq!(only(&"- ".repeat(n)), Code::TooNested.as_str());
        assert_eq!(only(&"? ".repeat(n)), Code::TooNested.as_str());
        assert_eq!(only(&lines("a:")), Code::TooNested.as_str());
        assert_eq!(only(&head(&format!("nodes: {}", "[".repeat(n)))), Code::TooNested.as_str());
    };
    thread.spawn(work).unwrap().join().unwrap();
}

#[test]
fn ten_thousand_nodes_in_a_chain_are_refused_where_they_get_too_deep() {
    let mut text = head("nodes:\n- {name: n0, type: pve, image: i}\n");
    for i in 1..10_000 {
        text.push_str(&format!("- {{name: n{i}, type: pve, image: i, parent: n{}}}\n", i - 1));
    }
    let found = parse("deep.yaml", &text, None).unwrap_err();
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.code, one.line), (Code::TooDeep.as_str(), 4 + 32));
    assert!(one.message.contains("level 33, and 32"));
    text = text.replace("name: n0, type: pve, image: i}", "name: n0, type: pve, image: i, parent: n9999}");
    assert_eq!(only(&text), Code::Cycle.as_str());
}

#[test]
fn a_million_aliases_and_a_billion_laughs_are_refused() {
    let many = format!("a: &a x\nb:\n{}", "- *a\n".repeat(1_000_000));
    assert_eq!(only(&many), Code::TooManyAliases.as_str());
    let mut laughs = String::from("a0: &a0 [ha,ha,ha,ha,ha,ha,ha,ha,ha]\n");
    for i in 1..10 {
        let before = vec![format!("*a{}", i - 1); 9].join(",");
        laughs.push_str(&format!("a{i}: &a{i} [{before}]\n"));
    }
    assert_eq!(only(&laughs), Code::TooManyValues.as_str());
    let mut merged = String::from("m0: &m0 {k: v}\n");
    for i in 1..2_000 {
        merged.push_str(&format!("m{i}: &m{i}\n  <<: *m{}\n  k{i}: v\n", i - 1));
    }
    assert_eq!(only(&merged), Code::TooManyValues.as_str());
    let mut nested = String::from("a0: &a0 []\n");
    for i in 1..10_000 {
        nested.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    assert_eq!(only(&nested), Code::TooNested.as_str());
}

#[test]
fn more_values_than_any_manifest_has_are_refused() {
    assert_eq!(only(&"- a\n".repeat(1_000_000)), Code::TooManyValues.as_str());
    assert_eq!(only(&format!("[{}]", "1,".repeat(1_000_000))), Code::TooManyValues.as_str());
    let keys: String = (0..400_000).map(|i| format!("k{i}: v\n")).collect();
    assert_eq!(only(&keys), Code::TooManyValues.as_str());
}

#[test]
fn a_collection_that_may_be_a_key_is_not_kept_whole_in_memory() {
    assert_eq!(only(&format!("- [{}]", "1,".repeat(1_000_000))), Code::TooLong.as_str());
    assert_eq!(only(&format!("---\n{{{}}}", "a,".repeat(1_000_000))), Code::TooLong.as_str());
    assert_eq!(only(&format!("a: |\n{}", "  text text\n".repeat(100_000))), Code::TooLong.as_str());
}

#[test]
fn a_file_of_nothing_but_mistakes_is_answered_briefly() {
    let wrong: String = (0..100_000).map(|i| format!("wrong{i}: 1\n")).collect();
    assert_eq!(codes(&head(&wrong)).len(), MAX_DIAGNOSTICS + 1);
    let twins = "k: 1\n".repeat(100_000);
    assert_eq!(codes(&head(&twins)).last(), Some(&Code::More.as_str()));
    let nodes: String = (0..20_000).map(|i| format!("- {{name: node-{i}, type: ct, parent: nod-{i}}}\n")).collect();
    assert_eq!(codes(&head(&format!("nodes:\n{nodes}"))).len(), MAX_DIAGNOSTICS + 1);
    let one_line: String = (0..20_000).map(|i| format!("{{name: N{i}, type: vm}},")).collect();
    assert_eq!(codes(&head(&format!("nodes: [{one_line}]"))).len(), MAX_DIAGNOSTICS + 1);
}

#[test]
fn a_long_word_is_not_repeated_in_full() {
    let long = "x".repeat(200_000);
    for text in [
        head(&format!("{long}: 1\n")),
        head(&format!("pattern: {long}\n")),
        head(&format!("nodes: [{{name: {long}, type: {long}, parent: {long}}}]")),
        format!("schema_version: {long}"),
        format!("schema_version: {}", "9".repeat(200_000)),
    ] {
        for diagnostic in parse("f", &text, None).unwrap_err() {
            assert!(diagnostic.to_string().len() < 2_000, "{}", diagnostic.to_string().len());
        }
    }
}

#[test]
fn control_characters_never_reach_a_terminal() {
    for text in [
        "schema_version: 2\n\"na\\e[2Jme\": \"\\a\"\n",
        "schema_version: \"\\e]0;x\\a\"\n",
        "a: \u{1b}[31m\n",
        "\0",
        "a: \"\u{202e}\"\n",
    ] {
        for diagnostic in parse("f", text, None).unwrap_err() {
            let shown = diagnostic.to_string();
            assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
        }
    }
}

#[test]
fn a_file_of_secrets_is_read_without_showing_them() {
    let text = "auth:\n  signing_key: [hunter2]\n  other: 0123hunter2\n";
    let mut report = homestak_manifests::diagnostic::Report::new(Source::secret("secrets.yaml", text));
    let value = yaml::read(&mut report).unwrap();
    let fields = yaml::Fields::of(&value, yaml::Subject::Whole("the site's secrets"), &mut report).unwrap();
    let auth = fields.get("auth").unwrap().fields(&mut report).unwrap();
    assert_eq!(auth.get("signing_key").unwrap().text(&mut report), None);
    assert_eq!(auth.get("other").unwrap().number(0..=9, "", &mut report), None);
    assert_eq!(auth.get("other").unwrap().choice(&[("a", ())], &mut report), None);
    let shown = format!("{:?}", report.into_diagnostics());
    assert!(shown.contains("E619") && !shown.contains("hunter2"), "{shown}");
}
