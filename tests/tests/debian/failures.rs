//! What goes wrong on a real machine: it is told at the coordinator in the tool's own words, a marker is left, and the next
//! apply succeeds.

use homestak_tests::wait;
use serde_json::{Value, json};

use crate::yard::{Inside, Yard};

fn with(packages: &[&str]) -> Value {
    json!({
        "schema_version": 1,
        "access": { "posture": "dev", "users": [{ "name": "homestak", "sudo": true, "ssh_keys": ["one"] }] },
        "platform": { "packages": packages },
    })
}

/// Fails to apply, says so with these words at the coordinator and in the marker; then succeeds.
#[track_caller]
fn fails(yard: &Yard, machine: &Inside, words: &[&str]) {
    let document = yard.apply(1, &[("edge", "push", "wanted")]);
    let error = &document["nodes"][0]["error"];
    let (message, code) = (error["message"].as_str().unwrap(), error["code"].as_str().unwrap());
    assert_eq!((code, error["node"].as_str()), ("E707", Some("local/real/edge")), "{document:#}");
    words.iter().for_each(|word| assert!(message.contains(word), "{word}: {message}"));
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{document:#}");
    let marker = machine.marker("config-failed").expect("a marker is left");
    assert_eq!(
        (&marker["code"], &marker["message"], &marker["node"]),
        (&json!("E707"), &error["message"], &json!("edge"))
    );
}

#[track_caller]
fn succeeds(yard: &Yard, machine: &Inside) {
    yard.apply(0, &[("edge", "push", "wanted")]);
    assert_eq!(machine.marker("config-failed"), None);
    assert_eq!(machine.run("dpkg --audit"), "");
}

#[test]
fn what_fails_on_a_real_machine_is_told_in_its_own_words_and_is_mended_by_the_next_apply() {
    let test = "what_fails_on_a_real_machine_is_told_in_its_own_words_and_is_mended_by_the_next_apply";
    let Some(yard) = Yard::set(test, "debian-fails", "unit") else { return };
    yard.spec("wanted", &with(&["htop"]));
    yard.apply(0, &[("edge", "push", "wanted")]);
    let machine = yard.inside("edge");

    // An unknown package.
    yard.spec("wanted", &with(&["htop", "no-such-package"]));
    fails(&yard, &machine, &["packages failed", "Unable to locate package no-such-package"]);
    yard.spec("wanted", &with(&["htop", "tree"]));
    succeeds(&yard, &machine);

    // A mirror that does not answer.
    let sources = machine.read("/etc/apt/sources.list").unwrap();
    machine.run("rm -rf /var/lib/apt/lists/*");
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] http://192.0.2.1:9/ ./\n");
    yard.spec("wanted", &with(&["lsof"]));
    fails(&yard, &machine, &["packages failed", "http://192.0.2.1:9"]);
    machine.write("/etc/apt/sources.list", &sources);
    succeeds(&yard, &machine);

    // A full disk.
    machine.run("mount -t tmpfs -o size=64k none /var/cache/apt/archives && mkdir -p /var/cache/apt/archives/partial");
    yard.spec("wanted", &with(&["nano"]));
    fails(&yard, &machine, &["packages failed", "space"]);
    machine.run("umount /var/cache/apt/archives");
    succeeds(&yard, &machine);

    // Apt's lock, held by somebody else.
    let hold = "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); \
                open('/var/lib/held', 'w'); time.sleep(600)";
    machine.run(&format!("systemd-run -q --unit=holder python3 -c \"{hold}\""));
    wait::until("the lock is held", || machine.read("/var/lib/held"));
    yard.spec("wanted", &with(&["whois"]));
    fails(&yard, &machine, &["packages failed", "another program has had apt's lock /var/lib/dpkg/lock-frontend"]);
    machine.run("systemctl stop holder");
    succeeds(&yard, &machine);

    // An SSH server whose configuration is broken already.
    machine.run("echo Nonsense yes > /etc/ssh/sshd_config.d/50-mine.conf; rm /etc/ssh/sshd_config.d/10-homestak.conf");
    fails(&yard, &machine, &["sshd failed", "what is there is broken already", "Nonsense"]);
    assert_eq!(machine.run("ls /etc/ssh/sshd_config.d; systemctl is-active ssh"), "50-mine.conf\nactive");
    machine.run("rm /etc/ssh/sshd_config.d/50-mine.conf");
    succeeds(&yard, &machine);

    // A power cut in the middle of an installation, as far as apt and dpkg are concerned.
    yard.spec("wanted", &with(&["homestak-slow", "pv"]));
    let nodes = [("edge", "push", "wanted")];
    std::thread::scope(|scope| {
        let killed = scope.spawn(|| {
            wait::until("the package is being configured", || machine.read("/var/lib/slow-once"));
            machine.run("pkill -KILL -x apt-get; pkill -KILL -x dpkg; pkill -KILL -f '[h]omestak-slow.postinst'; true");
        });
        let document = yard.apply(1, &nodes);
        let error = &document["nodes"][0]["error"];
        assert_eq!(error["code"], "E707", "{document:#}");
        killed.join().unwrap();
    });
    assert!(machine.marker("config-failed").is_some());
    succeeds(&yard, &machine);
    assert_eq!(machine.run("dpkg-query -W -f '${db:Status-Abbrev}' homestak-slow pv"), "ii ii");
    yard.stage.strike();
}
