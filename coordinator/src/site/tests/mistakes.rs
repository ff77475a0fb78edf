//! Every kind of mistake in a site folder: what is said about it, where, and what to write instead. One table; the
//! messages are in one snapshot.

use std::collections::BTreeMap;

use insta::assert_snapshot;

use super::harbour::Harbour;

/// A mistake: what it is, the file that has it, what is in that file, and the code that it is told with.
pub(super) struct Mistake(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static str,
);

const IMAGE_OF_NO_FILE: &str = "images: {a: {url: 'https://a.example/', sha256: abcd}}\n";

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake("a key in the wrong place", "site.yaml", "timezone: Etc/UTC\n", "W640"),
    Mistake("a key that is mistyped", "site.yaml", "defaults:\n  timezon: Etc/UTC\n", "W640"),
    Mistake("one setting under two names", "site.yaml", "defaults:\n  vm_user: a\n  automation_user: b\n", "E640"),
    Mistake("an octet that is too large", "site.yaml", "defaults:\n  gateway: 192.0.2.256\n", "E641"),
    Mistake("a list that is none", "site.yaml", "defaults:\n  packages: curl\n", "E619"),
    Mistake("a package that is an option", "site.yaml", "defaults:\n  packages: [curl, --force]\n", "E622"),
    Mistake("a server without https", "site.yaml", "defaults:\n  server_url: father:44443\n", "E641"),
    Mistake("octal", "site.yaml", "defaults:\n  vmid_base: 010000\n", "E620"),
    Mistake("a name server that is a name", "site.yaml", "defaults:\n  dns_servers: [dns.example]\n", "E641"),
    Mistake("an image without a checksum", "site.yaml", "images: {a: {url: https://a.example/i.qcow2}}\n", "E642"),
    Mistake("an image from nowhere", "site.yaml", "images: {a: {sha256: 00}}\n", "E642"),
    Mistake("an image's address without a file", "site.yaml", IMAGE_OF_NO_FILE, "E641"),
    Mistake("a checksum that is cut", "site.yaml", "images: {a: {url: https://a.example/i, sha256: abcd}}\n", "E618"),
    Mistake("an image's key that is mistyped", "site.yaml", "images: {a: {uri: https://a.example/i}}\n", "E617"),
    Mistake("not YAML", "site.yaml", "defaults: [\n", "E602"),
    Mistake("an address without dots", "hosts/pier.yaml", "ip: pier\n", "E641"),
    Mistake("a bridge's prefix that is too long", "hosts/pier.yaml", BRIDGE, "E641"),
    Mistake("a port past the last", "hosts/pier.yaml", "access: {ssh_port: 70000}\n", "E621"),
    Mistake("a user with a space", "hosts/pier.yaml", "access: {ssh_user: the pilot}\n", "E622"),
    Mistake("a file that names itself otherwise", "hosts/pier.yaml", "host: peer\n", "W644"),
    Mistake("a file whose name is none", "hosts/the pier.yaml", "host: pier\n", "E643"),
    Mistake("no datastore", "nodes/pier.yaml", "api_endpoint: https://192.0.2.10:8006\napi_token: pier-api\n", "E642"),
    Mistake("a token that is not there", "nodes/pier.yaml", "datastore: tank\napi_token: peer-api\n", "W643"),
    Mistake(
        "a host that is not there",
        "nodes/pier.yaml",
        "datastore: tank\napi_token: pier-api\nhost: peer\n",
        "W642",
    ),
    Mistake(
        "an endpoint without a scheme",
        "nodes/pier.yaml",
        "datastore: t\napi_token: pier-api\napi_endpoint: pier:8006\n",
        "E641",
    ),
    Mistake("a vmid below the first", "nodes/pier.yaml", "datastore: t\napi_token: pier-api\nvmid_base: 99\n", "E621"),
    Mistake("a key of another file", "nodes/pier.yaml", "datastore: t\napi_token: pier-api\nbridge: vmbr0\n", "W640"),
    Mistake("no size", "presets/barge.yaml", "cores: 2\nmemory: 2048\n", "E642"),
    Mistake("memory in words", "presets/barge.yaml", "cores: 2\nmemory: 2 GiB\ndisk: 10\n", "E619"),
    Mistake("too many processors", "presets/barge.yaml", "cores: 200\nmemory: 2048\ndisk: 10\n", "E621"),
    Mistake("an address of 999", "presets/barge.yaml", "cores: 2\nmemory: 2048\ndisk: 10\nip: 999.1.1.1/24\n", "E641"),
    Mistake(
        "an address without its prefix",
        "presets/barge.yaml",
        "cores: 2\nmemory: 2048\ndisk: 10\nip: 192.0.2.7\n",
        "E641",
    ),
    Mistake("a number in quotes", "presets/barge.yaml", "cores: \"2\"\nmemory: 2048\ndisk: 10\n", "E619"),
    Mistake(
        "a key that is mistyped",
        "presets/barge.yaml",
        "cores: 2\nmemory: 2048\ndisk: 10\ngatway: 192.0.2.1\n",
        "W640",
    ),
    Mistake("an empty file", "presets/barge.yaml", "# to be done\n", "E642"),
    Mistake("a key that is mistyped", "postures/sealed.yaml", "ssh: {prot: 22}\n", "E617"),
    Mistake("a key in the wrong place", "postures/sealed.yaml", "nopasswd: true\n", "E617"),
    Mistake(
        "a word that is none of those",
        "postures/sealed.yaml",
        "ssh: {permit_root_login: without-password}\n",
        "E618",
    ),
    Mistake("a word for true", "postures/sealed.yaml", "fail2ban: {enabled: maybe}\n", "E619"),
    Mistake("a key twice", "postures/sealed.yaml", "ssh: {port: 22}\nssh: {port: 2200}\n", "E608"),
    Mistake("no version", "specs/base.yaml", "platform: {packages: [htop]}\n", "E610"),
    Mistake("another version", "specs/base.yaml", "schema_version: 2\n", "E611"),
    Mistake("a posture that is not there", "specs/base.yaml", "schema_version: 1\naccess: {posture: seeled}\n", "E632"),
    Mistake(
        "a key that is not there",
        "specs/base.yaml",
        "schema_version: 1\naccess: {users: [{name: a, ssh_keys: [zora@towr]}]}\n",
        "E633",
    ),
    Mistake("a user twice", "specs/base.yaml", "schema_version: 1\naccess: {users: [{name: a}, {name: a}]}\n", "E646"),
    Mistake("a user without a name", "specs/base.yaml", "schema_version: 1\naccess: {users: [{sudo: true}]}\n", "E642"),
    Mistake("an address without a gateway", "specs/base.yaml", "schema_version: 1\nnetwork: {ip: 192.0.2.7}\n", "E642"),
    Mistake(
        "a gateway in another network",
        "specs/base.yaml",
        "schema_version: 1\nnetwork: {ip: 192.0.2.7/25, gateway: 192.0.2.254}\n",
        "E641",
    ),
    Mistake("packages in the wrong place", "specs/base.yaml", "schema_version: 1\npackages: [htop]\n", "E617"),
    Mistake(
        "a trigger that does nothing yet",
        "specs/base.yaml",
        "schema_version: 1\nrun: {trigger: webhook}\n",
        "W641",
    ),
    Mistake(
        "a length of time without a unit",
        "specs/base.yaml",
        "schema_version: 1\nrun: {trigger: schedule, interval: \"30\"}\n",
        "E622",
    ),
    Mistake(
        "a host name with dots",
        "specs/base.yaml",
        "schema_version: 1\nidentity: {hostname: edge.example}\n",
        "E622",
    ),
    Mistake("a posture that is not there", "envs/drydock.yaml", "posture: seald\n", "E632"),
    Mistake("a key that nothing reads", "envs/drydock.yaml", "posture: dev\nvms: []\n", "W640"),
    Mistake("a list where keys belong", "envs/drydock.yaml", "- posture: dev\n", "E619"),
    Mistake(
        "a preset that is not there",
        "manifests/mooring.yaml",
        "schema_version: 2\nname: mooring\nnodes:\n- {name: a, type: ct, preset: barg}\n",
        "E630",
    ),
    Mistake(
        "a spec that is not there",
        "manifests/mooring.yaml",
        "schema_version: 2\nname: mooring\nnodes:\n- {name: a, type: ct, spec: beakon}\n",
        "E631",
    ),
    Mistake(
        "a file of another name",
        "manifests/mooring.yaml",
        "schema_version: 2\nname: anchor\nnodes:\n- {name: a, type: ct}\n",
        "W644",
    ),
    Mistake("no nodes", "manifests/mooring.yaml", "schema_version: 2\nname: mooring\n", "E613"),
    Mistake("a file that is not read", "manifests/mooring.yml", "schema_version: 2\n", "W645"),
    Mistake("a signing key that is too short", "secrets.yaml", "auth: {signing_key: abc}\n", "E661"),
    Mistake(
        "a private key",
        "secrets.yaml",
        "ssh_keys:\n  zora@tower: |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n",
        "E662",
    ),
    Mistake("a section that is mistyped", "secrets.yaml", "api_token: {pier: x}\n", "W662"),
    Mistake("a key that users refer to and that is gone", "secrets.yaml", "ssh_keys: {}\n", "E633"),
];

const BRIDGE: &str = "network: {interfaces: {vmbr0: {address: 192.0.2.10/33}}}\n";

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_write_instead() {
    let mut shown = String::new();
    for Mistake(what, file, text, code) in MISTAKES {
        let harbour = Harbour::new();
        harbour.write(file, text);
        let problems = harbour.check().problems;
        let found: Vec<_> = problems.iter().filter(|problem| problem.code == *code).collect();
        assert!(!found.is_empty(), "{what} in {file}: {problems:#?}");
        assert!(found.iter().all(|problem| problem.hint.is_some()), "{what} in {file}: {problems:#?}");
        shown += &format!("---- {file}: {what}\n");
        for problem in problems {
            shown += &format!("{}\n", harbour.shown(&problem.to_string()));
        }
    }
    assert_snapshot!("mistakes", shown);
}

#[test]
fn there_are_forty_kinds_and_three_for_each_kind_of_file() {
    let mut kinds = BTreeMap::<&str, usize>::new();
    for Mistake(_, file, ..) in MISTAKES {
        *kinds.entry(file.split('/').next().unwrap()).or_default() += 1;
    }
    assert!(MISTAKES.len() >= 40 && kinds.len() == 9 && kinds.values().all(|count| *count >= 3), "{kinds:?}");
}

#[test]
fn a_file_that_does_not_parse_hides_no_mistake_of_another() {
    let harbour = Harbour::new();
    harbour.write("site.yaml", "defaults: [");
    harbour.write("presets/barge.yaml", "cores: none\nmemory: 1\n");
    harbour.write("specs/base.yaml", "schema_version: 1\nacces: {}\n");
    harbour.write("secrets.yaml", "auth: {signing_key: abc}\n");
    harbour.write("manifests/mooring.yaml", "schema_version: 2\n");
    let problems = harbour.check().problems;
    let codes: Vec<&str> = problems.iter().filter(|problem| problem.is_error()).map(|problem| problem.code).collect();
    for code in ["E602", "E619", "E621", "E642", "E617", "E661", "E612", "E613"] {
        assert!(codes.contains(&code), "{code} is not among {codes:?}");
    }
}
