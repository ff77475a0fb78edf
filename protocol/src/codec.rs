//! The one place that knows how values become bytes: bincode 2 in its standard configuration (little endian, variable
//! integers), with a limit on what a decode may allocate.
//!
//! bincode 2.0.1 is feature-complete and no longer maintained, which suits a frozen wire format; it stays behind these
//! functions so that it can be replaced without anybody noticing.

use bincode::config;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{MAX_FRAME, MAX_FRAME_UNPROVEN};

/// What a decode may allocate, whatever lengths the bytes claim: the largest frame, since text and bytes are copied once.
const LIMIT: usize = MAX_FRAME;

/// The same for what fits into a frame of a peer that has not proved who it is, where a text that is claimed but not there
/// would cost most. Sixteen times its bytes, so that nothing honest is refused: the widest integer counts as sixteen bytes
/// and may have been written as one.
const LIMIT_SMALL: usize = 16 * MAX_FRAME_UNPROVEN;

/// Why bytes are not the value that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value holds something that the format cannot carry.
    #[error("a value cannot be encoded: {0}")]
    Encode(#[source] bincode::error::EncodeError),
    /// Truncated, oversized, or of another shape.
    #[error("bytes cannot be decoded: {0}")]
    Decode(#[source] bincode::error::DecodeError),
    /// The value ended before the bytes did.
    #[error("bytes cannot be decoded: {0} left over")]
    Trailing(usize),
}

/// Encodes a value.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, config::standard()).map_err(CodecError::Encode)
}

/// Decodes a value that takes up all of the bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let read = if bytes.len() <= MAX_FRAME_UNPROVEN {
        bincode::serde::decode_from_slice(bytes, config::standard().with_limit::<LIMIT_SMALL>())
    } else {
        bincode::serde::decode_from_slice(bytes, config::standard().with_limit::<LIMIT>())
    };
    let (value, used) = read.map_err(CodecError::Decode)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(CodecError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_and_nothing_may_follow_it() {
        let value = (7_u64, "edge".to_owned(), vec![1_u8, 2, 3]);
        let mut bytes = encode(&value).unwrap();
        assert_eq!(decode::<(u64, String, Vec<u8>)>(&bytes).unwrap(), value);
        bytes.push(0);
        assert!(matches!(decode::<(u64, String, Vec<u8>)>(&bytes), Err(CodecError::Trailing(1))));
        assert!(decode::<(u64, String, Vec<u8>)>(&bytes[..5]).is_err());
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        // A length of 2^63 in nine bytes.
        let bytes = [253, 0, 0, 0, 0, 0, 0, 0, 0x80];
        assert!(decode::<Vec<u8>>(&bytes).is_err());
        assert!(decode::<String>(&bytes).is_err());
        assert!(decode::<Vec<u64>>(&bytes).is_err());
    }
}
