//! One value of each message: every field set to something that tells it from its neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use homestak_protocol::event::*;
use homestak_protocol::extras::{Checksum, Extras, ImageSource, MachineExtras};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::*;
use homestak_protocol::message::*;
use homestak_protocol::name::{HostName, ManifestName, NodeName, SiteName};
use homestak_protocol::order::*;
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use homestak_protocol::version::Range;

use crate::golden::Folder;

/// Checks a value of each variant of an enum. A variant that is missing here does not compile.
macro_rules! each {
    ($folder:ident, $type:ty { $($variant:pat => $name:literal, $value:expr;)+ }) => {{
        fn none_is_missing(value: &$type) {
            match value {
                $($variant => (),)+
            }
        }
        $(
            let value: $type = $value;
            none_is_missing(&value);
            assert!(matches!(value, $variant), "{} is another variant", $name);
            $folder.message($name, &value);
        )+
    }};
}

pub(crate) fn check_all(folder: &mut Folder) {
    first_contact(folder);
    link(folder);
    reports(folder);
    changes(folder);
    requests(folder);
    orders(folder);
}

fn first_contact(folder: &mut Folder) {
    each!(folder, EnrolRequest {
        EnrolRequest::First { .. } => "enrol_request_first",
            EnrolRequest::First { token: secret("cGF5bG9hZA.c2lnbmF0dXJl"), csr: vec![0x30, 0x82, 0x01, 0x02] };
        EnrolRequest::Renew { .. } => "enrol_request_renew",
            EnrolRequest::Renew { path: edge(), csr: vec![0x30, 0x82, 0x03, 0x04] };
    });
    each!(folder, EnrolReply {
        EnrolReply::Issued(_) => "enrol_reply_issued", EnrolReply::Issued(Issued {
            path: edge(),
            incarnation: Incarnation::from_bits(INCARNATION),
            certificate: vec![0x30, 0x82, 0x05, 0x06],
            not_after_ms: NOW_MS + 86_400_000,
            now_ms: NOW_MS,
            addresses: addresses(),
        });
        EnrolReply::Refused(_) => "enrol_reply_refused", EnrolReply::Refused(fault());
    });
}

fn link(folder: &mut Folder) {
    folder.message(
        "hello",
        &Hello {
            versions: Range { lowest: 1, highest: 300 },
            order_version: 2,
            software: "0.1.0".into(),
            path: edge(),
            incarnation: Incarnation::from_bits(INCARNATION),
            journal: JournalId::from_bits(JOURNAL),
            generations: vec![(tree(), Generation(7)), (tree(), Generation(70_000))],
            facts: facts(),
        },
    );
    each!(folder, Greeting {
        Greeting::Welcome(_) => "greeting_welcome", Greeting::Welcome(Welcome {
            protocol: 1,
            software: "0.2.0".into(),
            seen: Position(42),
            now_ms: NOW_MS,
            addresses: addresses(),
        });
        Greeting::Refused(_) => "greeting_refused", Greeting::Refused(fault());
    });
    each!(folder, Opening {
        Opening::Reports => "opening_reports", Opening::Reports;
        Opening::Renew { .. } => "opening_renew", Opening::Renew { csr: vec![0x30, 0x82, 0x07, 0x08] };
        Opening::Fetch(_) => "opening_fetch", Opening::Fetch(Fetch::Specs);
    });
    each!(folder, Fetch {
        Fetch::Specs => "fetch_specs", Fetch::Specs;
        Fetch::Spec { .. } => "fetch_spec", Fetch::Spec { identity: "edge".into(), token: Secret::new("a.b".into()) };
        Fetch::Program { .. } => "fetch_program", Fetch::Program {
            arch: "x86_64".into(),
            token: Secret::new("a.b".into()),
        };
        Fetch::Own { .. } => "fetch_own", Fetch::Own { path: edge() };
        Fetch::Image { .. } => "fetch_image", Fetch::Image {
            name: SiteName::parse("debian-12").unwrap(),
            have: vec![Part { sha256: [9; 32], length: 3_000_000_000 }],
        };
        Fetch::Template { .. } => "fetch_template", Fetch::Template {
            name: Some(SiteName::parse("debian-12-standard").unwrap()),
            have: Vec::new(),
        };
    });
    each!(folder, Fetched {
        Fetched::Document { .. } => "fetched_document", Fetched::Document { length: 1_840 };
        Fetched::Program { .. } => "fetched_program", Fetched::Program { length: 9_000_000, sha256: [7; 32] };
        Fetched::Refused(_) => "fetched_refused", Fetched::Refused(fault());
        Fetched::Image { .. } => "fetched_image", Fetched::Image {
            file: "debian-12-custom.qcow2".into(),
            length: 3_000_000_001,
            sha256: [9; 32],
            from: 3_000_000_000,
        };
    });
    folder.message("ack", &Ack { upto: Position(1_000_000) });
}

fn reports(folder: &mut Folder) {
    each!(folder, Report {
        Report::Entries(_) => "report_entries", Report::Entries(vec![
            entry(1, node_change()),
            entry(2, phase_change()),
            entry(3, Change::Settled(Settled { path: edge(), word: None })),
            entry(4, Change::Settled(Settled { path: edge(), word: Some(Verb::Rollback) })),
            entry(5, Change::Gap(Gap { origin: origin(), after: Seq(41) })),
        ]);
        Report::Presence(_) => "report_presence", Report::Presence(vec![Presence {
            path: edge(),
            incarnation: Incarnation::from_bits(INCARNATION),
            connected: true,
            since_ms: NOW_MS,
            seen_ms: NOW_MS + 5,
            software: "0.1.0".into(),
            protocol: 1,
            address: "192.0.2.7:44443".into(),
            facts: facts(),
        }]);
        Report::Progress(_) => "report_progress", Report::Progress(vec![Progress {
            scope: scope(),
            path: edge(),
            phase: Phase::Configure,
            text: "12 of 40 packages".into(),
        }]);
    });
}

fn changes(folder: &mut Folder) {
    each!(folder, Change {
        Change::Node(_) => "change_node", node_change();
        Change::Phase(_) => "change_phase", phase_change();
        Change::Settled(_) => "change_settled",
            Change::Settled(Settled { path: edge(), word: Some(Verb::Destroy) });
        Change::Gap(_) => "change_gap", Change::Gap(Gap { origin: origin(), after: Seq(41) });
        Change::Drift(_) => "change_drift", Change::Drift(Drift {
            path: edge(),
            differences: 2,
            lines: vec!["timezone is Etc/UTC, not Europe/Oslo".into(), "sshd differs".into()],
            checked_ms: NOW_MS,
            mended: false,
        });
    });
    folder.message(
        "change_node_least",
        &Change::Node(NodeChange {
            path: edge(),
            kind: NodeKind::Vm,
            status: Status::Pending,
            action: None,
            vmid: None,
            ip: None,
            simulated: false,
            fault: None,
        }),
    );
    folder.message(
        "change_node_v6",
        &Change::Node(NodeChange {
            path: edge(),
            kind: NodeKind::Ct,
            status: Status::Completed,
            action: Some(Action::Unchanged),
            vmid: Vmid::new(Vmid::MAX),
            ip: Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7))),
            simulated: false,
            fault: Some(Fault::new(Code::UnknownEndpoint, "")),
        }),
    );
}

fn requests(folder: &mut Folder) {
    each!(folder, Request {
        Request::Order { .. } => "request_order",
            Request::Order { order: OpaqueOrder::close(&leaf_order()).unwrap(), word: None };
        Request::Directive(_) => "request_directive", Request::Directive(Directive {
            tree: tree(),
            run: RunId::from_bits(RUN),
            generation: Generation(8),
            verb: Verb::Destroy,
            policy: policy(),
            recorded: vec![Recorded { path: edge(), kind: NodeKind::Vm, vmid: Vmid::new(99_012) }],
        });
        Request::Drain => "request_drain", Request::Drain;
        Request::Revoke(_) => "request_revoke", Request::Revoke(edge());
        Request::Survey => "request_survey", Request::Survey;
        Request::Look { .. } => "request_look", Request::Look { at: edge(), tree: tree() };
        Request::Sources { .. } => "request_sources", Request::Sources {
            at: edge(),
            images: vec![SiteName::parse("debian-12").unwrap()],
        };
        Request::Inventory { .. } => "request_inventory", Request::Inventory { at: edge() };
        Request::Discard { .. } => "request_discard", Request::Discard {
            at: edge(),
            machine: Held { tree: tree(), path: edge(), vmid: Vmid::new(99_012), running: true },
        };
        Request::Describe { .. } => "request_describe", Request::Describe { at: edge() };
        Request::Compare { .. } => "request_compare", Request::Compare {
            at: edge(),
            tree: tree(),
            wanted: vec![Wanted {
                path: edge(),
                machine: machine(NodeKind::Vm),
                address: Some("192.0.2.7/24".into()),
                gateway: Some("192.0.2.1".into()),
            }],
        };
    });
    folder.message(
        "request_order_with_word",
        &Request::Order { order: OpaqueOrder::close(&leaf_order()).unwrap(), word: Some(Verb::Cancel) },
    );
    each!(folder, Reply {
        Reply::Done => "reply_done", Reply::Done;
        Reply::Refused(_) => "reply_refused", Reply::Refused(fault());
        Reply::Surveyed(_) => "reply_surveyed",
            Reply::Surveyed(vec![Surveyed { tree: tree(), generation: Generation(7), nodes: vec![view()] }]);
        Reply::Seen(_) => "reply_seen", Reply::Seen(vec![
            Seen { path: edge(), vmid: Vmid::new(99_012), running: true, known: false },
            Seen { path: edge(), vmid: None, running: false, known: true },
        ]);
        Reply::Sources(_) => "reply_sources", Reply::Sources(vec![
            Source::Absent,
            Source::Volume("local:import/debian-12-custom.qcow2".into()),
            Source::Simulated,
        ]);
        Reply::Inventory(_) => "reply_inventory", Reply::Inventory(vec![
            Held { tree: tree(), path: edge(), vmid: Vmid::new(99_012), running: true },
            Held { tree: tree(), path: edge(), vmid: None, running: false },
        ]);
        Reply::Compared(_) => "reply_compared",
            Reply::Compared(vec![Differing { path: edge(), what: vec!["cores 4 → 2".into()] }]);
        Reply::Described(_) => "reply_described", Reply::Described(PveHost {
            node: "father".into(),
            version: "9.0.3".into(),
            api_endpoint: "https://192.0.2.7:8006".into(),
            api_token: Some(secret("homestak@pve!agent=00000000-0000-4000-8000-000000000001")),
            datastore: Some("local-zfs".into()),
            storages: vec!["local".into(), "local-zfs".into()],
            bridges: vec!["vmbr0".into()],
            address: Some("192.0.2.7".parse().unwrap()),
        });
    });
}

/// An order's extras, every key set.
fn extras() -> Extras {
    let image = ImageSource {
        url: "https://images.example/debian-12.qcow2".into(),
        checksum: Checksum::Sha256("ab".repeat(32)),
    };
    let edge = MachineExtras { nesting: Some(false), storage: Some("tank".into()), image: Some(image) };
    Extras { machines: [("edge".to_owned(), edge)].into() }
}

fn orders(folder: &mut Folder) {
    let leaf = leaf_order();
    let closed = OpaqueOrder::close(&leaf).unwrap();
    let with_extras = OpaqueOrder::close_with(&leaf, &extras()).unwrap();
    assert_eq!(with_extras.open_with().unwrap(), (leaf.clone(), extras()));
    folder.message("opaque_order_with_extras", &with_extras);
    assert_eq!(OpaqueOrder::close_with(&leaf, &Extras::default()).unwrap(), closed, "version 1 where nothing is said");
    let child = ChildOrder {
        name: NodeName::parse("edge").unwrap(),
        machine: machine(NodeKind::Vm),
        cloud_init: CloudInit {
            user: Some("homestak".into()),
            ssh_keys: vec!["ssh-ed25519 AAAA operator@example.com".into()],
            root_password_hash: Some(secret("$6$salt$hash")),
            packages: vec!["qemu-guest-agent".into()],
            address: Some("192.0.2.7/24".into()),
            gateway: Some("192.0.2.1".into()),
            dns_servers: vec!["192.0.2.2".into(), "2001:db8::2".into()],
            domain: Some("example.com".into()),
        },
        token: secret("cGF5bG9hZA.c2lnbmF0dXJl"),
        order: closed.clone(),
    };
    let host = Order {
        path: NodePath::parse("father").unwrap(),
        own: None,
        children: vec![child.clone(), ChildOrder { cloud_init: CloudInit::default(), ..child.clone() }],
        ..leaf.clone()
    };
    folder.message("order_leaf", &leaf);
    folder.message("order_host", &host);
    folder.message("opaque_order", &closed);
    folder.message("child_order", &child);
    each!(folder, Configuration {
        Configuration::Nothing => "configuration_nothing", Configuration::Nothing;
        Configuration::Push(_) => "configuration_push", Configuration::Push(spec());
        Configuration::Pull(_) => "configuration_pull", Configuration::Pull(spec());
    });
}

const NOW_MS: u64 = 1_738_800_000_123;
const INCARNATION: u128 = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f;
const JOURNAL: u128 = 0x1011_1213_1415_1617_1819_1a1b_1c1d_1e1f;
const SITE: u128 = 0x2021_2223_2425_2627_2829_2a2b_2c2d_2e2f;
const RUN: u64 = 0x3031_3233_3435;

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn edge() -> NodePath {
    NodePath::parse("father/n2-tiered/root-pve/edge").unwrap()
}

fn tree() -> TreeId {
    TreeId {
        site: SiteId::from_bits(SITE),
        host: HostName::parse("father").unwrap(),
        manifest: ManifestName::parse("n2-tiered").unwrap(),
    }
}

fn addresses() -> Vec<String> {
    vec!["192.0.2.1:44443".into(), "[2001:db8::1]:44443".into(), "father.example.com:44443".into()]
}

fn fault() -> Fault {
    let mut fault = Fault::new(Code::Behind, "the agent has seen generation 9").hint("run `server adopt`").at(&edge());
    fault.retryable = true;
    fault
}

fn facts() -> Facts {
    Facts {
        hostname: "edge".into(),
        os: "Debian 13".into(),
        kernel: "6.12.0".into(),
        arch: "x86_64".into(),
        cores: 2,
        memory_mib: 2048,
        memory_free_mib: 1500,
        disk_gib: 20,
        disk_free_gib: 15,
        load_milli: 250,
        nested: true,
    }
}

fn scope() -> Scope {
    Scope { tree: tree(), run: RunId::from_bits(RUN), generation: Generation(7) }
}

fn origin() -> Origin {
    Origin { path: edge(), journal: JournalId::from_bits(JOURNAL) }
}

fn entry(number: u64, change: Change) -> Entry {
    let event = Event { origin: origin(), seq: Seq(number), at_ms: NOW_MS, scope: scope(), change };
    Entry { position: Position(number + 300), event }
}

fn node_change() -> Change {
    Change::Node(NodeChange {
        path: edge(),
        kind: NodeKind::Pve,
        status: Status::Failed,
        action: Some(Action::Created),
        vmid: Vmid::new(99_011),
        ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        simulated: true,
        fault: Some(fault()),
    })
}

fn phase_change() -> Change {
    Change::Phase(PhaseChange {
        path: edge(),
        phase: Phase::Provision,
        status: PhaseStatus::Passed,
        duration_ms: 910,
        note: Some("clone of debian-13".into()),
    })
}

fn view() -> NodeView {
    NodeView {
        path: edge(),
        kind: NodeKind::Vm,
        generation: Generation(7),
        status: Status::Completed,
        action: Action::Adopted,
        vmid: Vmid::new(99_012),
        ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        simulated: true,
        fault: Some(fault()),
        started_ms: Some(NOW_MS),
        ended_ms: Some(NOW_MS + 1840),
        phases: vec![PhaseView {
            phase: Phase::Boot,
            status: PhaseStatus::Failed,
            duration_ms: 70_000,
            note: Some("no agent".into()),
        }],
    }
}

fn policy() -> Policy {
    let limits = Limits {
        provision: Millis(1),
        boot: Millis(2),
        host: Millis(3),
        configure: Millis(4),
        verify: Millis(5),
        destroy: Millis(6),
        answer: Millis(7),
        grace: Millis(300_000),
    };
    Policy { on_error: OnError::Rollback, prune: true, verify: false, parallel: 8, attempts: 5, limits }
}

fn machine(kind: NodeKind) -> Machine {
    Machine {
        kind,
        image: Some(SiteName::parse("debian-13").unwrap()),
        cores: 2,
        memory_mib: 2048,
        disk_gib: 20,
        vmid: Vmid::new(99_012),
        bridge: Some("vmbr0".into()),
    }
}

fn spec() -> Spec {
    Spec { name: SiteName::parse("base").unwrap(), document: r#"{"identity":{"hostname":"edge"}}"#.into() }
}

fn leaf_order() -> Order {
    Order {
        tree: tree(),
        path: edge(),
        run: RunId::from_bits(RUN),
        generation: Generation(7),
        policy: policy(),
        own: Some(Own { machine: machine(NodeKind::Vm), configuration: Configuration::Push(spec()) }),
        children: Vec::new(),
    }
}
