//! What is told where, and who wins.

use super::*;

fn settle(flags: Flags, vars: &[(&str, &str)]) -> Result<Settings, Failure> {
    Settings::settle(&flags, |name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let (_folder, path) = file("state_dir: /from/file\nport: 1\nname: file\nserver: https://file:1\n");
    let config = ("HOMESTAK_AGENT_CONFIG", path.to_str().unwrap());
    let env = [config, ("HOMESTAK_PORT", "2"), ("HOMESTAK_NAME", "env")];
    let settings = settle(Flags { name: Some("flag".into()), ..Flags::default() }, &env).unwrap();
    assert_eq!(settings.name.unwrap().as_str(), "flag");
    assert_eq!(settings.port, 2);
    assert_eq!(settings.state_dir, Path::new("/from/file"));
    assert_eq!(settings.servers.as_slice(), ["file:1"]);
    assert_eq!((settings.bind, settings.provider, settings.machine), (None, None, None));
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let (_folder, path) = file("port: 7\n");
    let env = [("HOMESTAK_AGENT_CONFIG", path.to_str().unwrap()), ("HOMESTAK_PORT", ""), ("HOME", "/h")];
    assert_eq!(settle(Flags::default(), &env).unwrap().port, 7);
}

#[test]
fn a_given_state_folder_has_a_port_of_its_own() {
    let (_folder, path) = file("");
    let config = ("HOMESTAK_AGENT_CONFIG", path.to_str().unwrap());
    assert_eq!(settle(Flags::default(), &[config, ("HOME", "/h")]).unwrap().port, DEFAULT_PORT);
    assert_eq!(settle(Flags::default(), &[config, ("HOMESTAK_STATE_DIR", "/s")]).unwrap().port, 0);
}

#[test]
fn every_form_of_a_parents_address_is_understood_and_no_other() {
    let good = "https://192.0.2.1:7,[2001:db8::1]:8, https://father.example/ ,https://[2001:db8::2],2001:db8::3";
    let expected =
        ["192.0.2.1:7", "[2001:db8::1]:8", "father.example:44443", "[2001:db8::2]:44443", "[2001:db8::3]:44443"];
    assert_eq!(Servers::from_str(good).unwrap().as_slice(), expected);
    for bad in ["https://", "http://a:1", "a:0", "a:70000", "a:b", "user@a:1", "a b:1"] {
        assert!(Servers::from_str(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_shown_at_its_place_with_a_remedy() {
    let report = |text: &str| {
        let (_folder, path) = file(text);
        let failure = settle(Flags { config: Some(path.clone()), ..Flags::default() }, &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Configuration);
        let shown = format!("{:?}", crate::failure::Shown(&failure));
        shown.replace(&path.display().to_string(), "agent.yaml")
    };
    insta::assert_snapshot!("unknown_key", report("name: father\nprot: 44443\n"));
    insta::assert_snapshot!("unknown_key_in_a_section", report("local:\n  machin: /m\n"));
    insta::assert_snapshot!("unknown_provider", report("provider: locl\n"));
    insta::assert_snapshot!("wrong_type", report("port: many\n"));
    insta::assert_snapshot!("bad_pin", report("name: father\nca: sha256:1234\n"));
    insta::assert_snapshot!("not_yaml", report("name: [father\n"));
    for secret in ["token: [hunter2]\n", "tokn: hunter2\n", "token: |\n  hunter2\n 4711\n"] {
        let shown = report(secret);
        assert!(!shown.contains("hunter2") && !shown.contains("4711"), "{shown}");
    }
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let failure = settle(Flags { config: Some("/nowhere/agent.yaml".into()), ..Flags::default() }, &[]).unwrap_err();
    assert_eq!(failure.exit, Exit::Configuration);
}

#[test]
fn what_a_provider_writes_is_read_back_the_same() {
    let file = AgentFile {
        name: Some(HostName::parse("edge").unwrap()),
        server: Some("127.0.0.1:1,[2001:db8::1]:2".parse().unwrap()),
        token: Some(Secret::new("t: #\n".into())),
        bind: Some("127.1.2.3".parse().unwrap()),
        provider: Some(ProviderKind::Local),
        local: Some(LocalSection { machine: "/m".into() }),
        ..AgentFile::default()
    };
    assert_eq!(AgentFile::parse(Path::new("x"), &file.to_text().unwrap()).unwrap(), file);
}

#[test]
fn what_is_wrong_in_a_flag_or_variable_is_wrong_usage() {
    for env in
        [("HOMESTAK_PORT", "many"), ("HOMESTAK_CA", "sha256:12"), ("HOMESTAK_BIND", "x"), ("HOMESTAK_SERVER", "a:0")]
    {
        let failure = settle(Flags::default(), &[env, ("HOME", "/h")]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{env:?}");
        assert!(failure.to_string().contains(env.0), "{failure}");
    }
}
