//! Random histories of everything that operators, the producer and the stages can do, in any order, with stale
//! and doubled claims among the good ones. After each step: every transition held for exactly the attempts that
//! stood where it asks them to, every user is counted once, and no version was given out twice.

use std::collections::{BTreeMap, BTreeSet};

use handover_tracking::{Claim, Closing, CohortInfo, Kind, OpenAttempt, OpenState, RetryOf};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::support::{AMPLE, Bench};

const COHORTS: usize = 3;
const USERS: usize = 12;

#[derive(Clone, Debug)]
enum Op {
    Add { cohort: usize, users: Vec<usize> },
    Remove { cohort: usize, users: Vec<usize> },
    Launch { cohort: usize, limit: Option<i64> },
    Draw { kind: Kind, most: usize },
    Hold { cohort: usize },
    Release { cohort: usize },
    Cancel { cohort: usize },
    Retry { cohort: usize, of: RetryOf, users: Option<Vec<usize>> },
    AskRollback { cohort: usize, users: Option<Vec<usize>> },
    CancelRollbacks { cohort: usize },
    Fold,
    Step { step: Step, of: u16 },
}

/// A transition, tried on some of the open attempts, whatever their state.
#[derive(Clone, Copy, Debug)]
enum Step {
    Admit { kind: Kind, bound: u32 },
    Fence,
    Copy,
    Verify,
    Remove,
    Requeue,
    Raise,
    Close(Closing),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..50)
}

fn op() -> impl Strategy<Value = Op> {
    let cohort = || 0..COHORTS;
    let users = || prop::collection::vec(0..USERS, 1..8);
    let kind = || prop_oneof![3 => Just(Kind::Move), 1 => Just(Kind::Rollback)];
    let limit = prop::option::of(1..5_i64);
    let of = prop_oneof![Just(RetryOf::Failed), Just(RetryOf::RolledBack)];
    prop_oneof![
        3 => (cohort(), users()).prop_map(|(cohort, users)| Op::Add { cohort, users }),
        1 => (cohort(), users()).prop_map(|(cohort, users)| Op::Remove { cohort, users }),
        4 => (cohort(), limit).prop_map(|(cohort, limit)| Op::Launch { cohort, limit }),
        7 => (kind(), 1..8_usize).prop_map(|(kind, most)| Op::Draw { kind, most }),
        1 => cohort().prop_map(|cohort| Op::Hold { cohort }),
        2 => cohort().prop_map(|cohort| Op::Release { cohort }),
        1 => cohort().prop_map(|cohort| Op::Cancel { cohort }),
        2 => (cohort(), of, prop::option::of(users()))
            .prop_map(|(cohort, of, users)| Op::Retry { cohort, of, users }),
        3 => (cohort(), prop::option::of(users()))
            .prop_map(|(cohort, users)| Op::AskRollback { cohort, users }),
        1 => cohort().prop_map(|cohort| Op::CancelRollbacks { cohort }),
        1 => Just(Op::Fold),
        24 => (step(), any::<u16>()).prop_map(|(step, of)| Op::Step { step, of }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..9_u32).prop_map(|bound| Step::Admit { kind: Kind::Move, bound }),
        2 => (1..9_u32).prop_map(|bound| Step::Admit { kind: Kind::Rollback, bound }),
        5 => Just(Step::Fence),
        4 => Just(Step::Copy),
        4 => Just(Step::Verify),
        2 => Just(Step::Remove),
        1 => Just(Step::Requeue),
        1 => Just(Step::Raise),
        4 => Just(Step::Close(Closing::Completed)),
        2 => Just(Step::Close(Closing::Failed)),
        1 => Just(Step::Close(Closing::Skipped)),
        2 => Just(Step::Close(Closing::RolledBack)),
        1 => Just(Step::Close(Closing::Refused)),
    ]
}

/// Where an attempt must stand for a step to hold: the contract, written down a second time.
fn holds(step: Step, open: &OpenAttempt) -> bool {
    use OpenState as S;
    let rollback = open.kind == Kind::Rollback;
    match step {
        // Admission is compared apart: it depends on the room.
        Step::Admit { .. } => false,
        Step::Fence | Step::Requeue => {
            open.state == S::Pausing || (open.state == S::RollingBack && !open.removed)
        }
        Step::Copy => open.state == S::Copying,
        Step::Verify => open.state == S::Verifying,
        Step::Remove => open.state == S::RollingBack && !open.removed,
        Step::Raise => !rollback,
        Step::Close(Closing::Completed) => open.state == S::Completing,
        Step::Close(Closing::Failed) => open.state == S::Failing && !rollback,
        Step::Close(Closing::Skipped) => open.state == S::Pausing,
        Step::Close(Closing::RolledBack) => open.state == S::RollingBack && open.removed,
        Step::Close(Closing::Refused) => {
            rollback && !open.removed && matches!(open.state, S::Queued | S::RollingBack)
        }
    }
}

/// What a history has seen.
struct History<'b> {
    bench: &'b Bench,
    cohorts: Vec<CohortInfo>,
    /// The versions under which each user's attempts were opened.
    opened: BTreeMap<String, BTreeSet<i64>>,
}

impl<'b> History<'b> {
    async fn new(bench: &'b Bench) -> Self {
        bench.install().await;
        let mut cohorts = Vec::new();
        for nth in 0..COHORTS {
            cohorts.push(bench.cohort(&format!("c{nth}"), &[]).await);
        }
        Self { bench, cohorts, opened: BTreeMap::new() }
    }

    async fn apply(&mut self, op: &Op) {
        let (t, cohorts) = (&self.bench.tracking, &self.cohorts);
        match op {
            Op::Add { cohort, users } => {
                let users = names(users);
                let report = self
                    .bench
                    .add(&cohorts[*cohort], &users.iter().map(String::as_str).collect::<Vec<_>>())
                    .await;
                let told = report.added + report.duplicates + report.already_here + report.other_cohort;
                assert_eq!(told as usize, users.len(), "{report:?}");
            }
            Op::Remove { cohort, users } => {
                let users = names(users);
                let told = t.remove_users(&cohorts[*cohort], &users).await.unwrap();
                assert_eq!(told.removed.len() + told.launched.len() + told.unknown.len(), users.len());
            }
            Op::Launch { cohort, limit } => {
                let before = self.count(*cohort).await.not_started;
                let launched = t.launch(&cohorts[*cohort], *limit).await.unwrap();
                assert_eq!(launched.queued, before.min(limit.unwrap_or(i64::MAX)));
                assert_eq!(launched.queued + launched.not_started, before);
            }
            Op::Draw { kind, most } => self.draw(*kind, *most).await,
            Op::Hold { cohort } => drop(t.hold(&cohorts[*cohort], "a test").await.unwrap()),
            Op::Release { cohort } => drop(t.release(&cohorts[*cohort]).await.unwrap()),
            Op::Cancel { cohort } => {
                let before = self.count(*cohort).await.queued;
                let cancelled = t.cancel(&cohorts[*cohort]).await.unwrap();
                assert_eq!(cancelled.withdrawn, before);
                assert_eq!(self.count(*cohort).await.queued, 0);
            }
            Op::Retry { cohort, of, users } => {
                let users = users.as_deref().map(names);
                t.retry(&cohorts[*cohort], *of, users.as_deref()).await.unwrap();
            }
            Op::AskRollback { cohort, users } => {
                let users = users.as_deref().map(names);
                t.request_rollback(&cohorts[*cohort], users.as_deref()).await.unwrap();
            }
            Op::CancelRollbacks { cohort } => drop(t.cancel_rollbacks(&cohorts[*cohort]).await.unwrap()),
            Op::Fold => drop(t.fold_counters().await.unwrap()),
            Op::Step { step, of } => self.step(*step, *of).await,
        }
    }

    async fn count(&self, cohort: usize) -> handover_tracking::StatusCounts {
        self.bench.tracking.status(&self.cohorts[cohort]).await.unwrap().users
    }

    async fn draw(&mut self, kind: Kind, most: usize) {
        let drawn = self.bench.tracking.draw(kind, most).await.unwrap();
        assert!(drawn.len() <= most);
        for drawn in drawn {
            let before = self.opened.entry(drawn.user.clone()).or_default();
            let newest = before.last().copied().unwrap_or(0);
            assert!(drawn.version > newest, "{} was opened under {newest} before: {drawn:?}", drawn.user);
            before.insert(drawn.version);
        }
    }

    /// Tries a step on the attempts that the bits choose, with doubled and stale claims among them.
    async fn step(&mut self, step: Step, of: u16) {
        let bench = self.bench;
        let all = bench.tracking.standing(-1_000, 1_000).await.unwrap();
        let chosen: Vec<OpenAttempt> = all
            .into_iter()
            .map(|(_, open)| open)
            .enumerate()
            .filter(|(nth, _)| of >> (nth % 16) & 1 == 1)
            .map(|(_, open)| open)
            .collect();
        let mut claims: Vec<Claim> = chosen.iter().map(OpenAttempt::claim).collect();
        if let Some(first) = claims.first().cloned() {
            claims.push(Claim { version: first.version - 1, ..first.clone() });
            claims.push(first);
        }
        if let Step::Admit { kind, bound } = step {
            return self.admit(kind, bound, &chosen, &claims).await;
        }
        let held = match step {
            Step::Fence => bench.tracking.fenced(1, &claims, "0/16", "s/1").await.unwrap(),
            Step::Copy => bench.copied(&claims).await.unwrap(),
            Step::Verify => bench.tracking.verified(1, &claims).await.unwrap(),
            Step::Remove => bench.removed(&claims).await.unwrap(),
            Step::Requeue => bench.tracking.requeue(1, &claims).await.unwrap(),
            Step::Close(how) => bench.close(how, &claims).await,
            Step::Raise | Step::Admit { .. } => self.raise(&chosen).await,
        };
        let held: BTreeSet<&str> = held.iter().map(|claim| claim.user.as_str()).collect();
        let want: BTreeSet<&str> =
            chosen.iter().filter(|open| holds(step, open)).map(|open| open.user.as_str()).collect();
        assert_eq!(held, want, "{step:?} on {chosen:?}");
    }

    async fn raise(&mut self, chosen: &[OpenAttempt]) -> Vec<Claim> {
        let mut raised = Vec::new();
        for open in chosen {
            // As the engine does: who is being taken back already keeps the version it has.
            let to = open.version + i64::from(open.reason.is_none());
            let reason = json!({ "message": "test" });
            if self.bench.tracking.raise(1, &open.claim(), to, &reason, None).await.unwrap() {
                self.opened.entry(open.user.clone()).or_default().insert(to);
                raised.push(open.claim());
            }
        }
        raised
    }

    async fn admit(&self, kind: Kind, bound: u32, chosen: &[OpenAttempt], claims: &[Claim]) {
        let before = self.bench.paused().await;
        let admission = self.bench.tracking.admit(1, kind, claims, bound).await.unwrap();
        let waiting =
            chosen.iter().filter(|open| open.state == OpenState::Queued && open.kind == kind).count();
        let after = self.bench.paused().await;
        let room = (i64::from(bound) - before).max(0);
        // A doubled claim takes room in the batch, never a second place.
        assert!(after - before <= room.min(waiting as i64), "{before} became {after} under {bound}");
        assert!(after > before || room == 0 || waiting == 0, "there was room for {room} of {waiting}");
        let target = if kind == Kind::Move { OpenState::Pausing } else { OpenState::RollingBack };
        assert!(admission.admitted.iter().all(|open| open.state == target && open.kind == kind));
    }
}

fn names(users: &[usize]) -> Vec<String> {
    users.iter().map(|nth| format!("u{nth}")).collect()
}

async fn play(bench: &Bench, ops: &[Op]) {
    let mut history = History::new(bench).await;
    for (nth, op) in ops.iter().enumerate() {
        history.apply(op).await;
        bench.assert_sound(&format!("step {nth}, {op:?}")).await;
    }
    drain(&mut history).await;
    bench.assert_sound("the end").await;
}

/// Whatever has happened, everybody can still be brought home.
async fn drain(history: &mut History<'_>) {
    let t = &history.bench.tracking;
    for cohort in &history.cohorts {
        t.release(cohort).await.unwrap();
        t.launch(cohort, None).await.unwrap();
    }
    for _ in 0..4 {
        history.draw(Kind::Move, 1_000).await;
        history.draw(Kind::Rollback, 1_000).await;
        for step in [
            Step::Close(Closing::Failed),
            Step::Close(Closing::RolledBack),
            Step::Close(Closing::Refused),
            Step::Admit { kind: Kind::Move, bound: AMPLE },
            Step::Fence,
            Step::Copy,
            Step::Verify,
            Step::Close(Closing::Completed),
        ] {
            history.step(step, u16::MAX).await;
        }
    }
    for cohort in 0..COHORTS {
        let users = history.count(cohort).await;
        assert_eq!(users.unsettled() + users.not_started, 0, "{users:?}");
    }
}

#[test]
fn no_history_loses_a_user_counts_one_twice_or_gives_a_version_out_again() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = runtime.block_on(Bench::new());
    let config = Config { cases: 16, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let run = runner.run(&ops(), |ops| {
        runtime.block_on(play(&bench, &ops));
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}
