//! Enums that carry nothing: each word's number is its place, and new words go to the end.

use homestak_protocol::event::{Action, Phase, PhaseStatus, Status};
use homestak_protocol::fault::Code;
use homestak_protocol::order::{NodeKind, OnError, Verb};

use crate::golden::Folder;

/// All words of an enum that keeps no list of its own. One that is missing here does not compile.
macro_rules! all {
    ($type:ident: $($word:ident),+) => {{
        fn none_is_missing(word: $type) {
            match word {
                $($type::$word => (),)+
            }
        }
        let all = [$($type::$word,)+];
        all.into_iter().for_each(none_is_missing);
        all
    }};
}

pub(crate) fn check_all(folder: &mut Folder) {
    folder.words("status", Status::ALL, Status::as_str);
    folder.words("action", Action::ALL, Action::as_str);
    folder.words("phase", Phase::ALL, Phase::as_str);
    folder.words("phase_status", PhaseStatus::ALL, PhaseStatus::as_str);
    folder.words("node_kind", &all!(NodeKind: Vm, Ct, Pve), NodeKind::as_str);
    folder.words("on_error", &all!(OnError: Stop, Rollback, Continue), OnError::as_str);
    folder.words("verb", &all!(Verb: Halt, Cancel, Rollback, Destroy), |_| "-");
    // Users hold on to the code's text, the wire to its number; both are kept.
    folder.words("code", Code::ALL, Code::as_str);
}
