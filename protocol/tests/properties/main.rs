//! What holds for every name, path, token, frame and message, tried on random ones.
#![expect(clippy::unwrap_used, reason = "what unwraps wrongly here fails the test")]

mod random;
mod words;

use homestak_protocol::codec;
use homestak_protocol::frame::{self, HEADER, MAX_FRAME, MAX_FRAME_UNPROVEN};
use homestak_protocol::message::{
    Ack, EnrolReply, EnrolRequest, Fetched, Greeting, Hello, Opening, Reply, Report, Request,
};
use homestak_protocol::name::{HostName, MAX_NAME, ManifestName, NodeName, SiteName};
use homestak_protocol::order::{OpaqueOrder, Order};
use homestak_protocol::path::{MAX_DEPTH, NodePath};
use homestak_protocol::token::{self, SigningKey};
use proptest::collection::vec;
use proptest::prelude::*;
use random::Message;

/// Reads the bytes as every kind of message there is; what is accepted must survive.
fn read_as_everything(bytes: &[u8]) {
    fn same_again<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(value) = codec::decode::<T>(bytes) {
            assert_eq!(codec::decode::<T>(&codec::encode(&value).unwrap()).unwrap(), value);
        }
    }
    same_again::<EnrolRequest>(bytes);
    same_again::<EnrolReply>(bytes);
    same_again::<Hello>(bytes);
    same_again::<Greeting>(bytes);
    same_again::<Opening>(bytes);
    same_again::<Fetched>(bytes);
    same_again::<Report>(bytes);
    same_again::<Ack>(bytes);
    same_again::<Request>(bytes);
    same_again::<Reply>(bytes);
    same_again::<Order>(bytes);
    same_again::<OpaqueOrder>(bytes);
}

proptest! {
    #[test]
    fn a_message_survives_the_wire(message in random::message()) {
        prop_assert!(message.reads(&message.encode()));
    }

    #[test]
    fn a_part_of_a_message_is_never_taken_for_a_whole(message in random::message(), cut in any::<prop::sample::Index>()) {
        let bytes = message.encode();
        let part = &bytes[..cut.index(bytes.len())];
        prop_assert!(!message.reads(part), "{} of {} bytes were taken", part.len(), bytes.len());
    }

    #[test]
    fn nothing_may_follow_a_message(message in random::message(), more in vec(any::<u8>(), 1..9)) {
        let mut bytes = message.encode();
        bytes.extend(more);
        prop_assert!(!message.reads(&bytes));
    }

    #[test]
    fn random_bytes_are_read_or_refused_without_a_panic(bytes in vec(any::<u8>(), 0..600)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused_without_a_panic(
        message in random::message(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = message.encode();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read_as_everything(&bytes);
    }

    #[test]
    fn an_order_of_any_depth_reaches_its_addressee_unread(order in random::order()) {
        let closed = OpaqueOrder::close(&order).unwrap();
        let carried: OpaqueOrder = codec::decode(&codec::encode(&closed).unwrap()).unwrap();
        prop_assert_eq!(carried.open().unwrap(), order);
    }

    #[test]
    fn an_order_of_a_newer_version_is_carried_but_not_opened(order in random::order(), version in 2..u16::MAX) {
        let mut newer = OpaqueOrder::close(&order).unwrap();
        newer.version = version;
        let carried: OpaqueOrder = codec::decode(&codec::encode(&newer).unwrap()).unwrap();
        prop_assert_eq!(&carried, &newer);
        prop_assert!(carried.open().is_err());
    }

    #[test]
    fn frames_come_out_of_a_stream_as_they_went_in(messages in vec(random::message(), 0..5)) {
        let stream: Vec<u8> = messages.iter().flat_map(Message::seal).collect();
        let mut rest = stream.as_slice();
        for message in &messages {
            let (header, after) = rest.split_first_chunk::<HEADER>().unwrap();
            let (body, after) = after.split_at(frame::body_length(*header, MAX_FRAME).unwrap());
            prop_assert!(message.reads(body));
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn a_header_is_taken_exactly_up_to_the_limit(header in any::<[u8; HEADER]>(), limit in 0..=MAX_FRAME) {
        let claimed = u32::from_be_bytes(header) as usize;
        for limit in [limit, claimed, MAX_FRAME_UNPROVEN] {
            prop_assert_eq!(frame::body_length(header, limit).ok(), (claimed <= limit).then_some(claimed));
        }
    }

    #[test]
    fn a_text_is_a_name_or_refused(text in words::almost_name()) {
        let plain = |allowed: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || allowed.contains(c));
        let first = text.chars().next();
        let short = !text.is_empty() && text.len() <= MAX_NAME;
        let starts = first.is_some_and(|c| c.is_ascii_alphanumeric());
        let hostname = plain("-") && !text.chars().any(|c| c.is_ascii_uppercase());
        prop_assert_eq!(
            NodeName::parse(&text).is_ok(),
            short && hostname && first.is_some_and(|c| c.is_ascii_lowercase())
        );
        prop_assert_eq!(HostName::parse(&text).is_ok(), short && starts && plain(".-"));
        prop_assert_eq!(ManifestName::parse(&text).is_ok(), short && starts && plain("._-"));
        prop_assert_eq!(SiteName::parse(&text).is_ok(), short && starts && plain("._-"));
        if let Ok(name) = SiteName::parse(&text) {
            prop_assert_eq!(name.as_str(), &text);
        }
    }

    #[test]
    fn a_path_and_its_text_are_the_same(path in words::path(), text in ".{0,40}") {
        prop_assert_eq!(&NodePath::parse(path.as_str()).unwrap(), &path);
        if let Ok(read) = NodePath::parse(&text) {
            prop_assert_eq!(read.as_str(), &text);
        }
    }

    #[test]
    fn every_step_down_leads_to_the_place_and_every_parent_back(path in words::path()) {
        let mut place = NodePath::coordinator();
        let mut steps = 0;
        while place != path {
            let step = place.step_towards(&path).unwrap();
            prop_assert!(place.carries(&step) && step.is_within(&place) && !place.is_within(&step));
            prop_assert_eq!(step.parent(), (!place.is_coordinator()).then(|| place.clone()));
            prop_assert!(path.is_within(&step));
            place = step;
            steps += 1;
        }
        prop_assert_eq!(steps, path.depth() + usize::from(!path.is_coordinator()));
        prop_assert_eq!(path.step_towards(&path), None);
    }

    #[test]
    fn no_path_is_deeper_than_the_limit(more in 1..40_usize) {
        let deep = format!("h/m{}", "/n".repeat(MAX_DEPTH + more));
        prop_assert!(NodePath::parse(&deep).is_err());
        let deepest = NodePath::parse(&format!("h/m{}", "/n".repeat(MAX_DEPTH))).unwrap();
        let (manifest, name) = (ManifestName::parse("m").unwrap(), NodeName::parse("n").unwrap());
        prop_assert!(deepest.child(&manifest, &name).is_err());
    }

    #[test]
    fn a_token_says_what_was_minted_and_no_other_byte_is_taken(
        claims in words::claims(),
        bits in any::<[u8; 32]>(),
        place in any::<prop::sample::Index>(),
        byte in any::<char>(),
    ) {
        let key = SigningKey::from_bytes(bits);
        let minted = token::mint(&key, &claims).unwrap();
        prop_assert_eq!(token::verify(&key, &minted), Ok(claims));
        let mut other: Vec<char> = minted.chars().collect();
        let place = place.index(other.len());
        other[place] = byte;
        let other: String = other.into_iter().collect();
        prop_assert!(other == minted || token::verify(&key, &other).is_err());
    }
}
