//! Every way in which a manifest is refused or warned about: its code, its place, what is said and what to do.
#![cfg(test)]

use std::collections::BTreeSet;

use homestak_manifests::diagnostic::Diagnostic;
use homestak_manifests::{Code, Known, parse};
use homestak_protocol::name::SiteName;

/// A manifest with the mistake in it, and what is expected to be said about it.
struct Case {
    code: Code,
    /// `§` marks the place; `HEAD` stands for the version and a name, `VM}` for the rest of a sound node.
    text: &'static str,
    says: &'static str,
    hints: &'static str,
}

const fn case(code: Code, text: &'static str, says: &'static str, hints: &'static str) -> Case {
    Case { code, text, says, hints }
}

const VM: &str = "type: vm, image: debian-12";
const HEAD: &str = "schema_version: 2\nname: m\n";

const CASES: &[Case] = &[
    case(Code::Syntax, "HEADa: b§: c\n", "not YAML", "quotes"),
    case(Code::Syntax, "HEADnodes: [§}\n", "not YAML", ""),
    case(Code::Syntax, "HEADnodes:\n\t§- name: a\n", "not YAML", "spaces"),
    case(Code::SecondDocument, "HEADnodes: [{name: a, VM}]\n§---\na: 1\n", "second document", "---"),
    case(Code::DuplicateKey, "HEAD§name: n\nnodes: [{name: a, VM}]\n", "\"name\" stands twice", "line 2"),
    case(Code::DuplicateKey, "HEADnodes: [{name: a, type: ct, §type: vm}]\n", "\"type\" stands twice", "line 3"),
    case(Code::Unsupported, "HEADnodes: §!mine [{name: a, VM}]\n", "the tag \"!mine\"", "remove"),
    case(Code::Unsupported, "HEAD? §[a]\n: b\n", "a list as a key", "single word"),
    case(Code::Unsupported, "HEADnodes: &a [§*a]\n", "stands within", "write the value out"),
    case(Code::WrongType, "§just text\n", "the manifest is a mapping of keys to values, not text", "key: value"),
    case(Code::WrongType, "§", "the manifest is a mapping of keys to values, not nothing", "key: value"),
    case(Code::VersionMissing, "§name: m\nnodes: []\n", "`schema_version` is missing", "schema_version: 2"),
    case(Code::VersionMissing, "§schema_version:\nname: m\n", "`schema_version` is missing", "schema_version: 2"),
    case(Code::VersionUnsupported, "schema_version: §1\nname: m\nlevels: []\n", "schema version \"1\"", "levels"),
    case(Code::VersionUnsupported, "schema_version: §3\n", "schema version \"3\"", "schema_version: 2"),
    case(Code::VersionUnsupported, "schema_version: §\"2\"\n", "schema version \"2\"", "remove the quotes"),
    case(Code::WrongType, "schema_version: §[2]\n", "a whole number, not a list", "schema_version: 2"),
    case(Code::NameMissing, "§schema_version: 2\nnodes: [{name: a, VM}]\n", "`name` is missing", "name: "),
    case(Code::NodesMissing, "§schema_version: 2\nname: m\n", "`nodes` is missing", "nodes:"),
    case(Code::NodesMissing, "HEAD§nodes:\n", "`nodes` is missing", "nodes:"),
    case(Code::NodesEmpty, "HEADnodes: §[]\n", "empty", "- name: edge"),
    case(Code::NodeNameMissing, "HEADnodes:\n  - §type: vm\n    image: i\n", "node 1: `name` is missing", "hostname"),
    case(Code::NodeTypeMissing, "HEADnodes:\n  - §name: a\n    image: i\n", "node \"a\": `type`", "vm, ct, pve"),
    case(Code::UnknownKey, "HEAD§descripton: d\nnodes: [{name: a, VM}]\n", "\"descripton\"", "\"description\"?"),
    case(Code::UnknownKey, "HEADnodes:\n  - name: a\n    §presett: p\n    type: ct\n", "\"presett\"", "\"preset\"?"),
    case(Code::UnknownKey, "HEADnodes:\n  - §cpus: 4\n    name: a\n    type: ct\n", "\"cpus\"", "name, type, spec"),
    case(Code::UnknownKey, "HEADnodes: [{name: a, type: ct, §mode: pull}]\n", "\"mode\"", "`execution:`"),
    case(Code::UnknownKey, "HEAD§on_error: stop\nnodes: [{name: a, VM}]\n", "\"on_error\"", "`settings:`"),
    case(
        Code::UnknownKey,
        "HEADsettings: {§verify_shh: no}\nnodes: [{name: a, VM}]\n",
        "settings.verify_shh",
        "verify_ssh",
    ),
    case(Code::UnknownKey, "HEADexecution: {§mode: pull}\nnodes: [{name: a, VM}]\n", "execution.mode", "default_mode"),
    case(Code::UnknownValue, "HEADpattern: §teired\nnodes: [{name: a, VM}]\n", "`pattern` cannot be", "tiered"),
    case(Code::UnknownValue, "HEADnodes:\n- {name: a, type: §VM, image: i}\n", "`type` cannot be \"VM\"", "\"vm\"?"),
    case(Code::UnknownValue, "HEADnodes:\n- {name: a, type: §docker}\n", "cannot be \"docker\"", "vm, ct, pve"),
    case(Code::UnknownValue, "HEADsettings: {on_error: §halt}\nnodes: [{name: a, VM}]\n", "settings.on_error", "stop"),
    case(
        Code::UnknownValue,
        "HEADnodes:\n- {name: a, type: ct, execution: {mode: §pulled}}\n",
        "execution.mode",
        "\"pull\"?",
    ),
    case(Code::WrongType, "HEADnodes: §edge\n", "`nodes` is a list, not text", "- item"),
    case(Code::WrongType, "HEADnodes:\n- §edge\n", "node 1 is a mapping", "key: value"),
    case(Code::WrongType, "HEADnodes:\n- name: §true\n  type: ct\n", "node 1: `name` is text", "quotes"),
    case(Code::WrongType, "HEADdescription: §2025\nnodes: [{name: a, VM}]\n", "`description` is text", "quotes"),
    case(Code::WrongType, "HEADsettings: {verify_ssh: §maybe}\nnodes: [{name: a, VM}]\n", "true or false", ""),
    case(Code::WrongType, "HEADnodes:\n- {name: a, type: ct, vmid: §'99001'}\n", "in quotes it is text", "remove"),
    case(Code::WrongType, "HEADnodes:\n- {name: a, type: ct, disk: §[1]}\n", "a whole number, not a list", ""),
    case(Code::WrongType, "HEADexecution: §pull\nnodes: [{name: a, VM}]\n", "`execution` is a mapping", "key: value"),
    case(Code::OddNumber, "HEADnodes:\n- {name: a, type: ct, vmid: §099011}\n", "starts with a zero", "decimal"),
    case(Code::OddNumber, "HEADnodes:\n- {name: a, type: ct, disk: §1_000}\n", "underscores", "decimal"),
    case(Code::OddNumber, "HEADnodes:\n- {name: a, type: ct, disk: §64.0}\n", "fraction", "decimal"),
    case(Code::OddNumber, "HEADnodes:\n- {name: a, type: ct, vmid: §0x1000}\n", "not decimal", "decimal"),
    case(Code::OddNumber, "HEADsettings: {timeout_buffer: §1:30}\nnodes: [{name: a, VM}]\n", "colons", "decimal"),
    case(Code::OutOfRange, "HEADnodes:\n- {name: a, type: ct, vmid: §99}\n", "out of range: 99", "100 to"),
    case(Code::OutOfRange, "HEADnodes:\n- {name: a, type: ct, disk: §0}\n", "out of range: 0", "from 1"),
    case(Code::OutOfRange, "HEADnodes:\n- {name: a, type: ct, disk: §-5}\n", "out of range: -5", "GiB"),
    case(
        Code::OutOfRange,
        "HEADsettings: {vmid_base: 999999999}\nnodes:\n- {name: a, type: ct}\n- {name: §b, type: ct}\n",
        "",
        "",
    ),
    case(
        Code::BadName,
        "schema_version: 2\nname: §../m\nnodes: [{name: a, VM}]\n",
        "cannot be \"../m\"",
        "starts with",
    ),
    case(Code::BadName, "HEADnodes:\n- name: §Edge\n  type: ct\n", "node \"Edge\": `name`", "lower-case"),
    case(Code::BadName, "HEADnodes:\n- name: §a_b\n  type: ct\n", "cannot be \"a_b\"", "hostname"),
    case(Code::BadName, "HEADnodes:\n- {name: a, type: ct, spec: §a/b}\n", "`spec` cannot be \"a/b\"", "'/'"),
    case(Code::DuplicateNode, "HEADnodes:\n- {name: a, VM}\n- {name: §a, VM}\n", "second node \"a\"", "line 4"),
    case(
        Code::UnknownParent,
        "HEADnodes:\n- {name: root, type: pve, image: i}\n- {name: a, type: ct, parent: §rot}\n",
        "\"rot\"",
        "\"root\"?",
    ),
    case(
        Code::UnknownParent,
        "HEADnodes:\n- {name: a, type: ct, parent: §z}\n",
        "node \"a\": its parent \"z\"",
        "leave `parent` out",
    ),
    case(
        Code::Cycle,
        "HEADnodes:\n- {name: a, type: pve, image: i, parent: §b}\n- {name: b, type: pve, image: i, parent: a}\n",
        "a → b → a",
        "remove `parent`",
    ),
    case(Code::Cycle, "HEADnodes:\n- {name: a, type: pve, image: i, parent: §a}\n", "its own parent", ""),
    case(
        Code::ParentNotPve,
        "HEADnodes:\n- {name: a, VM}\n- {name: b, type: ct, parent: §a}\n",
        "of type vm",
        "make \"a\" of type `pve` on line 4",
    ),
    case(Code::ImageMissing, "HEADnodes:\n- {name: a, type: §vm}\n", "node \"a\"", "image: debian-12"),
    case(Code::ImageMissing, "HEADnodes:\n- {name: a, type: §pve, image: ~}\n", "type `pve`", "image"),
    case(
        Code::VmidTaken,
        "HEADnodes:\n- {name: a, type: ct, vmid: 99001}\n- {name: b, type: ct, vmid: §99001}\n",
        "vmid 99001 is taken by \"a\"",
        "line 4",
    ),
    case(
        Code::VmidTaken,
        "HEADsettings: {vmid_base: 99000}\nnodes:\n- {name: a, type: ct, vmid: 99001}\n- {name: §b, type: ct}\n",
        "vmid 99001 is taken by \"a\"",
        "line 5",
    ),
];

/// The text, with the line and column of its mark.
fn expand(text: &str) -> (String, u32, u32) {
    let text = text.replace("HEAD", HEAD).replace("VM}", &format!("{VM}}}"));
    let (before, after) = text.split_once('§').unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    (format!("{before}{after}"), u32::try_from(line).unwrap(), u32::try_from(column).unwrap())
}

fn refused(text: &str, known: Option<&Known>) -> Vec<Diagnostic> {
    parse("m.yaml", text, known).map(|parsed| parsed.manifest).expect_err(text)
}

#[test]
fn each_mistake_is_refused_with_its_code_its_place_and_a_remedy() {
    let mut broken = Vec::new();
    for case in CASES {
        let (text, line, column) = expand(case.text);
        let mut found = refused(&text, None);
        found.retain(Diagnostic::is_error);
        let holds = |one: &Diagnostic| {
            let source = text.lines().nth(usize::try_from(line).unwrap() - 1).unwrap_or_default();
            (one.code, one.line, one.column) == (case.code.as_str(), line, column)
                && one.message.contains(case.says)
                && one.hint.as_deref().is_some_and(|hint| hint.contains(case.hints))
                && one.source.as_ref().unwrap().text == source.replace('\t', " ")
        };
        if !matches!(&found[..], [one] if holds(one)) {
            let shown: Vec<String> = found.iter().map(Diagnostic::to_string).collect();
            broken.push(format!("{} at {}:{} in\n{text}gives\n{}\n", case.code, line, column, shown.join("\n")));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_class_of_refusal_is_left_untested() {
    let here: BTreeSet<Code> = CASES.iter().map(|case| case.code).collect();
    // Those of other tests: limits in `hostile`, the site and warnings below; postures and keys are no manifest's matter.
    let elsewhere = [
        Code::TooLarge,
        Code::NotText,
        Code::TooNested,
        Code::TooManyValues,
        Code::TooManyAliases,
        Code::TooLong,
        Code::TooDeep,
        Code::More,
        Code::UnknownPreset,
        Code::UnknownSpec,
        Code::UnknownPosture,
        Code::UnknownSshKey,
        Code::PullOnPve,
        Code::UnusualVmid,
        Code::FlatWithParents,
    ];
    // From here on they are of a site's other files and of what a host can carry: no manifest alone has them.
    const OTHERS: u32 = 640;
    let of_a_manifest = |code: &Code| code.as_str().get(1..).unwrap().parse::<u32>().unwrap() < OTHERS;
    let covered = |code: &Code| here.contains(code) || elsewhere.contains(code);
    let missing: Vec<&Code> = Code::ALL.iter().filter(|code| of_a_manifest(code) && !covered(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_its_order() {
    let text = "\
schema_version: 2
name: Trial/1
patern: flat
settings:
  on_error: explode
nodes:
  - name: a
    type: vm
  - name: b
    type: pvee
    image: debian-13-pve
    vmid: 12
    parent: nobody
  - type: ct
    parent: a
  - name: c
    type: ct
    vmid: 0b1
    parent: b
";
    let found = refused(text, None);
    let short: Vec<(u32, u32, &str)> = found.iter().map(|d| (d.line, d.column, d.code)).collect();
    assert_eq!(
        short,
        [
            (2, 7, "E622"),
            (3, 1, "E617"),
            (5, 13, "E618"),
            (8, 11, "E627"),
            (10, 11, "E618"),
            (12, 11, "E621"),
            (13, 13, "E624"),
            (14, 5, "E615"),
            (15, 13, "E626"),
            (18, 11, "E620"),
        ]
    );
}

#[test]
fn presets_and_specs_that_the_site_lacks_are_refused_with_the_nearest_that_it_has() {
    let names = |of: &[&str]| of.iter().map(|name| SiteName::parse(name).unwrap()).collect();
    let known = Known { presets: names(&["vm-large", "vm-small"]), specs: names(&["base", "pve"]) };
    let text = "\
schema_version: 2
name: m
nodes:
  - name: a
    type: ct
    preset: vm-smal
    spec: webserver
  - name: b
    type: ct
    preset: vm-large
    spec: base
";
    let found = refused(text, Some(&known));
    let short: Vec<(u32, u32, &str, &str)> =
        found.iter().map(|d| (d.line, d.column, d.code, d.hint.as_deref().unwrap())).collect();
    assert_eq!(short, [(6, 13, "E630", "did you mean \"vm-small\"?"), (7, 11, "E631", "there are base, pve")]);
    assert!(parse("m.yaml", text, None).is_ok(), "without a site, names are taken as they are");
}

#[test]
fn what_is_probably_not_meant_is_a_warning_and_the_manifest_is_read() {
    let text = "\
schema_version: 2
name: m
pattern: flat
nodes:
  - name: root
    type: pve
    image: debian-13-pve
    vmid: 101
    execution: {mode: pull}
  - name: edge
    type: ct
    parent: root
";
    let parsed = parse("m.yaml", text, None).unwrap();
    let short: Vec<(u32, u32, &str)> = parsed.warnings.iter().map(|d| (d.line, d.column, d.code)).collect();
    assert_eq!(short, [(3, 10, "W612"), (8, 11, "W611"), (9, 16, "W610")]);
    assert!(parsed.warnings.iter().all(|d| !d.is_error() && d.hint.is_some()));
    assert_eq!(parsed.manifest.nodes.len(), 2);
}

#[test]
fn pull_on_a_pve_node_is_told_and_words_that_mean_nothing_are_refused() {
    let sound = "{schema_version: 2, name: m, nodes: [{name: a, type: vm, image: debian-12, vmid: 200}]}";
    assert!(parse("m.yaml", sound, None).is_ok());
    let pull = "{schema_version: 2, name: m, nodes: [{name: p, type: pve, image: pve-9, execution: {mode: pull}}]}";
    let read = parse("m.yaml", pull, None).unwrap();
    let warned: Vec<&str> = read.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(warned, [Code::PullOnPve.as_str()]);
    for (from, to, says) in [
        ("type: vm", "type: vmm", "\"vmm\""),
        ("name: m,", "name: m, execution: {default_mode: pul},", "\"pul\""),
        ("name: m,", "name: m, settings: {on_error: retry},", "\"retry\""),
        ("name: m,", "name: m, pattern: star,", "\"star\""),
        ("vmid: 200", "vmid: 200, colour: red", "\"colour\""),
        ("vmid: 200}", "vmid: 200}, {name: b, type: ct, image: debian-12, vmid: 200}", "200"),
    ] {
        let wrong = refused(&sound.replace(from, to), None);
        assert!(wrong.iter().any(|problem| problem.message.contains(says)), "{to}: {wrong:?}");
    }
}

#[test]
fn one_mistake_makes_no_others() {
    // A node whose type, vmid or name is wrong can still be a parent, and takes no vmid from anybody.
    let text = "\
schema_version: 2
name: m
settings: {vmid_base: 99000}
nodes:
  - {name: Root, type: pv, image: i, vmid: x}
  - {name: a, type: ct, parent: Root, vmid: 99005}
";
    let codes: Vec<&str> = refused(text, None).iter().map(|d| d.code).collect();
    assert_eq!(codes, ["E622", "E618", "E619", "E622"]);
}
