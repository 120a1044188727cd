//! A model of everything around a gate: the truth, a stream that can be lost or taken over by a stale copy, the
//! pause stage with its drain, and time. The property: once a drain is over, no request lives that was admitted
//! on an older state.

use std::collections::BTreeSet;
use std::time::Duration;

use handover_identity::Text;
use proptest::prelude::*;

use crate::clock::Moment;
use crate::core::{
    Acknowledgement, Answered, Asking, Change, Core, Entry, Known, Limits, Look, Permit, Place, Read,
};
use crate::waiting::{Seats, WaitingRoom};

pub(super) const LEASE: u64 = 10;
pub(super) const REQUEST: u64 = 8;
const USERS: [&str; 2] = ["a", "b"];

pub(super) fn at(tick: u64) -> Moment {
    Moment::from_nanos(1_000 + tick)
}

pub(super) fn core(capacity: usize) -> Core {
    let limits =
        Limits { lease: Duration::from_nanos(LEASE), max_request: Duration::from_nanos(REQUEST), capacity };
    Core::new(limits, WaitingRoom::new(Seats { per_user: 9, in_all: 99 }))
}

pub(super) fn known(text: &str) -> Known {
    text.parse::<Text>().unwrap().into()
}

pub(super) fn place(generation: u64, number: u64, id: u64) -> Place {
    Place { id: id.to_string(), generation: generation.to_string(), number }
}

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Op {
    Request { user: usize },
    Answer { which: usize },
    Deliver { which: usize },
    Finish { which: usize },
    Pause { user: usize },
    EndPause { user: usize, flip: bool },
    Mirror,
    Heartbeat,
    SendRead,
    ServeRead,
    DeliverRead,
    SendAck,
    Drains,
    Advance { by: u64 },
    Member,
    Flush,
    Trim { left: usize },
    FailOver { lost: usize },
    Reconnect,
}

fn op() -> impl Strategy<Value = Op> {
    let user = 0..USERS.len();
    prop_oneof![
        8 => user.clone().prop_map(|user| Op::Request { user }),
        4 => (0..4_usize).prop_map(|which| Op::Answer { which }),
        4 => (0..4_usize).prop_map(|which| Op::Deliver { which }),
        3 => (0..4_usize).prop_map(|which| Op::Finish { which }),
        3 => user.clone().prop_map(|user| Op::Pause { user }),
        3 => (user, any::<bool>()).prop_map(|(user, flip)| Op::EndPause { user, flip }),
        4 => Just(Op::Mirror),
        4 => Just(Op::Heartbeat),
        6 => Just(Op::SendRead),
        6 => Just(Op::ServeRead),
        6 => Just(Op::DeliverRead),
        4 => Just(Op::SendAck),
        4 => Just(Op::Drains),
        4 => (1..6_u64).prop_map(|by| Op::Advance { by }),
        3 => Just(Op::Member),
        1 => Just(Op::Flush),
        1 => (0..3_usize).prop_map(|left| Op::Trim { left }),
        1 => (0..3_usize).prop_map(|lost| Op::FailOver { lost }),
        2 => Just(Op::Reconnect),
    ]
}

#[derive(Clone, Default)]
struct Server {
    stream: Vec<Entry>,
    /// The generation that this server's entries bear.
    generation: u64,
    told: Option<Acknowledgement>,
}

#[derive(Clone)]
struct Truth {
    revision: i64,
    state: &'static str,
}

struct Drain {
    user: usize,
    revision: i64,
    place: Place,
    began: u64,
    done: bool,
    /// The user's home was changed behind it.
    moved: bool,
}

struct Served {
    user: usize,
    permit: Permit,
}

/// A read on its way.
struct Pending {
    sent: u64,
    from: Option<Place>,
    answer: Option<Vec<Entry>>,
}

struct World {
    now: u64,
    core: Core,
    truth: Vec<Truth>,
    /// Committed, and not mirrored yet.
    unmirrored: BTreeSet<usize>,
    servers: Vec<Server>,
    /// The server that the gate is connected to; the last one is the one in use.
    connected: usize,
    ids: u64,
    read: Option<Pending>,
    asked: Vec<(usize, Asking, Option<Known>)>,
    served: Vec<Served>,
    drains: Vec<Drain>,
    seen: Option<u64>,
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            core: core(1),
            truth: vec![Truth { revision: 0, state: "legacy" }; USERS.len()],
            unmirrored: BTreeSet::new(),
            servers: vec![Server::default()],
            connected: 0,
            ids: 0,
            read: None,
            asked: Vec::new(),
            served: Vec::new(),
            drains: Vec::new(),
            seen: None,
        }
    }

    fn known(&self, user: usize) -> Known {
        let Truth { revision, state } = self.truth[user];
        known(&format!("r{revision} m={state}"))
    }

    fn current(&mut self) -> &mut Server {
        self.servers.last_mut().unwrap()
    }

    /// The script that appends an entry to the server in use.
    fn append(&mut self, changes: Vec<Change>) -> Place {
        self.ids += 1;
        let id = self.ids;
        let server = self.current();
        let number = match server.stream.last() {
            Some(last) if last.place.generation == server.generation.to_string() => last.place.number + 1,
            Some(_) => 1,
            None => {
                // An empty stream begins anew, whatever emptied it. Never drawn twice.
                server.generation = 1_000 + id;
                1
            }
        };
        let place = place(server.generation, number, id);
        server.stream.push(Entry { place: place.clone(), changes, forced: false });
        place
    }

    fn request(&mut self, user: usize) {
        match self.core.look(USERS[user], at(self.now)) {
            Look::Admitted(permit) => self.served.push(Served { user, permit }),
            Look::Ask(asking) => self.asked.push((user, asking, None)),
            Look::Paused | Look::Closed => {}
        }
    }

    fn deliver(&mut self, which: usize) {
        if self.asked.get(which).is_none_or(|(.., answer)| answer.is_none()) {
            return;
        }
        let (user, asking, answer) = self.asked.remove(which);
        if let Answered::Admitted(permit) = self.core.answered(&asking, answer.unwrap(), at(self.now)) {
            self.served.push(Served { user, permit });
        }
    }

    fn pause(&mut self, user: usize) {
        let truth = &mut self.truth[user];
        truth.state = match truth.state {
            "legacy" => "migrating",
            "migrated" => "rolling_back",
            _ => return,
        };
        truth.revision += 1;
        self.unmirrored.insert(user);
    }

    /// A home changes only behind a drain; a pause can be taken back at any time.
    fn end_pause(&mut self, user: usize, flip: bool) {
        let Truth { revision, state } = self.truth[user];
        let mine = |drain: &&mut Drain| drain.user == user && drain.revision == revision && drain.done;
        let drained = self.drains.iter_mut().find(mine).filter(|_| flip);
        let next = match (state, drained.is_some()) {
            ("migrating", true) | ("rolling_back", false) => "migrated",
            ("migrating", false) | ("rolling_back", true) => "legacy",
            _ => return,
        };
        if let Some(drain) = drained {
            drain.moved = true;
        }
        self.truth[user] = Truth { revision: revision + 1, state: next };
        self.unmirrored.insert(user);
    }

    fn mirror(&mut self) {
        let Some(user) = self.unmirrored.pop_first() else { return };
        let known = self.known(user);
        let (revision, paused) = (known.revision, known.paused);
        let place = self.append(vec![Change { user: USERS[user].to_owned(), known: Some(known) }]);
        if paused {
            self.drains.push(Drain { user, revision, place, began: self.now, done: false, moved: false });
        }
    }

    fn serve_read(&mut self) {
        let stream = &self.servers[self.connected].stream;
        let Some(read) = self.read.as_mut().filter(|read| read.answer.is_none()) else { return };
        read.answer = Some(match &read.from {
            None => stream.last().cloned().into_iter().collect(),
            Some(place) => {
                let from: u64 = place.id.parse().unwrap();
                stream
                    .iter()
                    .filter(|e| e.place.id.parse::<u64>().unwrap() >= from)
                    .take(3)
                    .cloned()
                    .collect()
            }
        });
    }

    fn deliver_read(&mut self) {
        if self.read.as_ref().is_none_or(|read| read.answer.is_none()) {
            return;
        }
        let read = self.read.take().unwrap();
        let entries = read.answer.unwrap();
        if read.from.is_none() {
            if let Some(last) = entries.into_iter().next() {
                self.core.positioned(last.place, at(read.sent));
            }
            return;
        }
        let complete = entries.len() < 3;
        let entries = entries.into_iter().map(Some).collect();
        let _ = self.core.read(Read { sent: at(read.sent), entries, complete });
    }

    /// The script that writes an acknowledgement only where the entry is that it speaks of.
    fn send_ack(&mut self) {
        let Some(ack) = self.core.acknowledgement(at(self.now)) else { return };
        let server = &mut self.servers[self.connected];
        if server.stream.iter().any(|entry| entry.place == ack.place) {
            server.told = Some(ack);
        }
    }

    fn poll_drains(&mut self) {
        let told = self.current().told.clone();
        let member = self.seen.is_some_and(|seen| self.now <= seen + LEASE + REQUEST);
        for drain in &mut self.drains {
            let acknowledged = told.as_ref().is_some_and(|told| {
                told.place.generation == drain.place.generation
                    && told.place.number >= drain.place.number
                    && !told.busy.iter().any(|user| user == USERS[drain.user])
            });
            let over = self.now >= drain.began + LEASE + REQUEST;
            drain.done |= acknowledged || over || !member;
        }
    }

    fn fail_over(&mut self, lost: usize) {
        let mut copy = self.current().clone();
        copy.stream.truncate(copy.stream.len().saturating_sub(lost));
        copy.told = copy.told.filter(|told| copy.stream.iter().any(|entry| entry.place == told.place));
        copy.generation = 1_000_000 + self.servers.len() as u64;
        self.servers.push(copy);
    }

    fn flush(&mut self) {
        *self.current() = Server::default();
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Request { user } => self.request(user),
            Op::Answer { which } => {
                let answer = self.asked.get(which).map(|(user, ..)| self.known(*user));
                if let Some((.., slot @ None)) = self.asked.get_mut(which) {
                    *slot = answer;
                }
            }
            Op::Deliver { which } => self.deliver(which),
            Op::Finish { which } if which < self.served.len() => drop(self.served.remove(which)),
            Op::Pause { user } => self.pause(user),
            Op::EndPause { user, flip } => self.end_pause(user, flip),
            Op::Mirror => self.mirror(),
            Op::Heartbeat => drop(self.append(Vec::new())),
            Op::SendRead if self.read.is_none() => {
                self.read = Some(Pending { sent: self.now, from: self.core.place(), answer: None });
            }
            Op::ServeRead => self.serve_read(),
            Op::DeliverRead => self.deliver_read(),
            Op::SendAck => self.send_ack(),
            Op::Drains => self.poll_drains(),
            Op::Advance { by } => self.now += by,
            Op::Member => {
                self.seen = Some(self.now);
                self.core.member(at(self.now));
            }
            Op::Flush => self.flush(),
            Op::Trim { left } => {
                let stream = &mut self.current().stream;
                stream.drain(..stream.len().saturating_sub(left));
            }
            Op::FailOver { lost } => self.fail_over(lost),
            Op::Reconnect => {
                self.connected = self.servers.len() - 1;
                self.read = None;
                self.core.connected();
            }
            Op::Finish { .. } | Op::SendRead => {}
        }
    }

    /// No request lives, and may still be answered, that was admitted on a state older than a pause whose drain
    /// is over: while that pause lasts, and after the home was changed behind it. (One that was taken back is
    /// nobody's: its worker's next step is refused.)
    fn check(&self) -> Result<(), TestCaseError> {
        for served in &self.served {
            let revision = served.permit.known().revision;
            let live = at(self.now) < served.permit.deadline();
            let holds = |drain: &&Drain| {
                drain.done && (drain.moved || self.truth[drain.user].revision == drain.revision)
            };
            for drain in self.drains.iter().filter(|drain| drain.user == served.user).filter(holds) {
                prop_assert!(
                    !live || revision > drain.revision,
                    "r{revision} is served behind the drain of r{}",
                    drain.revision
                );
            }
        }
        Ok(())
    }
}

fn run(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for op in ops {
        world.step(op);
        world.check()?;
    }
    // However it went, what has ended is not in flight, and nobody is busy for ever.
    world.served.clear();
    world.asked.clear();
    prop_assert_eq!(world.core.in_flight(), 0);
    let told = world.core.acknowledgement(at(world.now));
    prop_assert!(told.is_none_or(|told| told.busy.is_empty()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_serves_a_user_behind_a_finished_drain(ops in prop::collection::vec(op(), 1..120)) {
        run(ops)?;
    }

    /// From a gate that follows and is a member, so that short schedules reach further.
    #[test]
    fn no_schedule_of_a_gate_that_follows_serves_a_user_behind_a_finished_drain(
        ops in prop::collection::vec(op(), 1..80)
    ) {
        use Op::{Answer, Deliver, DeliverRead, Heartbeat, Member, Request, SendRead, ServeRead};
        let read = [SendRead, ServeRead, DeliverRead];
        let mut all = vec![Member, Heartbeat];
        all.extend(read);
        all.extend([Heartbeat]);
        all.extend(read);
        all.extend([Request { user: 0 }, Answer { which: 0 }, Deliver { which: 0 }]);
        all.extend(ops);
        run(all)?;
    }
}

/// The model is not blind: a gate that never reads anything again, but believes, is caught by it.
#[test]
fn the_model_catches_a_lease_that_never_ends() {
    let mut world = World::new();
    for op in [Op::Heartbeat, Op::SendRead, Op::ServeRead, Op::DeliverRead] {
        world.step(op);
    }
    let place = world.core.place().unwrap();
    world.core.member(at(1_000));
    let entry = |n: u64| {
        Some(Entry { place: Place { number: n, ..place.clone() }, changes: Vec::new(), forced: false })
    };
    // A read that claims to have been sent in the far future renews the lease that far.
    world.core.positioned(place.clone(), at(1_000));
    world.core.read(Read { sent: at(1_000), entries: vec![entry(1), entry(2)], complete: true }).unwrap();
    for op in [
        Op::Request { user: 0 },
        Op::Answer { which: 0 },
        Op::Deliver { which: 0 },
        Op::Finish { which: 0 },
        Op::Pause { user: 0 },
        Op::Mirror,
        Op::Advance { by: LEASE + REQUEST },
        Op::Drains,
        Op::Request { user: 0 },
    ] {
        world.step(op);
    }
    assert!(world.check().is_err());
}

#[test]
fn the_cache_stays_within_its_bound_and_keeps_those_in_flight() {
    let core = core(64);
    core.member(at(0));
    let text = known("r1");
    let mut held = Vec::new();
    for user in 0..1_000 {
        let Look::Ask(asking) = core.look(&user.to_string(), at(0)) else { panic!("nothing is cached") };
        let Answered::Admitted(permit) = core.answered(&asking, text, at(0)) else { panic!("legacy") };
        if user < 10 {
            held.push(permit);
        }
    }
    assert!(core.cached() <= 64, "{}", core.cached());
    assert_eq!(core.in_flight(), 10);
    drop(held);
    assert_eq!(core.in_flight(), 0);
}
