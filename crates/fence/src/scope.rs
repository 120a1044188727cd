//! Which of a migration's two fences is meant: the one on legacy's tables, or the one on the destination's.

use std::borrow::Cow;

use handover_plan::Plan;

/// The setting that lets a transaction write for users of one fence: on the destination for all of them, on legacy
/// only for those whose rollback is under way. Its value is the fence's name.
pub const CARRY: &str = "handover_fence.carry";

/// What the name of a destination's fence ends in. No migration's own name holds an `@`.
const NEW: &str = "@new";

/// The system whose tables a fence stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The legacy primary: users leave it by a move, and come back to it by a rollback.
    Legacy,
    /// The destination: users leave it by a rollback.
    Destination,
}

impl Side {
    /// The fence's name: by it fences of the same migration are told apart, even in one database.
    pub fn fence(self, migration: &str) -> Cow<'_, str> {
        match self {
            Self::Legacy => Cow::Borrowed(migration),
            Self::Destination => Cow::Owned(format!("{migration}{NEW}")),
        }
    }

    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Destination => "destination",
        }
    }
}

/// A plan's fence on one side.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) side: Side,
}

impl<'p> Scope<'p> {
    /// The fence of that plan on that side.
    pub fn new(plan: &'p Plan, side: Side) -> Self {
        Self { plan, side }
    }

    /// The fence's name.
    pub(crate) fn fence(&self) -> Cow<'p, str> {
        self.side.fence(self.plan.name())
    }
}

impl<'p> From<&'p Plan> for Scope<'p> {
    fn from(plan: &'p Plan) -> Self {
        Self::new(plan, Side::Legacy)
    }
}
