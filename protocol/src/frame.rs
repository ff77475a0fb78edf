//! Frames: a length of four bytes, big endian, then that many bytes of one encoded message.
//!
//! Pure: the reader of a stream asks how long the next frame is and hands over its body.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError};

/// The largest frame: an order for 10,000 nodes with full specs has some 20 MB; a hub may hold one for each child at once.
pub const MAX_FRAME: usize = 32 * 1024 * 1024;

/// The largest frame before the peer has proved who it is: Hello, token and CSR have under 4 KiB.
pub const MAX_FRAME_UNPROVEN: usize = 16 * 1024;

/// Bytes of the length.
pub const HEADER: usize = 4;

/// Why a frame is refused.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than this stream allows.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLarge {
        /// What the header claims, or the body has.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The body is not a message.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A message as a whole frame, ready to be written.
pub fn seal<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = codec::encode(message)?;
    let too_large = FrameError::TooLarge { length: body.len(), limit: MAX_FRAME };
    if body.len() > MAX_FRAME {
        return Err(too_large);
    }
    let length = u32::try_from(body.len()).map_err(|_| too_large)?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// The length of the body that follows this header, if it is within the limit. Nothing is allocated before this said yes.
pub fn body_length(header: [u8; HEADER], limit: usize) -> Result<usize, FrameError> {
    let claimed = u32::from_be_bytes(header);
    let length = usize::try_from(claimed).unwrap_or(usize::MAX);
    if length > limit { Err(FrameError::TooLarge { length, limit }) } else { Ok(length) }
}

/// The message in a frame's body.
pub fn open<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(codec::decode(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_length_and_its_body() {
        let frame = seal(&"edge".to_owned()).unwrap();
        assert_eq!(frame, [0, 0, 0, 5, 4, b'e', b'd', b'g', b'e']);
        let header = frame[..HEADER].try_into().unwrap();
        assert_eq!(body_length(header, MAX_FRAME).unwrap(), 5);
        assert_eq!(open::<String>(&frame[HEADER..]).unwrap(), "edge");
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_header_alone() {
        assert!(body_length([0xff; 4], MAX_FRAME).is_err());
        assert!(body_length([0, 0, 0x40, 1], MAX_FRAME_UNPROVEN).is_err());
        assert!(body_length([0, 0, 0x40, 0], MAX_FRAME_UNPROVEN).is_ok());
    }
}
