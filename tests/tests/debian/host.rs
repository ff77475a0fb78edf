//! A `pve` node makes itself a Proxmox VE host, on a Debian with stand-ins for PVE's programs and a small archive of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use homestak_protocol::privilege::by_hand;
use homestak_tests::binaries::workspace;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::wait;
use serde_json::{Value, json};

use crate::network::ADDRESS;
use crate::yard::{Inside, Yard};

/// Where the archive of stand-ins is served.
const PVE_PORT: &str = "8081";
/// What the token is worth: it must be found nowhere but in its file.
const VALUE: &str = "5f9c1a52-77aa-4c1e-9d0b-8c2f3e6b7d10";
/// Where on the machine it is.
const PLACE: &str = "local/real/root-pve";
/// How long a network may take that nobody but the timer puts back.
const TIMER: Duration = Duration::from_secs(240);

/// What it dies after, as crash points call it. What packages bring that wants a subscription is off already when an agent
/// begins anew after them, so that nobody dies of that.
const STEPS: [&str; 10] = [
    "hostname",
    "own-address",
    "repositories",
    "kernel-package",
    "packages",
    "pve-subscription-nag",
    "bridge-vmbr0",
    "storage-local",
    "api-token",
    "network-recorded",
];

fn nodes() -> Value {
    json!([{ "name": "root-pve", "type": "pve", "image": "debian-12", "preset": "vm-small" }])
}

/// A yard in which machines find an archive of PVE, and an API that takes the token. The machine dies at these points, once
/// each, and finds these files.
fn set(test: &str, name: &str, points: &[String], put: &[(&str, &str)]) -> Option<(Yard, FakePve)> {
    if !fakepve::is_installed(test) {
        return None;
    }
    let mut yard = Yard::set(test, name, "host=STAGE/host.yaml")?;
    let archive = yard.stage.folder().join("archive");
    let made =
        Command::new(workspace().join("tests/debian/pve")).arg(&archive).arg(VALUE).arg(&yard.pool).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    yard.network.serve(&archive, PVE_PORT);
    let token = format!("homestak@pve!agent={VALUE}");
    let pve = FakePve::start_by(&yard.stage, "root-pve", 0.0, &yard.network.by(), ADDRESS, &token);
    let endpoint = &pve.settings()["api_endpoint"];
    yard.stage.file(
        "host.yaml",
        json!({ "pve": {
            "api_endpoint": endpoint, "insecure": true,
            "repository": format!("http://{ADDRESS}:{PVE_PORT}"), "repository_key": "trusted",
        } })
        .to_string(),
    );
    yard.stage.file("host.yaml.points", points.iter().map(|point| format!("{point}@{PLACE}\n")).collect::<String>());
    // The machine is one of Debian's cloud images: cloud-init writes /etc/hosts where it is told to, and there is a disk, for
    // which something is taken that every machine has.
    let cloud_hosts = "#!/bin/sh\n[ \"$(sed -n 's/^manage_etc_hosts: //p' /etc/cloud/cloud.cfg.d/* | tail -1)\" = true ] && \
                       printf '127.0.1.1 %s\\n127.0.0.1 localhost\\n' \"$(cat /etc/hostname)\" >/etc/hosts\nexit 0\n";
    let image = [
        ("etc/cloud/cloud.cfg.d/01_debian_cloud.cfg", "manage_etc_hosts: true\n"),
        ("usr/local/bin/cloud-hosts", cloud_hosts),
        (
            "etc/systemd/system/homestak-agent.service.d/cloud.conf",
            "[Service]\nExecStartPre=/usr/local/bin/cloud-hosts\n",
        ),
        ("usr/local/bin/findmnt", "#!/bin/sh\necho /dev/vda1\n"),
        ("usr/local/bin/lsblk", "#!/bin/sh\nprintf '/dev/vda1 part\\n/dev/null disk\\n'\n"),
    ];
    // The kernel is PVE's in every boot after the one in which its package came.
    let uname = "#!/bin/sh\n[ \"$1\" = -r ] && [ -e /var/lib/stand-in/kernel-came-in ] && \
                 ! cmp -s /var/lib/stand-in/kernel-came-in /proc/sys/kernel/random/boot_id && \
                 { echo 6.8.12-9-pve; exit; }\nexec /usr/bin/uname \"$@\"\n";
    for (path, text) in put.iter().chain(&image).chain(&[("usr/local/bin/uname", uname)]) {
        let file = yard.stage.folder().join("host.yaml.put").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Some((yard, pve))
}

/// What PVE's programs were told to change.
fn changes(machine: &Inside) -> Vec<String> {
    let log = machine.read("/var/log/stand-in").unwrap_or_default();
    let asks =
        |line: &&str| !line.contains(" list") && !line.starts_with("pveversion") && !line.starts_with("pvesh get");
    log.lines().filter(asks).map(str::to_owned).collect()
}

/// The files that becoming a host writes, and what the network is.
fn looked_at(machine: &Inside) -> String {
    machine.run(
        "cd /etc && cat hostname hosts cloud/cloud.cfg.d/99-homestak-hosts.cfg network/interfaces systemd/network/00-homestak-bridge.network pve/storage.cfg \
         apt/sources.list.d/* homestak/pve.token /usr/share/javascript/proxmox-widget-toolkit/proxmoxlib.js; \
         stat -c '%a %U' homestak/pve.token; ip -o -4 address show | awk '{print $2, $4}'; ip route show default; \
         ls /var/lib/homestak | grep -e before -e restarts; true",
    )
}

#[test]
fn a_pve_node_makes_itself_a_host_whatever_it_dies_of_and_a_second_time_changes_nothing() {
    let test = "a_pve_node_makes_itself_a_host_whatever_it_dies_of_and_a_second_time_changes_nothing";
    let mut points: Vec<String> = STEPS.iter().map(|step| format!("host.{step}:after")).collect();
    points.extend(["host.hostname:before", "host.kernel:before", "host.network-changed:after"].map(str::to_owned));
    let Some((yard, pve)) = set(test, "debian-host", &points, &[]) else { return };
    let applied = yard.apply_nodes(0, &nodes());
    assert_eq!(applied["nodes"][0]["status"], "completed", "{applied:#}");

    let machine = yard.inside("root-pve");
    let mut reached: Vec<String> =
        machine.read("/var/lib/crash/points.reached").unwrap().lines().map(str::to_owned).collect();
    let mut wanted: Vec<String> = points.iter().map(|point| format!("{point}@{PLACE}")).collect();
    reached.sort();
    wanted.sort();
    assert_eq!(reached, wanted, "it died at every point, once");

    let seen = looked_at(&machine);
    let own = machine.run("ip -o -4 address show vmbr0 | awk '{print $4}'");
    let address = own.strip_suffix("/24").unwrap();
    for said in [
        "root-pve\n".to_owned(),
        format!("127.0.0.1 localhost\n{address} root-pve\n"),
        format!("iface vmbr0 inet static\n\taddress {own}\n\tgateway {ADDRESS}\n\tbridge-ports host0\n"),
        "Name=host0 vmbr0\n\n[Link]\nUnmanaged=yes".to_owned(),
        "content rootdir,backup,snippets,images,vztmpl,iso,import".to_owned(),
        format!("deb [trusted=yes] http://{ADDRESS}:{PVE_PORT} bookworm pve-no-subscription"),
        "# deb https://enterprise.proxmox.com".to_owned(),
        "checked_command: function(orig_cmd) { orig_cmd(); return;\n".to_owned(),
        "manage_etc_hosts: false\n".to_owned(),
        format!("homestak@pve!agent={VALUE}\n"),
        "600 root\n".to_owned(),
        format!("default via {ADDRESS} dev vmbr0"),
    ] {
        assert!(seen.contains(&said), "{said}\n-- is not in --\n{seen}");
    }
    assert!(!seen.contains("host0 192.") && !seen.contains("before.json") && !seen.contains("restarts"), "{seen}");
    // At the next start too.
    machine.run("cloud-hosts");
    assert_eq!(machine.run("getent ahostsv4 root-pve | head -1 | cut -d' ' -f1"), address);
    let told = changes(&machine);
    let count = |part: &str| told.iter().filter(|line| line.contains(part)).count();
    for line in by_hand(8, "local") {
        // As a shell would have it, but for what the user is for.
        let line =
            line.replace(['"', '\''], "").replace("user add homestak@pve", "user add homestak@pve --comment homestak");
        assert!(told.iter().any(|told| told.starts_with(&line)), "{line}: {told:#?}");
    }
    for answer in ["grub-install /dev/null", "postfix Local only, root-pve"] {
        assert!(told.contains(&answer.to_owned()), "{answer}: {told:#?}");
    }
    for (words, times) in [
        ("pveum role add", 2),
        ("pveum user add", 1),
        ("pveum user token add", 1),
        ("pveum acl modify", 4),
        ("pvesm set", 1),
    ] {
        assert_eq!(count(words), times, "{words}: {told:#?}");
    }
    // By its service alone, first to put back a bridge that was only meant to be; once it is there it is kept, though its maker
    // died then.
    let networking: Vec<&String> = told.iter().filter(|line| line.contains("networking")).collect();
    assert_eq!(networking, ["after-networking start", "after-networking reload"], "{told:#?}");
    let status = yard.stage.json(0, &["agents"]).to_string();
    assert!(status.contains("Proxmox VE 8.4.1 on Linux (Debian"), "{status}");

    // A second time there is nothing to do.
    yard.apply_nodes(0, &nodes());
    assert_eq!((looked_at(&machine), changes(&machine)), (seen.clone(), told.clone()));
    // The token's value cannot be asked for; where it is lost, there is a new one.
    machine.run("rm /etc/homestak/pve.token");
    yard.apply_nodes(0, &nodes());
    assert_eq!(looked_at(&machine), seen);
    let since = changes(&machine).split_off(told.len());
    let (remove, add) = ("user token remove homestak@pve agent", "user token add homestak@pve agent --privsep 1");
    assert!(since[0].ends_with(remove) && since[1].contains(add), "{since:#?}");

    // A boot loader that did not know its disk, and stopped dpkg, is told and goes on.
    machine.run(
        "echo 'grub-pc grub-pc/install_devices multiselect' | debconf-set-selections; \
         sed -i '/^Package: grub-pc$/,/^$/s/ok installed/ok half-configured/' /var/lib/dpkg/status; ! dpkg --configure -a",
    );
    yard.apply_nodes(0, &nodes());
    assert_eq!(machine.run("dpkg-query -W -f '${Status}' grub-pc"), "install ok installed");

    // Nothing but its file has the token.
    let logs = machine.run("journalctl --no-pager; cat /var/log/stand-in /var/log/apt/term.log");
    assert!(!logs.contains(VALUE));
    let mut grep = Command::new("grep");
    grep.args(["-rlaF", "-D", "skip", "--exclude-dir=usr", "--exclude-dir=archive", VALUE]).arg(yard.stage.folder());
    let holders = String::from_utf8(grep.output().unwrap().stdout).unwrap();
    let others: Vec<&str> = holders.lines().filter(|file| !file.ends_with("/root/etc/homestak/pve.token")).collect();
    assert_eq!((holders.lines().count(), others), (1, vec![]), "{holders}");
    drop(pve);
    yard.strike();
}

#[test]
fn a_network_that_does_not_come_back_is_put_back_by_the_agent_and_without_it() {
    let test = "a_network_that_does_not_come_back_is_put_back_by_the_agent_and_without_it";
    let points = ["host.network-changed:after".to_owned()];
    let leased = "[Match]\nName=host0\n[Network]\nDHCP=ipv4\n";
    let put = [("var/lib/stand-in/dead", ""), ("etc/systemd/network/10-host0.network", leased)];
    let Some((mut yard, pve)) = set(test, "debian-cut", &points, &put) else { return };
    yard.network.begin(&["python3"], &workspace().join("tests/debian/dhcp"));
    let running = yard.begin(&nodes());
    // It is restarted before that, for its kernel.
    wait::within(TIMER, "it dies over the network", || {
        let there = yard.stage.machines().into_iter().find(|machine| machine.path == PLACE)?;
        there.folder.join("root/var/lib/crash/points.reached").exists().then_some(())
    });
    let machine = yard.inside("root-pve");
    // Nobody starts it again; the timer alone is left.
    machine.run("systemctl stop homestak-agent");
    let network =
        || machine.run("ip -o -4 address show | awk '{print $2, $4}'; ls /sys/class/net /etc/systemd/network");
    assert!(network().contains("vmbr0"), "{}", network());
    wait::within(TIMER, "the timer puts the network back", || {
        (machine.read("/var/lib/homestak/bridge-before.json").is_none()).then_some(())
    });
    wait::until("the address is back", || network().contains("host0 192.0.2.").then_some(()));
    let seen = network();
    assert!(!seen.contains("vmbr0") && !seen.contains("00-homestak-bridge"), "{seen}");
    assert!(!machine.read("/etc/network/interfaces").unwrap_or_default().contains("vmbr0"));

    // The agent tries again, and sees to it itself.
    machine.run("systemctl start homestak-agent");
    let failed = running.finish(TIMER).exits(1).json();
    let error = &failed["nodes"][0]["error"];
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("the parent was not heard within 20 s over vmbr0; the network is what it was before"),
        "{failed:#}"
    );
    assert_eq!(error["node"], PLACE, "{failed:#}");
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{failed:#}");
    assert!(network().contains("host0 192.0.2.") && !network().contains("vmbr0"), "{}", network());
    assert_eq!(machine.run("systemctl list-units --all --no-legend 'homestak-bridge-back*'"), "", "no timer is left");

    // Once the network would carry it, so it does.
    let before = machine.run("getent ahostsv4 root-pve | head -1 | cut -d' ' -f1");
    machine.run("rm /var/lib/stand-in/dead");
    yard.apply_nodes(0, &nodes());
    assert!(machine.read("/etc/network/interfaces").unwrap().contains("iface vmbr0 inet dhcp"));
    // The bridge's client asks by the card, where systemd-networkd has asked by the machine's id.
    let address = machine.run("ip -o -4 address show vmbr0 | awk '{print $4}' | cut -d/ -f1");
    assert_ne!(address, before);
    assert_eq!(
        machine.run("getent ahostsv4 root-pve | head -1 | cut -d' ' -f1"),
        address,
        "it knows itself by the new one"
    );
    let home = machine.run("cat /proc/$(pgrep -o dhclient)/cgroup");
    assert!(home.ends_with("/networking.service"), "the client lives on, whoever ends: {home}");
    drop(pve);
    yard.strike();
}
