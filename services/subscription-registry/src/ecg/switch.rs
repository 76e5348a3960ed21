//! What is switched on and off, put away and taken out again: two flags that do not depend on each other (SPEC 6.4).

use slipstream_core::config::Flags;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::timestamp::Timestamp;

/// What is done to the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Archive,
    Restore,
    Activate,
    Deactivate,
}

impl Verb {
    /// The flags after it is done at `now`; none where it changes nothing.
    ///
    /// # Errors
    /// 409 when something that is archived is to be activated.
    pub(crate) fn apply(self, flags: Flags, now: Timestamp) -> Result<Option<Flags>, Problem> {
        let changed = match self {
            Self::Activate if flags.archived => {
                return Err(Problem::new(ProblemKind::Conflict, "it is archived: restore it first"));
            }
            Self::Archive if !flags.archived => Flags { archived: true, archived_changed_at: now, ..flags },
            Self::Restore if flags.archived => Flags { archived: false, archived_changed_at: now, ..flags },
            Self::Activate if !flags.active => Flags { active: true, active_changed_at: now, ..flags },
            Self::Deactivate if flags.active => Flags { active: false, active_changed_at: now, ..flags },
            _ => return Ok(None),
        };
        Ok(Some(changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: Timestamp = Timestamp::from_millis(1);
    const NOW: Timestamp = Timestamp::from_millis(2);

    fn flags(active: bool, archived: bool) -> Flags {
        Flags { archived, ..Flags::new(active, THEN) }
    }

    #[test]
    fn each_verb_changes_its_own_flag_and_only_if_it_must() {
        for (verb, before, after) in [
            (Verb::Archive, (true, false), Some((true, true))),
            (Verb::Archive, (false, true), None),
            (Verb::Restore, (false, true), Some((false, false))),
            (Verb::Restore, (true, false), None),
            (Verb::Activate, (false, false), Some((true, false))),
            (Verb::Activate, (true, false), None),
            (Verb::Deactivate, (true, false), Some((false, false))),
            (Verb::Deactivate, (true, true), Some((false, true))),
            (Verb::Deactivate, (false, true), None),
        ] {
            let changed = verb.apply(flags(before.0, before.1), NOW).unwrap();
            assert_eq!(changed.map(|it| (it.active, it.archived)), after, "{verb:?} {before:?}");
            let when = changed.map(|it| (it.active_changed_at, it.archived_changed_at));
            let is_of_archiving = matches!(verb, Verb::Archive | Verb::Restore);
            let expected = after.map(|_| if is_of_archiving { (THEN, NOW) } else { (NOW, THEN) });
            assert_eq!(when, expected, "{verb:?} {before:?}");
        }
    }

    #[test]
    fn what_is_archived_is_not_activated_even_if_it_is_active() {
        for active in [true, false] {
            let refused = Verb::Activate.apply(flags(active, true), NOW).unwrap_err();
            assert_eq!(refused.kind, ProblemKind::Conflict);
        }
    }
}
