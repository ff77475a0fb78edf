//! What a peer can make a decode allocate: a few MiB at most for a frame of the size that is taken from one that has not
//! proved who it is, whatever lengths it claims. A program of its own, since it counts every allocation.

#![expect(clippy::unwrap_used, reason = "what unwraps wrongly here fails the test")]

use std::path::PathBuf;

use homestak_protocol::codec;
use homestak_protocol::frame::MAX_FRAME_UNPROVEN;
use homestak_protocol::message::{
    Ack, EnrolReply, EnrolRequest, Fetched, Greeting, Hello, Opening, Reply, Report, Request,
};
use homestak_protocol::order::{OpaqueOrder, Order};
use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTER: PeakAlloc = PeakAlloc;

/// Each list reserves at most 1 MiB ahead of its elements (serde's own limit), and lists nest three deep at most.
const BOUND: usize = 4 * 1024 * 1024;

/// Lengths that a liar claims: past every limit, just within the largest frame, and one that a reader might believe.
const LIES: [u64; 4] = [u64::MAX, 1 << 40, 32 * 1024 * 1024 - 64, 1_000_000];

/// The most that was allocated at once while reading the bytes as each kind of message.
fn peak(bytes: &[u8]) -> usize {
    fn one<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> usize {
        let before = COUNTER.current_usage();
        COUNTER.reset_peak_usage();
        drop(codec::decode::<T>(bytes));
        COUNTER.peak_usage().saturating_sub(before)
    }
    let peaks = [
        one::<EnrolRequest>(bytes),
        one::<EnrolReply>(bytes),
        one::<Hello>(bytes),
        one::<Greeting>(bytes),
        one::<Opening>(bytes),
        one::<Fetched>(bytes),
        one::<Report>(bytes),
        one::<Ack>(bytes),
        one::<Request>(bytes),
        one::<Reply>(bytes),
        one::<Order>(bytes),
        one::<OpaqueOrder>(bytes),
    ];
    peaks.into_iter().max().unwrap()
}

/// The committed bytes of every message.
fn released() -> Vec<Vec<u8>> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "messages"].iter().collect();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    files
        .map(|text| {
            let digits: String = text.split_whitespace().collect();
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
        })
        .collect()
}

/// A varint of nine bytes, as the codec writes them.
fn claim(length: u64) -> [u8; 9] {
    let mut bytes = [253; 9];
    bytes[1..].copy_from_slice(&length.to_le_bytes());
    bytes
}

#[test]
fn no_claimed_length_makes_a_decode_allocate_past_its_bound() {
    let messages = released();
    assert!(messages.len() > 20, "there are golden messages to start from");
    for message in &messages {
        for at in 0..message.len() {
            for lie in LIES {
                let mut bytes = message[..at].to_vec();
                bytes.extend(claim(lie));
                bytes.extend(&message[at + 1..]);
                let peak = peak(&bytes);
                assert!(peak <= BOUND, "{peak} bytes allocated for a claim of {lie} at {at} of {message:02x?}");
            }
        }
    }
    // A frame full of the cheapest elements there are, behind every start of a message.
    for message in &messages {
        for at in 0..message.len().min(64) {
            let mut bytes = message[..at].to_vec();
            bytes.extend(claim((MAX_FRAME_UNPROVEN - at) as u64));
            bytes.resize(MAX_FRAME_UNPROVEN, 0);
            let peak = peak(&bytes);
            assert!(peak <= BOUND, "{peak} bytes allocated for a frame of empty elements");
        }
    }
}
