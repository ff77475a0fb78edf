//! Help of every command.

use insta::assert_snapshot;

use crate::program::Place;

#[test]
fn every_command_explains_itself() {
    let place = Place::new();
    let commands = [
        "",
        "apply",
        "plan",
        "validate",
        "test",
        "destroy",
        "status",
        "runs",
        "logs",
        "cancel",
        "agents",
        "agents join",
        "agents revoke",
        "manifests",
        "manifests list",
        "manifests show",
        "orphans",
        "preflight",
        "secrets",
        "secrets init",
        "secrets check",
        "secrets encrypt",
        "secrets decrypt",
        "server",
        "server start",
        "server stop",
        "server status",
        "server run",
        "server adopt",
        "server backup",
        "server restore",
        "completions",
    ];
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let told = place.run(&words);
        assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{command}");
        let name = if command.is_empty() { "help".into() } else { format!("help_{}", command.replace(' ', "_")) };
        assert_snapshot!(name, own(&told.stdout, command));
    }
}

/// A command's help without what every command takes, which is shown once.
fn own(help: &str, command: &str) -> String {
    let Some((before, rest)) = help.split_once("\nEverywhere:\n").filter(|_| !command.is_empty()) else {
        return help.to_owned();
    };
    let after = rest.split_once("\nExamples:\n").map(|(_, after)| after);
    format!("{before}\n[Everywhere]\n{}", after.map(|after| format!("\nExamples:\n{after}")).unwrap_or_default())
}

#[test]
fn short_help_fits_on_a_screen_and_the_version_is_told() {
    let place = Place::new();
    assert_snapshot!("help_short", place.run(&["-h"]));
    let version = place.run(&["--version"]);
    assert_eq!(version.stdout, format!("homestak-coord {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(place.run(&[]).code, 0, "called with nothing, it says what it is");
}

#[test]
fn every_shell_gets_a_completion_script() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let told = place.run(&["completions", shell]);
        assert!(told.code == 0 && told.stdout.contains("homestak-coord"), "{told}");
    }
}
