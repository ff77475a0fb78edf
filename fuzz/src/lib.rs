//! What the fuzz targets have in common: the promise that every message keeps, whatever bytes it is read from.
//!
//! A decode may refuse; it may not panic, hang or allocate past its bounds (libFuzzer watches those three). What it does
//! accept survives being encoded and decoded again.

use std::fmt::Debug;

use homestak_protocol::codec;
use homestak_protocol::message::{
    Ack, EnrolReply, EnrolRequest, Fetched, Greeting, Hello, Opening, Reply, Report, Request,
};
use homestak_protocol::order::{OpaqueOrder, Order};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many kinds of message [`survives`] knows.
pub const KINDS: u8 = 11;

/// Reads the bytes as the message of that number, and checks that what was accepted survives.
pub fn survives(kind: u8, bytes: &[u8]) {
    match kind % KINDS {
        0 => same_again::<EnrolRequest>(bytes),
        1 => same_again::<EnrolReply>(bytes),
        2 => same_again::<Hello>(bytes),
        3 => same_again::<Greeting>(bytes),
        4 => same_again::<Opening>(bytes),
        5 => same_again::<Report>(bytes),
        6 => same_again::<Ack>(bytes),
        7 => same_again::<Reply>(bytes),
        8 => order(bytes),
        9 => request(bytes),
        _ => same_again::<Fetched>(bytes),
    }
}

fn same_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes) else { return };
    let encoded = codec::encode(&value).expect("what was decoded can be encoded");
    let again: T = codec::decode(&encoded).expect("what was encoded can be decoded");
    assert_eq!(again, value);
}

fn order(bytes: &[u8]) {
    same_again::<Order>(bytes);
    same_again::<OpaqueOrder>(bytes);
    if let Ok(closed) = codec::decode::<OpaqueOrder>(bytes) {
        open(&closed);
    }
}

fn request(bytes: &[u8]) {
    same_again::<Request>(bytes);
    if let Ok(Request::Order { order, .. }) = codec::decode::<Request>(bytes) {
        open(&order);
    }
}

/// Opens an order and those of its descendants, as the agents below would.
fn open(closed: &OpaqueOrder) {
    let Ok(order) = closed.open() else { return };
    for child in &order.children {
        open(&child.order);
    }
}
