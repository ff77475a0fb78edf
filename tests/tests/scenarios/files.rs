//! Manifests that are meant to hurt: each is refused with a word about it, in bounded time and memory, and nothing is
//! changed.

use std::time::{Duration, Instant};

use homestak_tests::stage::Stage;

/// How long a refusal may take; far more than it does, since the machine may be busy.
const PROMPT: Duration = Duration::from_secs(60);

#[track_caller]
fn refused(stage: &Stage, name: &str, text: impl AsRef<[u8]>) {
    let file = stage.file(name, text);
    let file = file.to_str().unwrap();
    for verb in ["validate", "apply", "plan"] {
        let began = Instant::now();
        let outcome = stage.coord(&[verb, file]).exits(3);
        assert!(began.elapsed() < PROMPT, "{name}: {verb} took {:?}", began.elapsed());
        assert!(outcome.stderr.len() + outcome.stdout.len() > 20, "{outcome}");
        assert!(outcome.stderr.len() < 200_000, "{name}: {verb} says {} bytes", outcome.stderr.len());
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_manifest_of_100_mb_is_refused() {
    let stage = Stage::set("huge");
    let mut text = String::from("schema_version: 2\nname: huge\nnodes:\n  - {name: a, type: vm, image: debian-12}\n");
    text.push_str(&"# and so on, and so on, and so on, and so on, and so on\n".repeat(2_000_000));
    assert!(text.len() > 100_000_000);
    refused(&stage, "huge.yaml", text);
    stage.strike();
}

#[test]
fn a_manifest_with_a_million_aliases_is_refused() {
    let stage = Stage::set("aliases");
    let mut flat = String::from("schema_version: 2\nname: aliases\nx: &x [a]\nnodes: [");
    flat.push_str(&"*x,".repeat(1_000_000));
    flat.push_str("]\n");
    refused(&stage, "flat.yaml", flat);
    // Each line holds ten times the one before: a thousand million.
    let mut nested = String::from("schema_version: 2\nname: laughs\na0: &a0 [x]\n");
    for n in 1..10 {
        let aliases = format!("*a{},", n - 1).repeat(10);
        nested.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    nested.push_str("nodes: *a9\n");
    refused(&stage, "nested.yaml", nested);
    stage.strike();
}

#[test]
fn a_manifest_of_10000_levels_is_refused() {
    let stage = Stage::set("levels");
    refused(&stage, "flow.yaml", format!("nodes: {}{}\n", "[".repeat(10_000), "]".repeat(10_000)));
    let mut block = String::from("schema_version: 2\nname: deep\nnodes:\n");
    (0..10_000).for_each(|n| block.push_str(&format!("{}- x:\n", "  ".repeat(n + 1))));
    refused(&stage, "block.yaml", block);
    let mut tree = String::from("schema_version: 2\nname: tall\nnodes:\n");
    for n in 0..10_000 {
        let parent = if n == 0 { String::new() } else { format!(", parent: n{}", n - 1) };
        tree.push_str(&format!("  - {{name: n{n}, type: pve, image: debian-13-pve, preset: vm-large{parent}}}\n"));
    }
    refused(&stage, "tall.yaml", tree);
    stage.strike();
}

#[test]
fn names_that_climb_hide_or_are_too_long_are_refused_in_manifests() {
    let stage = Stage::set("names");
    for name in ["..", "a/b", "a\\0b", &"a".repeat(300), "", "A", "../../etc/cron.d/x"] {
        let node = |node: &str, manifest: &str| {
            format!(
                "schema_version: 2\nname: \"{manifest}\"\nnodes:\n  - {{name: \"{node}\", type: vm, image: debian-12}}\n"
            )
        };
        refused(&stage, "node.yaml", node(name, "good"));
        // What is no host name may still be a manifest's.
        if name != "A" {
            refused(&stage, "manifest.yaml", node("good", name));
        }
    }
    for bytes in [&b"\xff\xfe\x00n\x00a"[..], b"\x00\x00\x00", b"name: \xff\xff", b""] {
        refused(&stage, "bytes.yaml", bytes);
    }
    stage.strike();
}
