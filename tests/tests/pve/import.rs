//! A host's own agent tells the site what it is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::HostAgent;
use homestak_tests::machine::files_below;
use homestak_tests::stage::Stage;
use serde_json::json;

/// What the fake's token is worth.
const VALUE: &str = "00000000-0000-4000-8000-000000000001";

#[test]
fn a_host_that_has_joined_is_written_into_the_site_once_and_its_token_into_the_secrets_alone() {
    let test = "a_host_that_has_joined_is_written_into_the_site_once_and_its_token_into_the_secrets_alone";
    if !fakepve::is_installed(test) {
        return;
    }
    let mut stage = Stage::set("pve-import");
    let site = stage.folder().join("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("site.yaml"), "defaults:\n  domain: site.example\n").unwrap();
    let secrets = site.join("secrets.yaml");
    let before = "# ours\napi_tokens:\n  attic: root@pam!t=1\nssh_keys: {}\n";
    fs::write(&secrets, before).unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
    stage.env("HOMESTAK_SITE_CONFIG", &site);
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let agent = HostAgent::join(&stage, &host, &[]);

    let imported = stage.json(0, &["site", "import-node", "father"]);
    assert_eq!(
        (&imported["node"], &imported["action"], &imported["secrets"]["action"], &imported["secrets"]["api_token"]),
        (&json!("father"), &json!("created"), &json!("created"), &json!("father")),
        "{imported:#}"
    );
    assert!(!imported.to_string().contains(VALUE), "{imported:#}");
    let node = fs::read_to_string(site.join("nodes/father.yaml")).unwrap();
    for line in ["node: \"father\"", "api_endpoint: \"https://", "api_token: \"father\"", "datastore: "] {
        assert!(node.contains(line), "{line}: {node}");
    }
    let entry = format!("  father: \"homestak@pve!agent={VALUE}\"\n");
    let with_token = before.replace("api_tokens:\n", &format!("api_tokens:\n{entry}"));
    assert_eq!(fs::read_to_string(&secrets).unwrap(), with_token, "everything else is as it was");
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    stage.json(0, &["site", "check"]);

    let again = stage.json(0, &["site", "import-node", "father"]);
    assert_eq!((&again["action"], &again["secrets"]["action"]), (&json!("unchanged"), &json!("unchanged")));
    // What somebody has written is not overwritten unless they say so, and then neither is half of it.
    fs::write(&secrets, with_token.replace(VALUE, "mine")).unwrap();
    fs::remove_file(site.join("nodes/father.yaml")).unwrap();
    let refused = stage.json(3, &["site", "import-node", "father"]);
    assert_eq!(refused["error"]["code"], "E672", "{refused:#}");
    assert!(!site.join("nodes/father.yaml").exists());
    fs::write(site.join("nodes/father.yaml"), "node: father\ndatastore: mine\n").unwrap();
    fs::write(&secrets, before).unwrap();
    let refused = stage.json(3, &["site", "import-node", "father"]);
    assert_eq!(refused["error"]["code"], "E703", "{refused:#}");
    assert_eq!(fs::read_to_string(&secrets).unwrap(), before);
    let forced = stage.json(0, &["site", "import-node", "father", "--force"]);
    assert_eq!((&forced["action"], &forced["secrets"]["action"]), (&json!("replaced"), &json!("created")));
    assert_eq!(fs::read_to_string(site.join("nodes/father.yaml")).unwrap(), node);

    // Who is not there, and who is no host, is told as such.
    assert_eq!(stage.json(4, &["site", "import-node", "nobody"])["error"]["code"], "E711");
    let local = stage.json(3, &["site", "import-node", "local"]);
    assert_eq!(local["error"]["code"], "E200", "{local:#}");

    // Only those who must have it have the token.
    let holders = files_below(stage.folder()).into_iter().filter(|file| {
        fs::read(file).is_ok_and(|bytes| bytes.windows(VALUE.len()).any(|part| part == VALUE.as_bytes()))
    });
    let names: Vec<String> = holders.map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| ["secrets.yaml", "agent.yaml"].contains(&name.as_str())), "{names:?}");
    drop(agent);
}
