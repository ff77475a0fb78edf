//! Ids of 128 bits in JSON: 32 hex digits instead of a number that readers would round.

macro_rules! as_hex {
    ($module:ident, $type:ident) => {
        pub(crate) mod $module {
            use homestak_protocol::ids::$type;
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            pub(crate) fn serialize<S: Serializer>(id: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(id)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = String::deserialize(deserializer)?;
                $type::parse(&text).ok_or_else(|| D::Error::custom("32 hex digits are expected here"))
            }
        }
    };
}

as_hex!(site, SiteId);
as_hex!(incarnation, Incarnation);
