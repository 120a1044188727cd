//! Which faults there are, and which of them a seed orders when. Pure.

use std::time::Duration;

use handover_sandbox::Server;

use super::Fence;

/// The mean time between the beginnings of two faults.
const EVERY_MS: u64 = 900;
/// No fault lasts longer.
const LONGEST_MS: u64 = 13_000;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// All connections on one way end, with RST.
    Reset,
    /// The same with FIN.
    Fin,
    /// All is late on one way.
    Delay,
    /// One way stands still, and goes on.
    Stall,
    /// The other end of one way has vanished without a word.
    HalfOpen,
    /// New connections are refused, and those that stand are cut.
    Refuse,
    /// A connection ends within a message.
    AfterBytes,
    /// A query never comes.
    BeforeQuery,
    /// A query is done, and its answer lost.
    BeforeAnswer,
    /// A COMMIT is done, and its answer lost.
    LostCommit,
    /// All sessions of a server are ended.
    Terminate,
    /// A server is restarted, in good order.
    FastRestart,
    /// A server is restarted as after a crash; a Redis is empty then.
    ImmediateRestart,
    /// The replica does not replay.
    ReplayPaused,
    /// A table of the new system is locked by somebody else.
    LockedTable,
    /// Redis is emptied.
    Flush,
    /// Redis is replaced by an older copy of itself, which looks complete.
    StaleCopy,
    /// Redis stands still, perhaps for longer than every lease.
    RedisStopped,
    /// Redis refuses writes.
    RedisFull,
    /// A key is deleted by hand.
    KeyDeleted,
    /// Redis forgets its scripts.
    ScriptFlush,
    /// A program of handover's own is killed.
    WorkerKilled,
    /// One is stopped, perhaps for longer than its lease, and goes on.
    WorkerStopped,
    /// A process of the application is killed.
    ApplicationKilled,
    /// One is stopped for longer than its lease, and goes on.
    ApplicationStopped,
    /// One worker more.
    ScaledUp,
    /// One worker fewer, which is asked to end.
    ScaledDown,
}

/// Every kind, the more frequent ones more than once.
const KINDS: [Kind; 33] = [
    Kind::Reset,
    Kind::Reset,
    Kind::Fin,
    Kind::Delay,
    Kind::Stall,
    Kind::HalfOpen,
    Kind::Refuse,
    Kind::AfterBytes,
    Kind::AfterBytes,
    Kind::BeforeQuery,
    Kind::BeforeQuery,
    Kind::BeforeAnswer,
    Kind::BeforeAnswer,
    Kind::LostCommit,
    Kind::LostCommit,
    Kind::Terminate,
    Kind::FastRestart,
    Kind::ImmediateRestart,
    Kind::ReplayPaused,
    Kind::LockedTable,
    Kind::Flush,
    Kind::StaleCopy,
    Kind::RedisStopped,
    Kind::RedisFull,
    Kind::KeyDeleted,
    Kind::ScriptFlush,
    Kind::WorkerKilled,
    Kind::WorkerKilled,
    Kind::WorkerStopped,
    Kind::ApplicationKilled,
    Kind::ApplicationStopped,
    Kind::ScaledUp,
    Kind::ScaledDown,
];

/// A fault that is due at its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ordered {
    /// After the beginning.
    pub(super) at: Duration,
    /// What it is.
    pub(super) kind: Kind,
    /// For how long, if it is one that lasts.
    pub(super) lasts: Duration,
    /// From what it chooses whom it strikes.
    pub(super) lot: u64,
}

impl Ordered {
    /// The server it is for, if it is for any of Postgres'.
    pub(super) fn postgres(&self) -> Server {
        [Server::Legacy, Server::Replica, Server::Destination, Server::Identity][self.lot as usize % 4]
    }

    /// The server it is for.
    pub(super) fn server(&self) -> Server {
        Server::ALL[self.lot as usize % 5]
    }
}

/// What a seed orders, in the order of time. Each kind comes in turn, in an order by lot, so that a short run has many.
pub(super) fn schedule(seed: u64, over: Duration) -> Vec<Ordered> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x6368_616f_7321);
    let (mut at, mut ordered, mut bag) = (Duration::from_secs(2), Vec::new(), Vec::new());
    while at < over {
        if bag.is_empty() {
            bag = KINDS.to_vec();
            rng.shuffle(&mut bag);
        }
        let Some(kind) = bag.pop() else { break };
        let longest = if rng.u8(..4) == 0 { LONGEST_MS } else { 3_000 };
        let lasts = Duration::from_millis(rng.u64(300..longest));
        ordered.push(Ordered { at, kind, lasts, lot: rng.u64(..) });
        at += Duration::from_millis(rng.u64(EVERY_MS / 4..EVERY_MS * 7 / 4));
    }
    ordered
}

/// Whether this fault may strike the application's way to its databases. With the cooperative fence alone a write must
/// not arrive later than its request may last: what delivers late is for the database fence.
pub(super) fn may_strike_application(kind: Kind, fence: Fence) -> bool {
    fence == Fence::Database || !matches!(kind, Kind::Delay | Kind::Stall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_schedule_and_every_kind_comes_within_a_minute() {
        let minute = schedule(7, Duration::from_mins(1));
        assert_eq!(minute, schedule(7, Duration::from_mins(1)));
        assert_ne!(minute, schedule(8, Duration::from_mins(1)));
        let mut kinds: Vec<Kind> = minute.iter().map(|ordered| ordered.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), 27, "{kinds:?}");
        assert!(minute.windows(2).any(|two| two[0].at + two[0].lasts > two[1].at), "several at once");
    }

    #[test]
    fn with_the_cooperative_fence_alone_the_application_writes_nothing_late() {
        assert!(!may_strike_application(Kind::Stall, Fence::Cooperative));
        assert!(may_strike_application(Kind::Stall, Fence::Database));
        assert!(may_strike_application(Kind::LostCommit, Fence::Cooperative));
    }
}
