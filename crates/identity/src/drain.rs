//! The drain: how a pause becomes a guarantee where the fence is cooperative. Waits until every gate has let go
//! of the paused users, or can no longer be holding on to them.
//!
//! Who must be waited for is read from Postgres; Redis only tells sooner that somebody need not be. An emptied,
//! silent or rewound Redis therefore makes a drain longer, never shorter.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use handover_fault::{Mutant, mutated, point};
use tokio::time::Instant;

use crate::error::Error;
use crate::mirror::{Position, Told};
use crate::service::Identity;
use crate::truth::Member;

/// How often gates' hashes are read at first, and at most: no event tells of a hash that was written.
const FIRST_POLL: Duration = Duration::from_millis(1);
const LAST_POLL: Duration = Duration::from_millis(20);
/// How often the members are read again, for those who have signed off.
const REFRESH: Duration = Duration::from_millis(200);

/// How a drain ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// How long it took.
    pub waited: Duration,
    /// Gates that said they know of the pause, and hold none of the users.
    pub acknowledged: usize,
    /// Gates that did not say so: their lease and longest request were waited for.
    pub silent: usize,
    /// Gates that signed off meanwhile, or whose membership ran out.
    pub gone: usize,
}

/// The gates that are still waited for.
struct Wait<'a> {
    users: HashSet<&'a str>,
    position: Option<&'a Position>,
    /// Each with the time, from the beginning of the wait, after which it can hold no user any more.
    members: BTreeMap<String, Duration>,
    done: Drained,
}

impl Identity {
    /// Waits until no gate serves any of these users on an older state than their pause.
    ///
    /// To be called once the mirror has acknowledged the pause ([`Mirrored::Yes`](crate::Mirrored)), with the
    /// position that it named. Each member's acknowledgement is waited for, at most for its own lease and
    /// longest request; without a position there can be none. `floor` is waited for in any case: it is for those
    /// who ask without being members, such as middleware that reads the mirror at each request.
    ///
    /// An error means that the members could not be read: nothing is known, and nobody may go on.
    pub async fn drain(
        &self,
        users: &[String],
        position: Option<&Position>,
        floor: Duration,
    ) -> Result<Drained, Error> {
        if users.is_empty() || mutated(Mutant::NoDrain) {
            return Ok(Drained::default());
        }
        point("drain.begins").await?;
        let begun = Instant::now();
        // Read after the mirror's word: who registers later than this asks later, and is told of the pause.
        let mut members = self.truth().members().await?;
        if mutated(Mutant::MembersFromRedis) {
            members = self.mutant_members(members).await?;
        }
        let mut wait = Wait::new(users, position, members);
        let mut refreshed = Instant::now();
        let mut poll = FIRST_POLL;
        while wait.is_on() {
            point("drain.waits").await?;
            self.listen(&mut wait, begun).await;
            if refreshed.elapsed() >= REFRESH {
                self.refresh(&mut wait).await;
                refreshed = Instant::now();
            }
            let Some(next) = wait.give_up(begun.elapsed()) else { break };
            tokio::time::sleep(poll.min(next)).await;
            poll = (poll * 2).min(LAST_POLL);
        }
        tokio::time::sleep(floor.saturating_sub(begun.elapsed())).await;
        wait.done.waited = begun.elapsed();
        record(wait.done);
        Ok(wait.done)
    }

    /// Reads what the gates say. Redis' silence is everybody's.
    async fn listen(&self, wait: &mut Wait<'_>, begun: Instant) {
        if wait.position.is_none() {
            return;
        }
        let Some(patience) = wait.next(begun.elapsed()) else { return };
        let ids: Vec<String> = wait.members.keys().cloned().collect();
        match self.mirror().told(&ids, patience).await {
            Ok(told) => wait.hear(&ids, &told),
            Err(error) => tracing::debug!(%error, "gates cannot be heard"),
        }
    }

    /// Stops waiting for gates that are members no more: they have signed off, which they do when they hold
    /// nothing, or their membership has ended, which it does after whatever they held.
    async fn refresh(&self, wait: &mut Wait<'_>) {
        match self.truth().members().await {
            Ok(members) => wait.keep(&members),
            Err(error) => {
                tracing::debug!(%error, "members cannot be read again; waiting for those of before");
            }
        }
    }
}

impl<'a> Wait<'a> {
    fn new(users: &'a [String], position: Option<&'a Position>, members: Vec<Member>) -> Self {
        let members = members.into_iter().map(|member| (member.id.clone(), member.term())).collect();
        let users = users.iter().map(String::as_str).collect();
        Self { users, position, members, done: Drained::default() }
    }

    fn is_on(&self) -> bool {
        !self.members.is_empty()
    }

    /// Takes out those who have acknowledged.
    fn hear(&mut self, ids: &[String], told: &[Option<Told>]) {
        for (id, told) in ids.iter().zip(told) {
            if self.acknowledges(told.as_ref()) && self.members.remove(id).is_some() {
                self.done.acknowledged += 1;
            }
        }
    }

    /// Whether a gate that says so acts on the pause and holds none of the users. Numbers of another generation
    /// say nothing, higher ones included: they count other entries.
    fn acknowledges(&self, told: Option<&Told>) -> bool {
        let (Some(told), Some(position)) = (told, self.position) else { return false };
        told.generation == position.generation
            && told.number >= position.number
            && told.busy.iter().all(|user| !self.users.contains(user.as_str()))
    }

    /// Takes out those who are members no more.
    fn keep(&mut self, members: &[Member]) {
        let ids: HashSet<&str> = members.iter().map(|member| member.id.as_str()).collect();
        let before = self.members.len();
        self.members.retain(|id, _| ids.contains(id.as_str()));
        self.done.gone += before - self.members.len();
    }

    /// Takes out those whose time has passed; returns how long the next one's lasts, if anybody is left.
    fn give_up(&mut self, elapsed: Duration) -> Option<Duration> {
        let silent = &mut self.done.silent;
        self.members.retain(|id, term| {
            let waits = elapsed < *term;
            if !waits {
                *silent += 1;
                tracing::warn!(gate = %id, waited = ?elapsed, "a gate did not acknowledge a pause in its time");
            }
            waits
        });
        self.next(elapsed)
    }

    /// How long the shortest term still lasts.
    fn next(&self, elapsed: Duration) -> Option<Duration> {
        self.members.values().min().map(|term| term.saturating_sub(elapsed))
    }
}

fn record(done: Drained) {
    metrics::histogram!("handover_drain_seconds").record(done.waited.as_secs_f64());
    for (outcome, gates) in
        [("acknowledged", done.acknowledged), ("silent", done.silent), ("gone", done.gone)]
    {
        if gates > 0 {
            metrics::counter!("handover_drain_gates_total", "outcome" => outcome).increment(gates as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(generation: &str, number: u64, busy: &[&str]) -> Told {
        let busy = busy.iter().map(|user| (*user).to_owned()).collect();
        Told { generation: generation.to_owned(), number, busy }
    }

    #[test]
    fn only_the_positions_own_generation_a_number_no_lower_and_no_busy_user_acknowledge() {
        let users = ["a".to_owned(), "b".to_owned()];
        let position = Position { number: 7, generation: "g".to_owned() };
        let wait = Wait::new(&users, Some(&position), Vec::new());
        assert!(wait.acknowledges(Some(&told("g", 7, &[]))));
        assert!(wait.acknowledges(Some(&told("g", 8, &["c"]))));
        assert!(!wait.acknowledges(Some(&told("g", 6, &[]))));
        assert!(!wait.acknowledges(Some(&told("h", 9, &[]))));
        assert!(!wait.acknowledges(Some(&told("g", 9, &["c", "b"]))));
        assert!(!wait.acknowledges(None));
        let wait = Wait::new(&users, None, Vec::new());
        assert!(!wait.acknowledges(Some(&told("g", 7, &[]))));
    }
}
