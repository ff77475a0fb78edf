//! Random bytes as a stream of frames, read as a peer reads them: header, limit, body. The first byte says which messages
//! are expected and whether the peer has proved who it is.
#![no_main]

use homestak_protocol::frame::{self, FrameError, HEADER, MAX_FRAME, MAX_FRAME_UNPROVEN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut stream)) = data.split_first() else { return };
    let limit = if first < 128 { MAX_FRAME_UNPROVEN } else { MAX_FRAME };
    while let Some((header, rest)) = stream.split_first_chunk::<HEADER>() {
        let length = match frame::body_length(*header, limit) {
            Ok(length) => length,
            Err(FrameError::TooLarge { length, .. }) => {
                assert!(length > limit);
                return;
            }
            Err(other) => panic!("a header alone cannot be wrong in another way: {other}"),
        };
        assert!(length <= limit);
        let Some((body, rest)) = rest.split_at_checked(length) else { return };
        homestak_fuzz::survives(first, body);
        stream = rest;
    }
});
