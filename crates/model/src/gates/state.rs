//! What the model of gates remembers. Times are ages in ticks, which stop growing once nothing depends on them.
//!
//! A lease and a request both last one tick and a bit: they hold at age 0 and 1. What waits for both to be over
//! waits until age 3. Any number of steps fit between two ticks, so a process may be as slow, or stopped for as
//! long, as anybody likes.

/// The age at which a lease, a permit, or the word `!ready` holds no more.
pub(super) const OVER: u8 = 2;
/// The age after which a lease and the longest request that began under it are both over.
pub(super) const ALL_OVER: u8 = 3;

/// What Identity says of the user; later ones are newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Home {
    /// On legacy, before the attempt.
    Legacy,
    /// Being moved.
    Paused,
    /// On the new system.
    New,
    /// On legacy, after the attempt was taken back.
    Back,
}

impl Home {
    pub(super) fn side(self) -> Option<Side> {
        match self {
            Self::Legacy | Self::Back => Some(Side::Legacy),
            Self::New => Some(Side::New),
            Self::Paused => None,
        }
    }
}

/// A system that may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Side {
    Legacy,
    New,
}

/// Where a gate stands in the stream of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// At none: it has just started, or its place is gone.
    Lost,
    /// In the server that is written to.
    Live,
    /// In a server that another one has taken over from.
    Cut,
}

/// One gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Gate {
    /// Since its last word to Identity was sent; a member until `ALL_OVER`.
    pub(super) member: u8,
    pub(super) cache: Option<Home>,
    /// Of the lease on the cache.
    pub(super) lease: u8,
    /// Since the last read on this connection was sent.
    pub(super) read: u8,
    pub(super) place: Place,
    /// A change in its server that it has not read.
    pub(super) pending: Option<Home>,
    /// Its server was cut off with an entry that this gate has not read.
    pub(super) unread: bool,
    /// Redis has a hash of it.
    pub(super) told: bool,
}

impl Gate {
    /// A process that has just started.
    pub(super) const FRESH: Self = Self {
        member: ALL_OVER,
        cache: None,
        lease: OVER,
        read: OVER,
        place: Place::Lost,
        pending: None,
        unread: false,
        told: false,
    };

    /// One that has served the user a moment ago.
    pub(super) const WARM: Self = Self {
        member: 0,
        cache: Some(Home::Legacy),
        lease: 0,
        read: 0,
        place: Place::Live,
        pending: None,
        unread: false,
        told: true,
    };
}

/// What lets a request in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Way {
    /// The gate of that number.
    Gate(u8),
    /// Middleware without a cache, which reads the mirror each time and is no member.
    Plain,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Identity has been asked, and has said this.
    Asking(Home),
    /// Let through.
    Admitted(Side),
    /// The deadline was looked at, and the write is still to come: only without `RecheckAfterStop`.
    Checked(Side),
    /// The write of this number is done; the client has no answer yet.
    Written(Side, u8),
}

/// A request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Request {
    pub(super) way: Way,
    pub(super) phase: Phase,
    /// Since the question was sent, or the request let through.
    pub(super) age: u8,
    /// The gate does not acknowledge a pause before this one has ended.
    pub(super) draining: bool,
    /// Something was heard of the user since the question was sent.
    pub(super) overtaken: bool,
}

/// How far the attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    Begin,
    Tell,
    Members,
    Drain,
    Position,
    Snapshot,
    Commit,
    Flip,
    TellEnd,
    Done,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) truth: Home,
    pub(super) mirror: Option<Home>,
    /// Since `!ready` was renewed.
    pub(super) ready: u8,
    /// What the server's copy holds: it is behind, in the order in which things were written. Kept only where
    /// somebody reads the mirror.
    pub(super) copy: (Option<Home>, u8),
    /// The server of now was compared with the truth.
    pub(super) verified: bool,
    pub(super) step: Step,
    /// Gates that the drain waits for, as bits.
    pub(super) waits: u8,
    /// Since the drain began.
    pub(super) waited: u8,
    /// The pause's entry is in the stream of now, under the generation that the drain was told.
    pub(super) announced: bool,
    /// Writes before the position, writes in the snapshot.
    pub(super) position: u8,
    pub(super) snapshot: u8,
    /// Writes in the primary, in the replica, at the destination; those acknowledged.
    pub(super) legacy: u8,
    pub(super) replica: u8,
    pub(super) new: u8,
    pub(super) acknowledged: u8,
    /// How many writes were made.
    pub(super) writes: u8,
    pub(super) gates: [Option<Gate>; 2],
    pub(super) requests: [Option<Request>; 2],
    /// Faults that may still come.
    pub(super) faults: u8,
}

impl State {
    /// One form for states that differ by the gates' or requests' numbers alone.
    pub(super) fn canonical(mut self) -> Self {
        if let [Some(first), Some(second)] = self.gates
            && self.key(0, first) > self.key(1, second)
        {
            self.gates = [Some(second), Some(first)];
            self.waits = (self.waits & 1) << 1 | self.waits >> 1;
            for request in self.requests.iter_mut().flatten() {
                if let Way::Gate(gate) = request.way {
                    request.way = Way::Gate(1 - gate);
                }
            }
        }
        self.requests.sort_unstable();
        self
    }

    /// What tells two gates apart.
    fn key(&self, number: u8, gate: Gate) -> impl Ord + use<> {
        let own = |request: Request| {
            let Request { way, phase, age, draining, overtaken } = request;
            (way == Way::Gate(number)).then_some((phase, age, draining, overtaken))
        };
        let mut requests = self.requests.map(|request| request.and_then(own));
        requests.sort_unstable();
        (gate, self.waits >> number & 1, requests)
    }
}
