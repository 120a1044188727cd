//! Memberships and drains: who is waited for, and for how long.

use std::time::Duration;

use handover_identity::{Drained, Error, Identity, Mirrored, Position, Registration};
use tokio::time::Instant;

use crate::support::{Stage, at, mirror_at, names};

const LONG: Duration = Duration::from_secs(20);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn gate(id: &str, lease: Duration, max_request: Duration) -> Registration {
    Registration { id: id.to_owned(), kind: "layer".to_owned(), lease, max_request }
}

impl Stage {
    /// Registers a gate whose term is that long.
    async fn member(&self, id: &str, term: Duration) {
        assert!(self.truth().register_gate(&gate(id, term / 2, term / 2)).await.expect("identity answers"));
    }

    async fn member_ids(&self) -> Vec<String> {
        self.truth().members().await.expect("identity answers").into_iter().map(|member| member.id).collect()
    }

    /// Pauses these users; the position that the mirror named.
    async fn pause<const N: usize>(&self, users: [&str; N]) -> Position {
        match self.identity.begin("m", &at(users, 1)).await.expect("identity answers").mirrored {
            Mirrored::Yes(Some(position)) => position,
            other => panic!("{other:?}"),
        }
    }

    /// Says what a gate says, as docs/redis.md has it.
    async fn tells(&self, id: &str, position: &Position, busy: &str) {
        let mut command = redis::cmd("HSET");
        command.arg(self.keys.gate(id)).arg("gen").arg(&position.generation);
        command.arg("n").arg(position.number).arg("busy").arg(busy);
        command.exec_async(&mut self.redis.clone()).await.expect("redis answers");
    }

    async fn drain<const N: usize>(&self, users: [&str; N], position: &Position) -> Drained {
        self.identity.drain(&names(users), Some(position), Duration::ZERO).await.expect("identity answers")
    }

    /// Starts a drain of `a` that is known to be waiting when this returns.
    async fn draining(&self, position: &Position) -> tokio::task::JoinHandle<Drained> {
        let (identity, position) = (self.identity.clone(), position.clone());
        let mut task = tokio::spawn(async move {
            identity.drain(&names(["a"]), Some(&position), Duration::ZERO).await.expect("identity answers")
        });
        let ended = tokio::time::timeout(ms(150), &mut task).await;
        assert!(ended.is_err(), "nobody has acknowledged yet: {ended:?}");
        task
    }
}

#[tokio::test]
async fn a_gate_is_a_member_from_its_registration_until_it_signs_off() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    assert!(truth.members().await.unwrap().is_empty());
    assert!(truth.register_gate(&gate("g1", LONG, LONG)).await.unwrap(), "new");
    assert!(!truth.register_gate(&gate("g1", LONG, LONG)).await.unwrap(), "a heartbeat");
    stage.member("g2", LONG).await;
    assert_eq!(stage.member_ids().await, ["g1", "g2"]);
    assert!(truth.sign_off_gate("g1").await.unwrap());
    assert!(!truth.sign_off_gate("g1").await.unwrap(), "a repeat");
    assert!(!truth.sign_off_gate("nobody").await.unwrap());
    assert_eq!(stage.member_ids().await, ["g2"]);
    assert!(truth.register_gate(&gate("g1", LONG, LONG)).await.unwrap(), "it has come back");
}

#[tokio::test]
async fn a_silent_gate_is_a_member_for_lease_and_longest_request_and_no_longer() {
    let stage = Stage::new().await;
    let (gate, term) = (gate("g", ms(600), ms(900)), ms(1500));
    let mut last_heard_of = Instant::now();
    assert!(stage.truth().register_gate(&gate).await.unwrap(), "new");
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(ms(50));
    while begun.elapsed() < term + ms(300) {
        ticks.tick().await;
        last_heard_of = Instant::now();
        assert!(!stage.truth().register_gate(&gate).await.unwrap(), "heard of in time, and a member still");
    }
    while !stage.member_ids().await.is_empty() {
        assert!(last_heard_of.elapsed() < term * 4, "a member for ever");
        ticks.tick().await;
    }
    assert!(last_heard_of.elapsed() >= term, "a member for {:?} only", last_heard_of.elapsed());
    assert!(stage.truth().register_gate(&gate).await.unwrap(), "a member anew");
}

#[tokio::test]
async fn a_members_terms_are_never_shortened() {
    let stage = Stage::new().await;
    let truth = stage.truth();
    truth.register_gate(&gate("g", LONG, ms(500))).await.unwrap();
    truth.register_gate(&gate("g", ms(100), LONG)).await.unwrap();
    let members = truth.members().await.unwrap();
    assert_eq!((members[0].lease, members[0].max_request, members[0].term()), (LONG, LONG, LONG * 2));
    truth.sign_off_gate("g").await.unwrap();
    truth.register_gate(&gate("g", ms(100), ms(100))).await.unwrap();
    assert_eq!(truth.members().await.unwrap()[0].term(), ms(200));
}

#[tokio::test]
async fn registrations_that_cannot_be_kept_are_refused() {
    let stage = Stage::new().await;
    let long_id = "x".repeat(129);
    for wrong in [
        gate("", LONG, LONG),
        gate("a b", LONG, LONG),
        gate(&long_id, LONG, LONG),
        gate("g", Duration::ZERO, LONG),
        gate("g", LONG, Duration::from_secs(3601)),
        Registration { kind: String::new(), ..gate("g", LONG, LONG) },
    ] {
        assert!(matches!(stage.truth().register_gate(&wrong).await, Err(Error::Gate(_))), "{wrong:?}");
    }
    assert!(stage.member_ids().await.is_empty());
}

#[tokio::test]
async fn without_members_the_floor_alone_is_waited_for() {
    let stage = Stage::new().await;
    let position = stage.pause(["a"]).await;
    let drained = stage.drain(["a"], &position).await;
    assert_eq!((drained.acknowledged, drained.silent, drained.gone), (0, 0, 0));
    let begun = Instant::now();
    let users = names(["a"]);
    let drained = stage.identity.drain(&users, Some(&position), ms(300)).await.unwrap();
    assert!(begun.elapsed() >= ms(300) && drained.waited >= ms(300), "{drained:?}");
    let nobody = stage.identity.drain(&[], None, LONG).await.unwrap();
    assert_eq!(nobody, Drained::default());
}

#[tokio::test]
async fn a_gate_that_acknowledges_is_not_waited_for() {
    let stage = Stage::new().await;
    stage.member("g", LONG).await;
    let position = stage.pause(["a"]).await;
    stage.tells("g", &position, "[]").await;
    let drained = stage.drain(["a"], &position).await;
    assert_eq!((drained.acknowledged, drained.silent), (1, 0));
    assert!(drained.waited < ms(2000), "{drained:?}");

    let floor = ms(300);
    let drained = stage.identity.drain(&names(["a"]), Some(&position), floor).await.unwrap();
    assert!(drained.waited >= floor, "the floor is for those who are no members: {drained:?}");
}

#[tokio::test]
async fn the_drain_ends_when_the_gate_has_caught_up() {
    let stage = Stage::new().await;
    stage.member("g", LONG).await;
    let before = stage.identity.mirror().heartbeat().await.unwrap();
    stage.tells("g", &before, "[]").await;
    let position = stage.pause(["a"]).await;
    let drain = stage.draining(&position).await;
    stage.tells("g", &stage.identity.mirror().heartbeat().await.unwrap(), "[]").await;
    assert_eq!(drain.await.unwrap().acknowledged, 1);
}

#[tokio::test]
async fn a_busy_user_holds_the_drain_and_others_do_not() {
    let stage = Stage::new().await;
    stage.member("g", LONG).await;
    let position = stage.pause(["a", "b"]).await;
    stage.tells("g", &position, r#"["a"]"#).await;
    assert_eq!(stage.drain(["b"], &position).await.acknowledged, 1);
    let drain = stage.draining(&position).await;
    stage.tells("g", &position, r#"["b"]"#).await;
    assert_eq!(drain.await.unwrap().acknowledged, 1);
}

#[tokio::test]
async fn a_silent_gate_costs_its_own_lease_and_longest_request() {
    let stage = Stage::new().await;
    stage.member("quick", ms(300)).await;
    // Not only the shortest: each for its own term, though a membership may run out before that.
    stage.truth().register_gate(&gate("slow", ms(400), ms(600))).await.unwrap();
    let position = stage.pause(["a"]).await;
    let drain = tokio::spawn({
        let (identity, position) = (stage.identity.clone(), position.clone());
        async move { identity.drain(&names(["a"]), Some(&position), Duration::ZERO).await.unwrap() }
    });
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(ms(50));
    while begun.elapsed() < ms(700) {
        // Alive, and saying nothing of the pause.
        stage.truth().register_gate(&gate("slow", ms(400), ms(600))).await.unwrap();
        stage.truth().register_gate(&gate("quick", ms(150), ms(150))).await.unwrap();
        ticks.tick().await;
    }
    let drained = drain.await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent + drained.gone), (0, 2));
    assert!(drained.silent >= 1 && drained.waited >= ms(1000), "{drained:?}");
    assert!(drained.waited < ms(3000), "{drained:?}");
}

#[tokio::test]
async fn a_gate_that_signs_off_is_not_waited_for() {
    let stage = Stage::new().await;
    stage.member("g", LONG).await;
    stage.member("other", LONG).await;
    let position = stage.pause(["a"]).await;
    stage.tells("other", &position, "[]").await;
    let drain = stage.draining(&position).await;
    stage.truth().sign_off_gate("g").await.unwrap();
    let drained = drain.await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent, drained.gone), (1, 0, 1));
    assert_eq!(stage.drain(["a"], &position).await.gone, 0, "nor is it in the next drain");
}

#[tokio::test]
async fn an_emptied_redis_does_not_shorten_the_drain() {
    let stage = Stage::new().await;
    let begun = Instant::now();
    stage.member("g", ms(600)).await;
    let position = stage.pause(["a"]).await;
    stage.delete_keys().await;
    let drained = stage.drain(["a"], &position).await;
    assert_eq!((drained.acknowledged, drained.silent + drained.gone), (0, 1));
    assert!(begun.elapsed() >= ms(600), "membership is Postgres' word: {drained:?}");
}

#[tokio::test]
async fn another_generation_is_no_acknowledgement_however_high_its_number() {
    let stage = Stage::new().await;
    stage.truth().register_gate(&gate("g", LONG, ms(1))).await.unwrap();
    let position = stage.pause(["a"]).await;
    stage.delete_keys().await;
    let mut anew = stage.identity.mirror().heartbeat().await.unwrap();
    while anew.number <= position.number {
        anew = stage.identity.mirror().heartbeat().await.unwrap();
    }
    assert_ne!(anew.generation, position.generation);
    stage.tells("g", &anew, "[]").await;
    let drain = stage.draining(&position).await;
    drain.abort();
}

#[tokio::test]
async fn a_drain_goes_on_without_redis_and_fails_without_postgres() {
    let stage = Stage::new().await;
    let begun = Instant::now();
    stage.member("g", ms(600)).await;
    let position = stage.pause(["a"]).await;
    // Nobody listens on port 1.
    let deaf = Identity::new(stage.truth().clone(), mirror_at("redis://127.0.0.1:1/", "x"));
    let drained = deaf.drain(&names(["a"]), Some(&position), Duration::ZERO).await.unwrap();
    assert_eq!(drained.acknowledged, 0);
    assert!(begun.elapsed() >= ms(600), "{drained:?}");
    let session = stage.pool.get().await.unwrap();
    session.batch_execute("DROP TABLE identity.gate").await.unwrap();
    assert!(stage.identity.drain(&names(["a"]), Some(&position), Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn without_a_position_every_member_is_waited_for_in_full() {
    let stage = Stage::new().await;
    let begun = Instant::now();
    stage.member("g", ms(500)).await;
    let position = stage.pause(["a"]).await;
    stage.tells("g", &position, "[]").await;
    let drained = stage.identity.drain(&names(["a"]), None, Duration::ZERO).await.unwrap();
    assert_eq!((drained.acknowledged, drained.silent + drained.gone), (0, 1));
    assert!(begun.elapsed() >= ms(500), "{drained:?}");
}
