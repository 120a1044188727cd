//! The decision, pure: what is known of a user, and what kind of request it is, to where the request goes.
//!
//! It looks nothing up and knows no time: [`believe`] says what a cached state is worth, [`decide`] the rest.

use handover_identity::State;

/// The side that a user's data is on, in one migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The old system.
    Legacy,
    /// The new system.
    New,
}

/// What a request can put up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A person or a program waits for the answer and can be held for a while: pages and API calls.
    Holdable,
    /// Nobody waits; it comes again later: background jobs.
    Deferrable,
    /// Part of a request that a gate has admitted and that is counted there: a call to an inner service.
    Continued,
}

/// What is known of a user, for one migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing that can be relied on. Never the same as "on legacy".
    Unknown,
    /// Identity's word.
    Known {
        /// The state in the migration that is asked about.
        state: State,
        /// Whether any migration of the user is under way: then the user waits in all of them.
        paused: bool,
    },
}

/// Where what is known comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// From the gate's cache.
    Cache {
        /// Whether the gate has heard of all changes until now.
        lease: bool,
    },
    /// Identity's truth answered this very request.
    Truth,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// On, to the old system.
    Legacy,
    /// On, to the new system.
    New,
    /// It is held until the pause ends, for as long as the settings say.
    Wait,
    /// It is turned away, and may come again later.
    Refuse,
}

impl Kind {
    /// All kinds, for tables and tests.
    pub const ALL: [Self; 3] = [Self::Holdable, Self::Deferrable, Self::Continued];
}

impl From<State> for Side {
    fn from(state: State) -> Self {
        if state.home_is_new() { Self::New } else { Self::Legacy }
    }
}

impl From<Side> for Verdict {
    fn from(side: Side) -> Self {
        match side {
            Side::Legacy => Self::Legacy,
            Side::New => Self::New,
        }
    }
}

/// What remains of a standing once it is asked where it comes from: a cache without a lease knows nothing.
pub fn believe(standing: Standing, evidence: Evidence) -> Standing {
    match evidence {
        Evidence::Truth | Evidence::Cache { lease: true } => standing,
        Evidence::Cache { lease: false } => Standing::Unknown,
    }
}

/// Where a request of that kind goes. A user of whom nothing is known is treated as a paused one.
pub fn decide(standing: Standing, kind: Kind) -> Verdict {
    match (standing, kind) {
        (Standing::Known { state, paused: false }, _)
        | (Standing::Known { state, paused: true }, Kind::Continued) => {
            // A state that is itself a pause is one, whatever the flag says.
            if state.is_paused() && kind != Kind::Continued { held(kind) } else { Side::from(state).into() }
        }
        (Standing::Known { paused: true, .. } | Standing::Unknown, kind) => held(kind),
    }
}

fn held(kind: Kind) -> Verdict {
    match kind {
        Kind::Holdable => Verdict::Wait,
        // What continues an admitted request cannot wait: the pause waits for that request.
        Kind::Deferrable | Kind::Continued => Verdict::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each state, paused by this or another migration or not, of either evidence, for each kind.
    fn everything() -> impl Iterator<Item = (Standing, Evidence, Kind)> {
        let known = State::ALL
            .into_iter()
            .flat_map(|state| [true, false].into_iter().map(move |paused| Standing::Known { state, paused }));
        let standings: Vec<Standing> = known.chain([Standing::Unknown]).collect();
        let evidences = [Evidence::Cache { lease: true }, Evidence::Cache { lease: false }, Evidence::Truth];
        standings.into_iter().flat_map(move |standing| {
            evidences.into_iter().flat_map(move |evidence| Kind::ALL.map(|kind| (standing, evidence, kind)))
        })
    }

    fn held_for_test(kind: Kind) -> Verdict {
        if kind == Kind::Holdable { Verdict::Wait } else { Verdict::Refuse }
    }

    #[test]
    fn the_whole_table_is_as_it_is_written_down() {
        let mut rows = 0;
        for (standing, evidence, kind) in everything() {
            rows += 1;
            let verdict = decide(believe(standing, evidence), kind);
            let trusted = evidence != Evidence::Cache { lease: false };
            let expected = match (standing, kind) {
                (Standing::Unknown, kind) => held_for_test(kind),
                (_, kind) if !trusted => held_for_test(kind),
                (Standing::Known { state: State::Legacy, paused: false }, _)
                | (Standing::Known { state: State::Legacy | State::Migrating, .. }, Kind::Continued) => {
                    Verdict::Legacy
                }
                (Standing::Known { state: State::Migrated, paused: false }, _)
                | (Standing::Known { .. }, Kind::Continued) => Verdict::New,
                (Standing::Known { .. }, kind) => held_for_test(kind),
            };
            assert_eq!(verdict, expected, "{standing:?} {evidence:?} {kind:?}");
        }
        assert_eq!(rows, (4 * 2 + 1) * 3 * 3);
    }

    #[test]
    fn nothing_unknown_or_paused_is_ever_let_through_but_what_was_admitted_before() {
        for (standing, evidence, kind) in everything() {
            let verdict = decide(believe(standing, evidence), kind);
            let open = matches!(standing, Standing::Known { state, paused: false } if !state.is_paused());
            if matches!(verdict, Verdict::Legacy | Verdict::New) {
                assert!(open || kind == Kind::Continued, "{standing:?} {kind:?}");
                assert_ne!(evidence, Evidence::Cache { lease: false });
                assert_ne!(standing, Standing::Unknown);
            }
        }
    }

    #[test]
    fn a_request_never_goes_to_the_side_that_is_not_home() {
        for (standing, evidence, kind) in everything() {
            let Standing::Known { state, .. } = standing else { continue };
            match decide(believe(standing, evidence), kind) {
                Verdict::Legacy => assert!(!state.home_is_new()),
                Verdict::New => assert!(state.home_is_new()),
                Verdict::Wait | Verdict::Refuse => {}
            }
        }
    }
}
