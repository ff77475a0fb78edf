//! What a strict reader makes of what is written for cloud-init.

use homestak_protocol::secret::Secret;

use super::*;
use crate::files::from_yaml;

const HOSTILE: &[&str] = &[
    "yes",
    "1:30",
    "0x10",
    "null",
    "~",
    "- a",
    "a: b",
    "#c",
    "'\"\\`$(reboot)",
    "two\nlines: 1",
    "ü € 😀",
    "\u{7f}\u{85}\u{9b}\u{2028}\u{feff}\u{fffe}",
    "{{ jinja }}",
];

fn boot(token: &str) -> Boot {
    Boot {
        servers: vec!["192.0.2.1:44443".into(), "[2001:db8::1]:44443".into()],
        ca: format!("sha256:{}", "ab".repeat(32)),
        ca_pem: None,
        token: Secret::new(token.to_owned()),
    }
}

fn fetched() -> Program {
    Program::Fetched { ca_pem: "-----BEGIN CERTIFICATE-----\nAA==\n".into(), digest: "c".repeat(64) }
}

fn read(text: &str) -> Value {
    from_yaml(text).unwrap_or_else(|error| panic!("{}: {text}", error.message))
}

#[test]
fn a_machine_is_told_what_its_agent_needs_in_a_file_for_root_alone() {
    let told = CloudInit {
        user: Some("homestak".into()),
        ssh_keys: vec!["ssh-ed25519 AAAA one@host.example".into()],
        root_password_hash: Some(Secret::new("$6$salt$hash".to_owned())),
        packages: vec!["htop".into(), "qemu-guest-agent".into()],
        domain: Some("site.example".into()),
        ..CloudInit::default()
    };
    let text = user_data(&told, &boot("a.b"), "edge", &Program::InImage, None);
    assert!(text.starts_with("#cloud-config\n"));
    let document = read(&text);
    assert_eq!((&document["hostname"], &document["fqdn"]), (&json!("edge"), &json!("edge.site.example")));
    assert_eq!(document["packages"], json!(["qemu-guest-agent", "htop"]));
    let [automation, root] = document["users"].as_array().unwrap().as_slice() else { panic!("{document:#}") };
    assert_eq!((&automation["name"], &automation["lock_passwd"]), (&json!("homestak"), &json!(true)));
    assert_eq!((&root["hashed_passwd"], &root["lock_passwd"]), (&json!("$6$salt$hash"), &json!(false)));
    let [file] = document["write_files"].as_array().unwrap().as_slice() else { panic!("{document:#}") };
    assert_eq!((&file["path"], &file["permissions"]), (&json!("/etc/homestak/agent.env"), &json!("0600")));
    let environment = format!(
        "HOMESTAK_SERVER=\"https://192.0.2.1:44443,https://[2001:db8::1]:44443\"\nHOMESTAK_TOKEN=\"a.b\"\n\
         HOMESTAK_CA=\"sha256:{}\"\nHOMESTAK_NAME=\"edge\"\n",
        "ab".repeat(32)
    );
    assert_eq!(file["content"], json!(environment));
    assert_eq!(text.matches("a.b").count(), 1, "the token stands in one place");
    assert_eq!(document["manage_etc_hosts"], Value::Null, "it is the image's business");
    let host = read(&user_data(&told, &boot("a.b"), "edge", &Program::InImage, Some(ProviderKind::Pve)));
    assert_eq!(
        host["manage_etc_hosts"],
        json!(false),
        "what makes itself a PVE host has its name stand for its address"
    );
}

#[test]
fn an_image_without_an_agent_fetches_it_under_its_pin_and_digest() {
    let text = user_data(&CloudInit::default(), &boot("a.b"), "edge", &fetched(), None);
    let document = read(&text);
    let files = document["write_files"].as_array().unwrap();
    let script = files.iter().find(|file| file["permissions"] == "0700").unwrap()["content"].as_str().unwrap();
    assert!(
        script.contains(&format!("wanted={}\n", "c".repeat(64))) && script.contains("--cacert /etc/homestak/ca.pem")
    );
    assert!(!script.contains("a.b") && !script.contains("--insecure"), "{script}");
    assert!(files.iter().any(|file| file["content"] == UNIT));
    let commands: Vec<&Value> = document["runcmd"].as_array().unwrap().iter().collect();
    assert!(commands.iter().position(|c| c[0] == FETCH) < commands.iter().position(|c| c[3] == "homestak-agent"));
}

#[test]
fn whatever_a_value_is_it_arrives_as_the_text_that_it_was() {
    for hostile in HOSTILE {
        let told = CloudInit {
            user: Some((*hostile).to_owned()),
            ssh_keys: vec![(*hostile).to_owned()],
            root_password_hash: Some(Secret::new((*hostile).to_owned())),
            packages: vec![(*hostile).to_owned()],
            address: Some((*hostile).to_owned()),
            gateway: Some((*hostile).to_owned()),
            dns_servers: vec![(*hostile).to_owned()],
            domain: Some((*hostile).to_owned()),
        };
        let text = user_data(&told, &boot(hostile), hostile, &fetched(), None);
        assert!(text.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)), "{text}");
        let document = read(&text);
        assert_eq!(document["hostname"], **hostile);
        assert_eq!(document["packages"][1], **hostile);
        assert_eq!(document["users"][0]["ssh_authorized_keys"][0], **hostile);
        assert_eq!(document["users"][1]["hashed_passwd"], **hostile);
        assert_eq!(read(&meta_data(hostile, hostile))["local-hostname"], **hostile);
        let network = read(&network_config(&told, Some(hostile)));
        assert_eq!(network["ethernets"]["eth0"]["addresses"][0], **hostile);
        assert_eq!(network["ethernets"]["eth0"]["routes"][0]["via"], **hostile);
    }
}

#[test]
fn a_shell_reads_the_environment_as_it_was_meant_and_runs_none_of_it() {
    let folder = tempfile::tempdir().unwrap();
    for hostile in HOSTILE {
        let file = folder.path().join("agent.env");
        std::fs::write(&file, environment(&boot(hostile), "edge", None)).unwrap();
        let mut shell = std::process::Command::new("sh");
        let out = shell.args(["-c", ". \"$1\"; printf %s \"$HOMESTAK_TOKEN\"", "sh"]).arg(&file).output().unwrap();
        let wanted: String = hostile.chars().filter(|char| !char.is_control()).collect();
        assert_eq!((String::from_utf8_lossy(&out.stdout).as_ref(), out.stderr.len()), (wanted.as_str(), 0));
        // So does whoever asks the agent by hand.
        assert_eq!(variables(&environment(&boot(hostile), "edge", None))["HOMESTAK_TOKEN"], wanted);
    }
}

#[test]
fn a_network_is_one_address_or_dhcp() {
    let with = |address: Option<&str>, gateway: Option<&str>, mac: Option<&str>| {
        let told = CloudInit {
            address: address.map(str::to_owned),
            gateway: gateway.map(str::to_owned),
            dns_servers: vec!["192.0.2.53".into()],
            ..CloudInit::default()
        };
        read(&network_config(&told, mac))["ethernets"]["eth0"].clone()
    };
    let fixed = with(Some("192.0.2.7/24"), Some("192.0.2.1"), Some("BC:24:11:00:00:01"));
    assert_eq!(
        fixed,
        json!({
            "match": { "macaddress": "bc:24:11:00:00:01" }, "set-name": "eth0", "dhcp4": false,
            "addresses": ["192.0.2.7/24"], "routes": [{ "to": "0.0.0.0/0", "via": "192.0.2.1" }],
            "nameservers": { "addresses": ["192.0.2.53"], "search": [] },
        })
    );
    assert_eq!(with(Some("2001:db8::7/64"), Some("2001:db8::1"), None)["routes"][0]["to"], "::/0");
    let dhcp = with(None, Some("192.0.2.1"), None);
    assert_eq!((&dhcp["dhcp4"], &dhcp["routes"], &dhcp["match"]["name"]), (&json!(true), &Value::Null, &json!("e*")));
    assert_eq!((&dhcp["dhcp-identifier"], &fixed["dhcp-identifier"]), (&json!("mac"), &Value::Null));
}
