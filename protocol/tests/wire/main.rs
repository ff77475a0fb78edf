//! The wire format as it was released: the committed bytes of one value of each message, and of each word in an enum.
//!
//! The files in `golden/` are never edited. An agent of any age reads what they hold, so a test that fails here means that
//! the code has to change back, not the file. New messages get new files, new words new lines at the end of theirs:
//! `HOMESTAK_GOLDEN=new cargo test -p homestak-protocol --test wire` writes those and touches nothing else.
#![expect(clippy::unwrap_used, reason = "what unwraps wrongly here fails the test")]

mod golden;
mod samples;
mod words;

use golden::Folder;

#[test]
fn every_message_has_the_bytes_that_were_released() {
    let mut folder = Folder::open("messages");
    samples::check_all(&mut folder);
    folder.finish();
}

#[test]
fn every_word_keeps_its_number() {
    let mut folder = Folder::open("words");
    words::check_all(&mut folder);
    folder.finish();
}

#[test]
fn what_stands_outside_of_messages_is_as_it_was_released() {
    use homestak_protocol::{frame, order, version};
    assert_eq!(version::ALPN_LINK, b"homestak/1");
    assert_eq!(version::ALPN_ENROL, b"homestak-enrol/1");
    assert_eq!(version::SUPPORTED.lowest, 1, "version 1 is in the field");
    assert_eq!(order::ORDER_VERSION, 2);
    assert_eq!((frame::MAX_FRAME, frame::MAX_FRAME_UNPROVEN), (33_554_432, 16_384));
    assert_eq!(frame::seal(&7_u8).ok(), Some(vec![0, 0, 0, 1, 7]));
}
