//! Random messages of every kind.

use std::fmt::Debug;

use homestak_protocol::event::*;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::*;
use homestak_protocol::message::*;
use homestak_protocol::order::*;
use homestak_protocol::path::TreeId;
use homestak_protocol::version::Range;
use homestak_protocol::{codec, frame};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::words::*;

/// Any message, with what the properties ask of one.
#[derive(Debug)]
pub(crate) struct Message(Box<dyn Travels>);

trait Travels: Debug {
    fn encode(&self) -> Vec<u8>;
    fn seal(&self) -> Vec<u8>;
    fn reads(&self, bytes: &[u8]) -> bool;
}

impl<T: Serialize + DeserializeOwned + PartialEq + Debug> Travels for T {
    fn encode(&self) -> Vec<u8> {
        codec::encode(self).unwrap()
    }

    fn seal(&self) -> Vec<u8> {
        frame::seal(self).unwrap()
    }

    fn reads(&self, bytes: &[u8]) -> bool {
        frame::open::<T>(bytes).inspect(|read| assert_eq!(read, self)).is_ok()
    }
}

impl Message {
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// Whether the bytes are read as a message of this kind; they must then be this one.
    pub(crate) fn reads(&self, bytes: &[u8]) -> bool {
        self.0.reads(bytes)
    }

    pub(crate) fn seal(&self) -> Vec<u8> {
        self.0.seal()
    }
}

fn travels<T: Travels + 'static>(strategy: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Message> {
    strategy.prop_map(|value| Message(Box::new(value))).boxed()
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        travels(enrol_request()),
        travels(enrol_reply()),
        travels(hello()),
        travels(greeting()),
        travels(opening()),
        travels(fetched()),
        travels(report()),
        travels(any::<u64>().prop_map(|upto| Ack { upto: Position(upto) })),
        travels(request()),
        travels(reply()),
        travels(order()),
    ]
}

fn enrol_request() -> impl Strategy<Value = EnrolRequest> {
    prop_oneof![
        (secret(), bytes()).prop_map(|(token, csr)| EnrolRequest::First { token, csr }),
        (path(), bytes()).prop_map(|(path, csr)| EnrolRequest::Renew { path, csr }),
    ]
}

fn enrol_reply() -> impl Strategy<Value = EnrolReply> {
    let issued = (path(), any::<u128>(), bytes(), any::<u64>(), any::<u64>(), vec(text(), 0..4)).prop_map(
        |(path, life, certificate, not_after_ms, now_ms, addresses)| {
            let incarnation = Incarnation::from_bits(life);
            EnrolReply::Issued(Issued { path, incarnation, certificate, not_after_ms, now_ms, addresses })
        },
    );
    prop_oneof![issued, fault().prop_map(EnrolReply::Refused)]
}

fn hello() -> impl Strategy<Value = Hello> {
    let versions = (any::<u16>(), any::<u16>()).prop_map(|(lowest, highest)| Range { lowest, highest });
    let ids = (any::<u128>(), any::<u128>());
    (versions, any::<u16>(), text(), path(), ids, vec((tree(), generation()), 0..4), facts()).prop_map(
        |(versions, order_version, software, path, (life, journal), generations, facts)| Hello {
            versions,
            order_version,
            software,
            path,
            incarnation: Incarnation::from_bits(life),
            journal: JournalId::from_bits(journal),
            generations,
            facts,
        },
    )
}

fn greeting() -> impl Strategy<Value = Greeting> {
    let welcome = (any::<u16>(), text(), any::<u64>(), any::<u64>(), vec(text(), 0..4)).prop_map(
        |(protocol, software, seen, now_ms, addresses)| {
            Greeting::Welcome(Welcome { protocol, software, seen: Position(seen), now_ms, addresses })
        },
    );
    prop_oneof![welcome, fault().prop_map(Greeting::Refused)]
}

fn opening() -> impl Strategy<Value = Opening> {
    prop_oneof![
        Just(Opening::Reports),
        bytes().prop_map(|csr| Opening::Renew { csr }),
        fetch().prop_map(Opening::Fetch)
    ]
}

fn fetch() -> impl Strategy<Value = Fetch> {
    prop_oneof![
        Just(Fetch::Specs),
        (text(), secret()).prop_map(|(identity, token)| Fetch::Spec { identity, token }),
        (text(), secret()).prop_map(|(arch, token)| Fetch::Program { arch, token }),
        path().prop_map(|path| Fetch::Own { path }),
    ]
}

fn fetched() -> impl Strategy<Value = Fetched> {
    prop_oneof![
        any::<u64>().prop_map(|length| Fetched::Document { length }),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(length, sha256)| Fetched::Program { length, sha256 }),
        fault().prop_map(Fetched::Refused),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    prop_oneof![
        vec(entry(), 0..4).prop_map(Report::Entries),
        vec(presence(), 0..3).prop_map(Report::Presence),
        vec(progress(), 0..3).prop_map(Report::Progress),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (order(), option::of(verb()))
            .prop_map(|(order, word)| { Request::Order { order: OpaqueOrder::close(&order).unwrap(), word } }),
        directive().prop_map(Request::Directive),
        Just(Request::Drain),
        path().prop_map(Request::Revoke),
        Just(Request::Survey),
        (path(), tree()).prop_map(|(at, tree)| Request::Look { at, tree }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let surveyed = (tree(), generation(), vec(view(), 0..3)).prop_map(|(tree, generation, nodes)| Surveyed {
        tree,
        generation,
        nodes,
    });
    let seen = (path(), option::of(vmid()), any::<bool>(), any::<bool>())
        .prop_map(|(path, vmid, running, known)| Seen { path, vmid, running, known });
    prop_oneof![
        Just(Reply::Done),
        fault().prop_map(Reply::Refused),
        vec(surveyed, 0..3).prop_map(Reply::Surveyed),
        vec(seen, 0..3).prop_map(Reply::Seen),
    ]
}

fn directive() -> impl Strategy<Value = Directive> {
    let recorded = (path(), kind(), option::of(vmid())).prop_map(|(path, kind, vmid)| Recorded { path, kind, vmid });
    (tree(), run(), generation(), verb(), policy(), vec(recorded, 0..3)).prop_map(
        |(tree, run, generation, verb, policy, recorded)| Directive { tree, run, generation, verb, policy, recorded },
    )
}

/// An order that nests up to four levels deep.
pub(crate) fn order() -> impl Strategy<Value = Order> {
    let leaf = order_with(Just(Vec::new()));
    leaf.prop_recursive(3, 8, 2, |inner| order_with(vec(child(inner), 0..3)))
}

fn order_with(children: impl Strategy<Value = Vec<ChildOrder>>) -> impl Strategy<Value = Order> {
    let own = (machine(), configuration()).prop_map(|(machine, configuration)| Own { machine, configuration });
    (tree(), path(), run(), generation(), policy(), option::of(own), children).prop_map(
        |(tree, path, run, generation, policy, own, children)| Order {
            tree,
            path,
            run,
            generation,
            policy,
            own,
            children,
        },
    )
}

fn child(order: impl Strategy<Value = Order>) -> impl Strategy<Value = ChildOrder> {
    (node_name(), machine(), cloud_init(), secret(), order).prop_map(|(name, machine, cloud_init, token, order)| {
        ChildOrder { name, machine, cloud_init, token, order: OpaqueOrder::close(&order).unwrap() }
    })
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let spec = (site_name(), text()).prop_map(|(name, document)| Spec { name, document }).boxed();
    prop_oneof![
        Just(Configuration::Nothing),
        spec.clone().prop_map(Configuration::Push),
        spec.prop_map(Configuration::Pull),
    ]
}

fn cloud_init() -> impl Strategy<Value = CloudInit> {
    let user = (option::of(text()), vec(text(), 0..3), option::of(secret()), vec(text(), 0..3));
    let net = (option::of(text()), option::of(text()), vec(text(), 0..3), option::of(text()));
    (user, net).prop_map(|((user, ssh_keys, root_password_hash, packages), (address, gateway, dns_servers, domain))| {
        CloudInit { user, ssh_keys, root_password_hash, packages, address, gateway, dns_servers, domain }
    })
}

fn machine() -> impl Strategy<Value = Machine> {
    let size = (any::<u32>(), any::<u64>(), any::<u64>());
    (kind(), option::of(site_name()), size, option::of(vmid()), option::of(text())).prop_map(
        |(kind, image, (cores, memory_mib, disk_gib), vmid, bridge)| Machine {
            kind,
            image,
            cores,
            memory_mib,
            disk_gib,
            vmid,
            bridge,
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let on_error = select(vec![OnError::Stop, OnError::Rollback, OnError::Continue]);
    (on_error, any::<(bool, bool)>(), any::<u16>(), any::<u8>(), any::<[u64; 8]>()).prop_map(
        |(on_error, (prune, verify), parallel, attempts, ms)| {
            let [provision, boot, host, configure, check, destroy, answer, grace] = ms.map(Millis);
            let limits = Limits { provision, boot, host, configure, verify: check, destroy, answer, grace };
            Policy { on_error, prune, verify, parallel, attempts, limits }
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let numbers = any::<(u64, u64, u64)>();
    (numbers, origin(), scope(), change()).prop_map(|((position, seq, at_ms), origin, scope, change)| Entry {
        position: Position(position),
        event: Event { origin, seq: Seq(seq), at_ms, scope, change },
    })
}

fn change() -> impl Strategy<Value = Change> {
    let node = (path(), kind(), status(), option::of(action()), option::of(vmid()), option::of(ip()));
    let node = (node, any::<bool>(), option::of(fault())).prop_map(
        |((path, kind, status, action, vmid, ip), simulated, fault)| {
            Change::Node(NodeChange { path, kind, status, action, vmid, ip, simulated, fault })
        },
    );
    let phase = (path(), phase(), phase_status(), any::<u64>(), option::of(text())).prop_map(
        |(path, phase, status, duration_ms, note)| {
            Change::Phase(PhaseChange { path, phase, status, duration_ms, note })
        },
    );
    let settled = (path(), option::of(verb())).prop_map(|(path, word)| Change::Settled(Settled { path, word }));
    let gap = (origin(), any::<u64>()).prop_map(|(origin, after)| Change::Gap(Gap { origin, after: Seq(after) }));
    let drift = (path(), any::<(u32, u64, bool)>(), vec(text(), 0..=Drift::LINES)).prop_map(
        |(path, (differences, checked_ms, mended), lines)| {
            Change::Drift(Drift { path, differences, lines, checked_ms, mended })
        },
    );
    prop_oneof![node, phase, settled, gap, drift]
}

fn view() -> impl Strategy<Value = NodeView> {
    let phases = (phase(), phase_status(), any::<u64>(), option::of(text()))
        .prop_map(|(phase, status, duration_ms, note)| PhaseView { phase, status, duration_ms, note });
    let what = (path(), kind(), generation(), status(), action());
    let machine = (option::of(vmid()), option::of(ip()), any::<bool>(), option::of(fault()));
    (what, machine, any::<(Option<u64>, Option<u64>)>(), vec(phases, 0..3)).prop_map(
        |((path, kind, generation, status, action), (vmid, ip, simulated, fault), (started_ms, ended_ms), phases)| {
            NodeView {
                path,
                kind,
                generation,
                status,
                action,
                vmid,
                ip,
                simulated,
                fault,
                started_ms,
                ended_ms,
                phases,
            }
        },
    )
}

fn presence() -> impl Strategy<Value = Presence> {
    let times = any::<(u128, bool, u64, u64, u16)>();
    (path(), times, text(), text(), facts()).prop_map(
        |(path, (life, connected, since_ms, seen_ms, protocol), software, address, facts)| Presence {
            path,
            incarnation: Incarnation::from_bits(life),
            connected,
            since_ms,
            seen_ms,
            software,
            protocol,
            address,
            facts,
        },
    )
}

fn progress() -> impl Strategy<Value = Progress> {
    (scope(), path(), phase(), text()).prop_map(|(scope, path, phase, text)| Progress { scope, path, phase, text })
}

fn facts() -> impl Strategy<Value = Facts> {
    let words = (text(), text(), text(), text());
    (words, any::<(u32, [u64; 5], bool)>()).prop_map(|((hostname, os, kernel, arch), (cores, sizes, nested))| {
        let [memory_mib, memory_free_mib, disk_gib, disk_free_gib, load_milli] = sizes;
        Facts {
            hostname,
            os,
            kernel,
            arch,
            cores,
            memory_mib,
            memory_free_mib,
            disk_gib,
            disk_free_gib,
            load_milli,
            nested,
        }
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    (select(Code::ALL), text(), option::of(text()), option::of(path()), any::<bool>())
        .prop_map(|(code, message, hint, node, retryable)| Fault { code, message, hint, node, retryable })
}

fn scope() -> impl Strategy<Value = Scope> {
    (tree(), run(), generation()).prop_map(|(tree, run, generation)| Scope { tree, run, generation })
}

fn origin() -> impl Strategy<Value = Origin> {
    (path(), any::<u128>()).prop_map(|(path, bits)| Origin { path, journal: JournalId::from_bits(bits) })
}

fn tree() -> impl Strategy<Value = TreeId> {
    (any::<u128>(), host_name(), manifest_name()).prop_map(|(bits, host, manifest)| TreeId {
        site: SiteId::from_bits(bits),
        host,
        manifest,
    })
}
