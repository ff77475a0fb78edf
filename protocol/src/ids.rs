//! Numbers and random identifiers, each a type of its own so that one cannot be given for another.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! hex128 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(u128);

        impl $name {
            /// Wraps 128 bits that the caller drew at random.
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// The bits.
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// Parses the 32 hex digits that [`fmt::Display`] writes.
            pub fn parse(text: &str) -> Option<Self> {
                let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                plain.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($what, "({:032x})"), self.0)
            }
        }
    };
}

hex128!(
    /// One life of a machine, from creation to destruction. Creating it again starts another.
    Incarnation,
    "Incarnation"
);
hex128!(
    /// A journal: drawn when it is first made, so that numbers of a lost journal are never taken for those of its successor.
    JournalId,
    "JournalId"
);
hex128!(
    /// A site: drawn once by the coordinator's state folder.
    SiteId,
    "SiteId"
);

/// A run: one verb on one tree. Shown to people, so it is short: 12 lower-case hex digits; in JSON too, where a number of
/// this size may lose its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

impl RunId {
    /// Keeps 48 of the bits that the caller drew at random.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & 0xffff_ffff_ffff)
    }

    /// Parses the 12 hex digits that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 12 && text.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let bits = u64::deserialize(deserializer)?;
            let run = Self::from_bits(bits);
            return if run.0 == bits { Ok(run) } else { Err(de::Error::custom("a run's id has 48 bits")) };
        }
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("a run's id has 12 hex digits"))
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter!(
    /// Counts the orders of a tree. It only grows; whoever holds a higher one refuses a lower.
    Generation
);
counter!(
    /// Numbers the events of one origin, contiguously from 1.
    Seq
);
counter!(
    /// Numbers the entries of one journal's outbox, own and relayed, contiguously from 1: what a parent acknowledges.
    Position
);

/// The id of a machine on its host, as PVE counts them: 100 to 999,999,999 (pve-docs, `vmid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vmid(u32);

impl Vmid {
    /// The lowest id that PVE gives out.
    pub const MIN: u32 = 100;
    /// The highest id that PVE takes.
    pub const MAX: u32 = 999_999_999;

    /// Checks the range.
    pub fn new(id: u32) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&id).then_some(Self(id))
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vmid {
    type Error = String;
    fn try_from(id: u32) -> Result<Self, String> {
        Self::new(id).ok_or_else(|| format!("a vmid lies between {} and {}, not {id}", Self::MIN, Self::MAX))
    }
}

impl From<Vmid> for u32 {
    fn from(id: Vmid) -> u32 {
        id.0
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn a_run_is_text_for_people_and_a_number_on_the_wire() {
        let run = RunId::parse("3f9c21d04b7e").unwrap();
        assert_eq!(serde_json::to_string(&run).unwrap(), "\"3f9c21d04b7e\"");
        assert_eq!(serde_json::from_str::<RunId>("\"3f9c21d04b7e\"").unwrap(), run);
        assert!(serde_json::from_str::<RunId>("\"3f9c\"").is_err());
        let bytes = codec::encode(&run).unwrap();
        assert_eq!(bytes, codec::encode(&0x3f9c_21d0_4b7e_u64).unwrap());
        assert_eq!(codec::decode::<RunId>(&bytes).unwrap(), run);
        assert!(codec::decode::<RunId>(&codec::encode(&(1_u64 << 48)).unwrap()).is_err());
    }
}
