//! `envs/NAME.yaml`: names of environments, kept from sites that have them. All that is read is the posture.

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::Fields;
use homestak_protocol::name::SiteName;

use super::{Names, take};

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::site) struct Env {
    /// The posture of its machines.
    pub posture: Option<SiteName>,
}

impl Env {
    pub(in crate::site) fn read(fields: &Fields<'_>, names: &Names, report: &mut Report<'_>) -> Self {
        fields.only_warn(&["posture"], |_| None, report);
        let field = take::filled(fields, "posture");
        let posture = field.and_then(|field| field.name(SiteName::parse, report));
        if let (Some(field), Some(name)) = (field, &posture)
            && !names.postures.contains(name)
        {
            take::unknown(&field, "posture", Code::UnknownPosture, name.as_str(), &names.postures, report);
        }
        Self { posture }
    }
}
