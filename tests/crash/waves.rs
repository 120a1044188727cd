//! Which point is struck in which program, and on which way of its users. A wave is a set of points that one program
//! passes on one way.

use handover_fault::POINTS;

pub(crate) const PAUSE: &str = "handover-pause";
pub(crate) const COPY: &str = "handover-copy";
pub(crate) const VERIFY: &str = "handover-verify";
pub(crate) const COMPLETE: &str = "handover-complete";
pub(crate) const ROLLBACK: &str = "handover-rollback";
pub(crate) const RECONCILE: &str = "handover-reconcile";

/// What becomes of a user, if nothing disturbs. The user's number decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Is moved.
    Moves,
    /// Is moved wrongly, which the verify stage finds, and is taken back.
    Fails,
    /// Is moved, and rolled back unchanged.
    GoesBack,
    /// Is moved, changed, and rolled back with the changes.
    IsCarried,
    /// Is moved, changed, and refused a rollback.
    IsRefused,
}

impl Way {
    /// The ways of those who are moved as they should be.
    pub(crate) const BACK: [Self; 3] = [Self::GoesBack, Self::IsCarried, Self::IsRefused];

    /// Shares of sixteen, by how many the waves need.
    pub(crate) fn of(user: u64) -> Self {
        match user % 16 {
            0..7 => Self::Moves,
            7 | 8 => Self::Fails,
            9..13 => Self::GoesBack,
            13 => Self::IsCarried,
            _ => Self::IsRefused,
        }
    }

    pub(crate) fn is_changed(self) -> bool {
        matches!(self, Self::IsCarried | Self::IsRefused)
    }
}

/// What a wave's points need to be passed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// A worker of this program has died with its jobs.
    Death,
    /// The jobs are there twice, the second time as jobs that lost two workers.
    Suspects,
    /// No server was ever told to be the mirror's.
    NoMirror,
    /// A gate that says nothing is a member.
    SilentGate,
}

/// Points that one program passes on one way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wave {
    pub(crate) program: &'static str,
    pub(crate) way: Way,
    pub(crate) points: &'static [&'static str],
    /// What else happens in the same processes.
    pub(crate) besides: &'static str,
    /// What happens in a process of another program.
    pub(crate) elsewhere: Option<(&'static str, &'static str)>,
    pub(crate) settings: &'static [(&'static str, &'static str)],
    pub(crate) needs: Needs,
}

const fn wave(program: &'static str, way: Way, points: &'static [&'static str]) -> Wave {
    Wave { program, way, points, besides: "", elsewhere: None, settings: &[], needs: Needs::Nothing }
}

/// All waves. Points of what several programs share are struck in each.
pub(crate) const WAVES: &[Wave] = &[
    wave(
        RECONCILE,
        Way::Moves,
        &[
            "tracking.drawing",
            "produce.drawn",
            "queue.pushing",
            "queue.pushed",
            "mirror.beating",
            "mirror.beat",
        ],
    ),
    wave(
        RECONCILE,
        Way::Moves,
        &["mirror.readying", "mirror.ready", "reconcile.cleared", "reconcile.rebuilt"],
    ),
    Wave { needs: Needs::NoMirror, ..wave(RECONCILE, Way::Moves, &["mirror.adopting", "reconcile.adopted"]) },
    Wave {
        elsewhere: Some((PAUSE, "pause.committed=error@1")),
        ..wave(RECONCILE, Way::Moves, &["produce.restoring"])
    },
    Wave {
        elsewhere: Some((PAUSE, "identity.between=error@1")),
        ..wave(RECONCILE, Way::Moves, &["identity.flushing", "identity.flushed"])
    },
    Wave {
        elsewhere: Some((COPY, "copy.passed=stall:2500ms@1")),
        ..wave(RECONCILE, Way::Moves, &["fence.mends", "fence.mended"])
    },
    Wave {
        elsewhere: Some((ROLLBACK, "refuse.committed=error")),
        ..wave(RECONCILE, Way::IsRefused, &["reconcile.orphan_lifted"])
    },
    wave(
        PAUSE,
        Way::Moves,
        &[
            "queue.claimed",
            "tracking.admitting",
            "pause.admitted",
            "identity.between",
            "mirror.writing",
            "mirror.written",
            "identity.mirrored",
            "pause.begun",
            "drain.begins",
            "pause.drained",
            "fence.raised",
            "pause.fenced",
            "pause.positioned",
            "pause.committed",
            "queue.acking",
        ],
    ),
    wave(
        PAUSE,
        Way::Moves,
        &["queue.claiming", "queue.acked", "queue.beating", "queue.promoting", "queue.promoted"],
    ),
    Wave { needs: Needs::SilentGate, ..wave(PAUSE, Way::Moves, &["drain.waits"]) },
    Wave {
        besides: "pause.admitted=stall:1500ms@1",
        ..wave(PAUSE, Way::Moves, &["queue.renewing", "queue.renewed"])
    },
    Wave { needs: Needs::Suspects, ..wave(PAUSE, Way::Moves, &["queue.handing_back", "queue.handed_back"]) },
    wave(
        COPY,
        Way::Moves,
        &[
            "copy.passed",
            "copy.snapshot",
            "copy.proven_empty",
            "copy.extracting",
            "copy.loading",
            "copy.hashed",
            "copy.committing",
            "copy.committed",
            "queue.acking",
            "queue.acked",
        ],
    ),
    Wave {
        besides: "copy.committing=error@1",
        ..wave(COPY, Way::Moves, &["queue.retrying", "queue.retried"])
    },
    Wave { needs: Needs::Death, ..wave(COPY, Way::Moves, &["queue.recovering", "queue.recovered"]) },
    wave(VERIFY, Way::Moves, &["verify.read_back", "verify.compared", "verify.committed"]),
    wave(
        VERIFY,
        Way::Fails,
        &[
            "takeback.begins",
            "takeback.identity_raised",
            "takeback.raised",
            "takeback.removing",
            "takeback.removed",
            "takeback.lifted",
            "takeback.released",
            "takeback.committed",
            "queue.parking",
            "queue.parked",
        ],
    ),
    wave(
        COMPLETE,
        Way::Moves,
        &[
            "complete.begins",
            "complete.opened",
            "identity.between",
            "mirror.written",
            "identity.mirrored",
            "complete.flipped",
            "fence.settled",
            "complete.settled",
            "complete.committed",
            "queue.acking",
        ],
    ),
    Wave {
        besides: "complete.flipped=error@1",
        settings: &[("WORKER__MAX_TRIES", "1")],
        ..wave(COMPLETE, Way::Moves, &["takeback.forward"])
    },
    wave(
        ROLLBACK,
        Way::GoesBack,
        &[
            "rollback.admitted",
            "identity.between",
            "rollback.begun",
            "rollback.drained",
            "rollback.fenced",
            "rollback.claimed",
            "rollback.positioned",
            "rollback.recorded",
            "rollback.hashed",
            "rollback.compared",
            "rollback.spent",
            "rollback.removing",
            "rollback.removed",
            "rollback.settled",
            "rollback.lifted",
            "rollback.released",
            "rollback.committed",
        ],
    ),
    wave(
        ROLLBACK,
        Way::IsCarried,
        &["rollback.carrying", "rollback.staging", "rollback.loaded", "rollback.carries", "rollback.carried"],
    ),
    wave(
        ROLLBACK,
        Way::IsRefused,
        &["refuse.begins", "refuse.committed", "refuse.lifted", "refuse.raised", "refuse.restored"],
    ),
];

/// The listed points that no wave strikes, gates' own apart.
pub(crate) fn unstruck() -> Vec<&'static str> {
    let struck = |point: &&str| WAVES.iter().any(|wave| wave.points.contains(point));
    POINTS.iter().copied().filter(|point| !point.starts_with("gate.") && !struck(point)).collect()
}
