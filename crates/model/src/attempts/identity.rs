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
