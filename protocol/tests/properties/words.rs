//! Random names, places and words: what messages are made of.

use std::net::IpAddr;

use homestak_protocol::event::{Action, Phase, PhaseStatus, Status};
use homestak_protocol::ids::{Generation, RunId, Vmid};
use homestak_protocol::name::{HostName, ManifestName, NodeName, SiteName};
use homestak_protocol::order::{NodeKind, Verb};
use homestak_protocol::path::{MAX_DEPTH, NodePath};
use homestak_protocol::secret::Secret;
use homestak_protocol::token::Claims;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

pub(crate) fn node_name() -> impl Strategy<Value = NodeName> {
    "[a-z][a-z0-9-]{0,9}".prop_map(|text| NodeName::parse(&text).unwrap())
}

pub(crate) fn host_name() -> impl Strategy<Value = HostName> {
    "[a-zA-Z0-9][a-zA-Z0-9.-]{0,9}".prop_map(|text| HostName::parse(&text).unwrap())
}

pub(crate) fn manifest_name() -> impl Strategy<Value = ManifestName> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,9}".prop_map(|text| ManifestName::parse(&text).unwrap())
}

pub(crate) fn site_name() -> impl Strategy<Value = SiteName> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,9}".prop_map(|text| SiteName::parse(&text).unwrap())
}

/// Texts around the edge between names and others: of every length near the limit, and with the characters that matter.
pub(crate) fn almost_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9-]{0,66}",
        4 => "[a-zA-Z0-9._-]{0,66}",
        2 => "[a-zA-Z0-9._/\\\\\\x00 @:%äß-]{0,12}",
        1 => ".{0,300}",
    ]
}

/// The coordinator, a host, or a node at any depth that there may be.
pub(crate) fn path() -> impl Strategy<Value = NodePath> {
    let deep = prop_oneof![8 => 1..4_usize, 1 => 4..=MAX_DEPTH];
    let node = (host_name(), manifest_name(), deep.prop_flat_map(|depth| vec(node_name(), depth))).prop_map(
        |(host, manifest, nodes)| {
            nodes.iter().fold(NodePath::host_root(&host), |place, node| place.child(&manifest, node).unwrap())
        },
    );
    prop_oneof![
        1 => Just(NodePath::coordinator()),
        2 => host_name().prop_map(|host| NodePath::host_root(&host)),
        7 => node,
    ]
}

/// Claims as we mint them, and with what others may add.
pub(crate) fn claims() -> impl Strategy<Value = Claims> {
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
        any::<bool>().prop_map(|yes| Value::from(vec![Value::from(yes), Value::Null])),
    ];
    let extra = vec(("x-[a-z]{1,8}", value), 0..3);
    let numbers = any::<(Option<u64>, Option<u64>, Option<u128>)>();
    (".{1,20}", ".{1,20}", option::of(path()), numbers, extra).prop_map(
        |(node, spec, path, (issued_at, expires, nonce), mut extra)| {
            extra.sort_by(|a, b| a.0.cmp(&b.0));
            extra.dedup_by(|a, b| a.0 == b.0);
            Claims { node, spec, issued_at, path, nonce, expires, extra }
        },
    )
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    ".{0,12}"
}

pub(crate) fn secret() -> impl Strategy<Value = Secret> {
    text().prop_map(Secret::new)
}

pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

pub(crate) fn generation() -> impl Strategy<Value = Generation> {
    any::<u64>().prop_map(Generation)
}

pub(crate) fn run() -> impl Strategy<Value = RunId> {
    any::<u64>().prop_map(RunId::from_bits)
}

pub(crate) fn vmid() -> impl Strategy<Value = Vmid> {
    (Vmid::MIN..=Vmid::MAX).prop_map(|id| Vmid::new(id).unwrap())
}

pub(crate) fn ip() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
}

pub(crate) fn kind() -> impl Strategy<Value = NodeKind> {
    select(vec![NodeKind::Vm, NodeKind::Ct, NodeKind::Pve])
}

pub(crate) fn verb() -> impl Strategy<Value = Verb> {
    select(vec![Verb::Halt, Verb::Cancel, Verb::Rollback, Verb::Destroy])
}

pub(crate) fn status() -> impl Strategy<Value = Status> {
    select(Status::ALL)
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    select(Action::ALL)
}

pub(crate) fn phase() -> impl Strategy<Value = Phase> {
    select(Phase::ALL)
}

pub(crate) fn phase_status() -> impl Strategy<Value = PhaseStatus> {
    select(PhaseStatus::ALL)
}
