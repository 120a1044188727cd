//! What can be done to Identity's row: the rules of `crates/identity/src/rules.rs`, again.

use super::state::{Identity, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Begun,
    HomeIsNew,
    HomeIsLegacy,
    Busy,
    Superseded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raise {
    Raised,
    HomeIsNew,
    HomeIsLegacy,
    Superseded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ended,
    /// It had ended before, at the home that was meant.
    Already,
    /// The home is the other one.
    Elsewhere,
    NotOurs,
}

impl Identity {
    pub(super) fn begin(&mut self, version: u8) -> Begin {
        if let Some((kind, open)) = self.open {
            return match (version.cmp(&open), kind) {
                (std::cmp::Ordering::Equal, Kind::Move) => Begin::Begun,
                (std::cmp::Ordering::Greater, _) => Begin::Busy,
                _ => Begin::Superseded,
            };
        }
        if self.flipped.is_some() {
            return Begin::HomeIsNew;
        }
        self.open_by(Kind::Move, version)
    }

    pub(super) fn begin_rollback(&mut self, version: u8) -> Begin {
        if let Some((kind, open)) = self.open {
            return match (version.cmp(&open), kind) {
                (std::cmp::Ordering::Equal, Kind::Rollback) => Begin::Begun,
                (std::cmp::Ordering::Greater, _) => Begin::Busy,
                _ => Begin::Superseded,
            };
        }
        if self.flipped.is_none() {
            return Begin::HomeIsLegacy;
        }
        self.open_by(Kind::Rollback, version)
    }

    fn open_by(&mut self, kind: Kind, version: u8) -> Begin {
        if version < self.floor {
            return Begin::Superseded;
        }
        if self.other {
            return Begin::Busy;
        }
        self.open = Some((kind, version));
        self.floor = version;
        Begin::Begun
    }

    /// Whether the home is the new system by that version now, or was before.
    pub(super) fn flip(&mut self, version: u8) -> End {
        match self.open {
            Some((Kind::Move, open)) if open == version => {
                (self.open, self.flipped, self.floor) = (None, Some(version), version + 1);
                End::Ended
            }
            None if self.flipped == Some(version) => End::Already,
            _ => End::NotOurs,
        }
    }

    pub(super) fn raise(&mut self, version: u8) -> Raise {
        if let Some((kind, open)) = self.open {
            if version < open {
                return Raise::Superseded;
            }
            self.open = Some((kind, version));
            self.floor = self.floor.max(version);
            return Raise::Raised;
        }
        self.floor = self.floor.max(version);
        if self.flipped.is_some() { Raise::HomeIsNew } else { Raise::HomeIsLegacy }
    }

    pub(super) fn release(&mut self, version: u8) -> End {
        match self.open {
            Some((_, open)) if open == version => {
                (self.open, self.flipped, self.floor) = (None, None, version + 1);
                End::Ended
            }
            Some(_) => End::NotOurs,
            None if self.flipped.is_some() => End::Elsewhere,
            None => End::Already,
        }
    }

    pub(super) fn restore(&mut self, version: u8) -> End {
        match self.open {
            Some((Kind::Rollback, open)) if open == version => {
                (self.open, self.floor) = (None, version + 1);
                End::Ended
            }
            Some(_) => End::NotOurs,
            None if self.flipped.is_some() => End::Already,
            None => End::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use handover_identity::{Event, State};

    use super::*;

    fn state(row: Identity) -> State {
        match (row.open, row.flipped) {
            (Some((Kind::Move, _)), _) => State::Migrating,
            (Some((Kind::Rollback, _)), _) => State::RollingBack,
            (None, Some(_)) => State::Migrated,
            (None, None) => State::Legacy,
        }
    }

    fn rows() -> impl Iterator<Item = Identity> {
        let opens = [None, Some((Kind::Move, 2)), Some((Kind::Rollback, 2))];
        let pairs = opens.into_iter().flat_map(|open| [None, Some(1)].map(|flipped| (open, flipped)));
        let possible = pairs.filter(|(open, flipped)| {
            open.is_none_or(|(kind, _)| (kind == Kind::Rollback) == flipped.is_some())
        });
        possible.map(|(open, flipped)| Identity { flipped, open, floor: 2, other: false })
    }

    #[test]
    fn the_models_row_changes_as_identitys_state_machine_allows_and_no_other_way() {
        type Change = fn(&mut Identity, u8);
        let changes: [(Event, Change); 6] = [
            (Event::Begin, |row, version| _ = row.begin(version)),
            (Event::BeginRollback, |row, version| _ = row.begin_rollback(version)),
            (Event::Flip, |row, version| _ = row.flip(version)),
            (Event::Raise, |row, version| _ = row.raise(version)),
            (Event::Release, |row, version| _ = row.release(version)),
            (Event::Restore, |row, version| _ = row.restore(version)),
        ];
        for (before, version) in rows().flat_map(|row| (1..=4).map(move |version| (row, version))) {
            for (event, change) in changes {
                let mut after = before;
                change(&mut after, version);
                let allowed = state(before).next(event);
                assert!(
                    state(after) == state(before) || Ok(state(after)) == allowed,
                    "{event:?} at {version} of {before:?}: {after:?}"
                );
                // The row's own version, or for one that is not open a version past its floor, is never refused.
                if version == 2 && event != Event::Raise {
                    assert_eq!(state(after), allowed.unwrap_or(state(before)), "{event:?} of {before:?}");
                }
            }
        }
    }
}
