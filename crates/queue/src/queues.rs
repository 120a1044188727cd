//! The stages' queues: push, claim, and what a worker does with the jobs it holds.
//!
//! All of this is the hot path: one script per transition, over one shared connection, hundreds of jobs at
//! a time. What needs no hurry is in `lease`, `inspect` and `dead`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use handover_fault::{named, point};
use redis::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::company;
use crate::dead::record;
use crate::delivery::{Claimed, Delivery, Settled, Token};
use crate::entry::{Entry, Garbled, with_notes};
use crate::error::{Error, Rejected};
use crate::keys::Keyspace;
use crate::link::{Background, Link};
use crate::scripts::{CHUNK, Scripts};
use crate::target::RedisTarget;

/// All stages' queues of one installation. Cloning is cheap, and clones share the connections.
#[derive(Clone)]
pub struct Queues {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) hot: Link,
    pub(crate) background: Background,
    pub(crate) scripts: Scripts,
    pub(crate) keys: Keyspace,
    pub(crate) dead_cap: usize,
    /// Numbers the claims; starts at random, so that no two processes share a delivery id.
    claims: AtomicU64,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queues").field("keys", &self.inner.keys).finish_non_exhaustive()
    }
}

impl Queues {
    /// Prepares the queues without reaching for Redis: connections are made when they are needed, and
    /// made anew after they broke. Fails on settings that can never work.
    pub fn new(target: &RedisTarget) -> Result<Self, Error> {
        let client = target.client()?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Error::Settings(error.to_string()))?;
        let inner = Inner {
            hot: Link::new(client.clone(), target.response_timeout),
            background: Background::new(&client)?,
            client,
            scripts: Scripts::new(),
            keys: Keyspace::new(target.prefix.clone()),
            dead_cap: target.dead_cap.max(1),
            claims: AtomicU64::new(u64::from_be_bytes(seed)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// As [`Queues::new`], and makes sure that Redis answers and is new enough.
    pub async fn connect(target: &RedisTarget) -> Result<Self, Error> {
        let queues = Self::new(target)?;
        queues.check().await?;
        Ok(queues)
    }

    /// Makes sure that Redis answers and is 6.2 or newer.
    pub async fn check(&self) -> Result<(), Error> {
        let info: String = self.inner.hot.call(Call::keyless("INFO").arg("server")).await?;
        let found = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("0").trim();
        let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if version < (6, 2) {
            return Err(Error::TooOld { found: found.to_owned() });
        }
        Ok(())
    }

    /// The keys of this installation.
    pub fn keys(&self) -> &Keyspace {
        &self.inner.keys
    }

    /// Redis' own clock, in ms since the epoch.
    pub async fn now_ms(&self) -> Result<u64, Error> {
        let (seconds, micros): (u64, u64) = self.inner.hot.call(Call::keyless("TIME")).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// Queues jobs behind those that wait. After an error some thousands of a larger slice may have been
    /// queued; queuing them again does no harm, since every job can run twice.
    pub async fn push<T: Serialize>(&self, stage: &str, entries: &[Entry<T>]) -> Result<(), Error> {
        for chunk in entries.chunks(CHUNK) {
            let mut call = Call::command("LPUSH", self.inner.keys.queue(stage));
            append(&mut call, chunk)?;
            point("queue.pushing").await?;
            let _length: usize = self.inner.hot.call(call).await?;
            point("queue.pushed").await?;
        }
        Ok(())
    }

    /// Takes up to `max` (at most 1,000) of the jobs that have waited longest, for `worker` alone until
    /// `lease` has passed. Does not wait: see [`crate::Doorbell`].
    ///
    /// Jobs whose worker vanished come in small company, and in the end alone, so fewer than `max` may
    /// come although more wait. Entries that cannot be read go to the dead. If this future is dropped, or
    /// the answer is lost, what was claimed waits for its lease to run out.
    pub async fn claim<T: DeserializeOwned>(
        &self,
        stage: &str,
        worker: &str,
        max: usize,
        lease: Duration,
    ) -> Result<Claimed<T>, Error> {
        let max = max.min(CHUNK);
        if max == 0 {
            return Ok(Claimed::nothing());
        }
        let keys = &self.inner.keys;
        let id = self.delivery_id(worker);
        let call = Call::script(&self.inner.scripts.claim, [keys.queue(stage), keys.inflight(stage)])
            .arg(max)
            .arg(millis(lease))
            .arg(&id);
        point("queue.claiming").await?;
        let raw: Vec<Vec<u8>> = self.inner.hot.call(call).await?;
        point("queue.claimed").await?;
        let (jobs, garbled) = sort_out(&id, &raw);
        let garbled = self.set_aside(stage, &garbled).await;
        let jobs = self.separate(stage, jobs, max).await;
        Ok(Claimed { jobs, garbled })
    }

    /// Removes deliveries that are done, and queues what follows from them. With up to 1,000 of each this
    /// is one step: neither without the other. With more, what follows is queued first.
    pub async fn ack<T: Serialize>(
        &self,
        stage: &str,
        deliveries: Vec<Delivery<T>>,
        next: Option<(&str, &[Entry<T>])>,
    ) -> Result<Settled, Rejected<T>> {
        let (next_stage, entries) = next.unwrap_or((stage, &[]));
        // What goes along with the first deliveries; with none, everything is pushed on its own.
        let along = if deliveries.is_empty() { 0 } else { entries.len().min(CHUNK) };
        let (alone, along) = entries.split_at(entries.len() - along);
        if let Err(error) = self.push(next_stage, alone).await {
            return Err(Rejected { error, deliveries });
        }
        let keys = &self.inner.keys;
        let script = &self.inner.scripts.ack;
        let mut along = Some(along).filter(|entries| !entries.is_empty());
        self.settle(deliveries, [named("queue.acking"), named("queue.acked")], |chunk| {
            let follows = along.take();
            let mut call = match follows {
                Some(_) => Call::script(script, [keys.inflight(stage), keys.queue(next_stage)]),
                None => Call::script(script, [keys.inflight(stage)]),
            };
            call.push(chunk.len());
            for delivery in chunk {
                call.push(delivery.token().member());
            }
            append(&mut call, follows.unwrap_or_default())?;
            Ok(call)
        })
        .await
    }

    /// Puts deliveries aside until `delay` has passed, with one more try counted. [`crate::backoff()`]
    /// draws a delay. A delivery that is not held any more is left to whoever holds the job now.
    pub async fn retry<T>(
        &self,
        stage: &str,
        deliveries: Vec<Delivery<T>>,
        mut delay: impl FnMut(&Entry<T>) -> Duration,
    ) -> Result<Settled, Rejected<T>> {
        let keys = &self.inner.keys;
        self.settle(deliveries, [named("queue.retrying"), named("queue.retried")], |chunk| {
            let mut call =
                Call::script(&self.inner.scripts.retry, [keys.inflight(stage), keys.delayed(stage)]);
            for delivery in chunk {
                let tries = u64::from(delivery.entry.tries.saturating_add(1));
                let entry = with_notes(delivery.token().raw(), &[("tries", tries)])
                    .map_err(|error| Error::Encode(error.to_string()))?;
                call.push(delivery.token().member());
                call.push(millis(delay(&delivery.entry)));
                call.push(entry);
            }
            Ok(call)
        })
        .await
    }

    /// Returns deliveries that were not begun: they are the next to be claimed, with no try counted.
    pub async fn hand_back<T>(
        &self,
        stage: &str,
        mut deliveries: Vec<Delivery<T>>,
    ) -> Result<Settled, Rejected<T>> {
        let keys = &self.inner.keys;
        deliveries.reverse();
        self.settle(deliveries, [named("queue.handing_back"), named("queue.handed_back")], |chunk| {
            let mut call =
                Call::script(&self.inner.scripts.hand_back, [keys.inflight(stage), keys.queue(stage)]);
            for delivery in chunk {
                call.push(delivery.token().member());
            }
            Ok(call)
        })
        .await
    }

    /// Gives deliveries up: they go to the dead with `error`, which must not quote personal data.
    pub async fn park<T>(
        &self,
        stage: &str,
        deliveries: Vec<Delivery<T>>,
        error: &str,
    ) -> Result<Settled, Rejected<T>> {
        self.settle(deliveries, [named("queue.parking"), named("queue.parked")], |chunk| {
            Ok(self.park_call(stage, chunk.iter().map(|delivery| (delivery.token(), error))))
        })
        .await
    }

    /// Runs `call` for up to [`CHUNK`] deliveries at a time, and gives back what an error left over.
    async fn settle<'a, T>(
        &'a self,
        mut deliveries: Vec<Delivery<T>>,
        [before, after]: [&'static str; 2],
        mut call: impl FnMut(&[Delivery<T>]) -> Result<Call<'a>, Error>,
    ) -> Result<Settled, Rejected<T>> {
        let mut outcome = Settled::default();
        let mut from = 0;
        while from < deliveries.len() {
            let to = deliveries.len().min(from + CHUNK);
            let settled: Result<usize, Error> = match call(&deliveries[from..to]) {
                Ok(call) => self.between(before, call, after).await,
                Err(error) => Err(error),
            };
            match settled {
                Ok(settled) => {
                    outcome.settled += settled;
                    outcome.lost += to - from - settled;
                    from = to;
                }
                Err(error) => {
                    deliveries.drain(..from);
                    return Err(Rejected { error, deliveries });
                }
            }
        }
        Ok(outcome)
    }

    /// A call with a crash point on either side of it.
    async fn between(
        &self,
        before: &'static str,
        call: Call<'_>,
        after: &'static str,
    ) -> Result<usize, Error> {
        point(before).await?;
        let answer = self.inner.hot.call(call).await?;
        point(after).await?;
        Ok(answer)
    }

    fn park_call<'a, 't, E: std::fmt::Display>(
        &'a self,
        stage: &str,
        given_up: impl Iterator<Item = (&'t Token, E)>,
    ) -> Call<'a> {
        let keys = &self.inner.keys;
        let mut call = Call::script(&self.inner.scripts.park, [keys.inflight(stage), keys.dead(stage)])
            .arg(self.inner.dead_cap);
        for (token, error) in given_up {
            call.push(token.member());
            call.push(record(stage, &error.to_string(), token.raw()));
        }
        call
    }

    /// Moves garbled entries to the dead. Where that fails they stay held, and recovery finds them.
    async fn set_aside(&self, stage: &str, garbled: &[(Token, Garbled)]) -> usize {
        if garbled.is_empty() {
            return 0;
        }
        let call = self.park_call(stage, garbled.iter().map(|(token, why)| (token, why)));
        match self.inner.hot.call::<usize>(call).await {
            Ok(count) => count,
            Err(error) => {
                tracing::warn!(stage, count = garbled.len(), %error, "could not set garbled entries aside");
                0
            }
        }
    }

    /// Hands back those that must not share a worker with a suspect, or with which a suspect must not.
    async fn separate<T>(&self, stage: &str, mut jobs: Vec<Delivery<T>>, max: usize) -> Vec<Delivery<T>> {
        let keep = company::keep(jobs.iter().map(|job| job.entry.recoveries), max);
        if keep == jobs.len() {
            return jobs;
        }
        let others = jobs.split_off(keep);
        if let Err(Rejected { error, mut deliveries }) = self.hand_back(stage, others).await {
            tracing::warn!(stage, %error, "could not hand back the company of a suspect job");
            deliveries.reverse();
            jobs.append(&mut deliveries);
        }
        jobs
    }

    /// Names a claim: nobody else, no other process and no earlier one, gives the same name.
    fn delivery_id(&self, worker: &str) -> String {
        let number = self.inner.claims.fetch_add(1, Ordering::Relaxed);
        let worker = worker.replace(char::is_whitespace, "_");
        format!("{worker}:{number:016x}")
    }
}

fn sort_out<T: DeserializeOwned>(id: &str, raw: &[Vec<u8>]) -> (Vec<Delivery<T>>, Vec<(Token, Garbled)>) {
    let mut jobs = Vec::with_capacity(raw.len());
    let mut garbled = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let token = Token::new(id, index + 1, raw);
        match Entry::parse(raw) {
            Ok(entry) => jobs.push(Delivery::new(entry, token)),
            Err(why) => garbled.push((token, why)),
        }
    }
    (jobs, garbled)
}

fn append<T: Serialize>(call: &mut Call<'_>, entries: &[Entry<T>]) -> Result<(), Error> {
    let mut json = Vec::with_capacity(256);
    for entry in entries {
        json.clear();
        serde_json::to_writer(&mut json, entry).map_err(|error| Error::Encode(error.to_string()))?;
        call.push(&json);
    }
    Ok(())
}

/// Whole milliseconds, at least one: a lease of nothing would be recovered at once.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_MILLIS)
}

/// About 31 years: further than that a sum with the clock might leave the integers that Lua can hold.
const MAX_MILLIS: u64 = 1_000_000_000_000;
