//! Wire versions: what two processes of different age have in common.
//!
//! Agents live in images for years, so a difference is the normal case. The ALPN names the family (`homestak/1`); within
//! it, Hello and Welcome agree on the highest protocol number that both speak.

use serde::{Deserialize, Serialize};

/// QUIC ALPN of the mutually authenticated link.
pub const ALPN_LINK: &[u8] = b"homestak/1";
/// QUIC ALPN of enrolment, where the child has no certificate yet (or an expired one).
pub const ALPN_ENROL: &[u8] = b"homestak-enrol/1";

/// The protocol numbers that this build speaks.
pub const SUPPORTED: Range = Range { lowest: 1, highest: 8 };

/// The first protocol number whose parents understand [`crate::message::Opening::Fetch`]; an older one would take it for
/// foul play and close the link.
pub const FETCH: u16 = 2;

/// The first protocol number whose children understand [`crate::message::Request::Look`].
pub const LOOK: u16 = 3;

/// The first protocol number whose parents understand [`crate::event::Change::Drift`]; an older one is told it in words
/// that it knows.
pub const DRIFT: u16 = 4;

/// The first protocol number whose children understand [`crate::message::Request::Inventory`] and
/// [`crate::message::Request::Discard`].
pub const INVENTORY: u16 = 5;

/// The first protocol number whose parents understand [`crate::message::Fetch::Image`], and whose children
/// [`crate::message::Request::Sources`].
pub const IMAGES: u16 = 7;

/// The first protocol number whose children understand [`crate::message::Request::Compare`].
pub const COMPARE: u16 = 8;

/// The first protocol number whose parents understand [`crate::message::Fetch::Template`].
pub const TEMPLATES: u16 = 8;

/// The first protocol number whose children read version 2 of orders, whether their Hello says so or is known only to their
/// parent.
pub const ORDER_EXTRAS: u16 = 5;

/// The first protocol number whose children understand [`crate::message::Request::Describe`].
pub const DESCRIBE: u16 = 6;

/// An inclusive range of protocol numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The oldest that is still spoken.
    pub lowest: u16,
    /// The newest that is spoken.
    pub highest: u16,
}

impl Range {
    /// The highest number in both ranges; none where they do not meet or one of them is inside out.
    pub fn common(self, other: Range) -> Option<u16> {
        let sane = self.lowest <= self.highest && other.lowest <= other.highest;
        let highest = self.highest.min(other.highest);
        (sane && highest >= self.lowest.max(other.lowest)).then_some(highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_taken_from_either_side() {
        let range = |lowest, highest| Range { lowest, highest };
        for (a, b, common) in [
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 3), range(2, 5), Some(3)),
            (range(1, 2), range(3, 4), None),
            (range(2, 1), range(1, 4), None),
            (range(0, u16::MAX), range(7, 7), Some(7)),
        ] {
            assert_eq!((a.common(b), b.common(a)), (common, common));
        }
    }
}
