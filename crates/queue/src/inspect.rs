//! Looking at queues without taking anything: depth, and which jobs are there.

use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::delivery::Token;
use crate::entry::{self, Entry};
use crate::error::Error;
use crate::keys::Key;
use crate::queues::Queues;
use crate::scripts::CHUNK;

/// How much one stage has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Jobs that wait to be claimed.
    pub waiting: u64,
    /// Jobs that workers hold.
    pub inflight: u64,
    /// Jobs that wait for a retry.
    pub delayed: u64,
    /// Jobs that were given up.
    pub dead: u64,
    /// How long ago, in ms, the job that is claimed next was queued first; none if nothing waits, or the
    /// entry does not say.
    pub oldest_age_ms: Option<u64>,
}

/// The jobs that a stage has: waiting, delayed and held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<T> {
    /// The jobs, in no order; one that moved meanwhile may be here twice, or, seldom, not at all.
    pub jobs: Vec<T>,
    /// Whether there were more than the limit allowed.
    pub truncated: bool,
}

impl Queues {
    /// How much a stage has to do, all of it read at one moment.
    pub async fn depth(&self, stage: &str) -> Result<Depth, Error> {
        let keys = &self.inner.keys;
        let all = [keys.queue(stage), keys.inflight(stage), keys.delayed(stage), keys.dead(stage)];
        let call = Call::script(&self.inner.scripts.depth, all);
        let (waiting, inflight, delayed, dead, now, oldest): (u64, u64, u64, u64, u64, Vec<u8>) =
            self.inner.background.call(call).await?;
        let oldest_age_ms = entry::queued_at(&oldest).map(|at| now.saturating_sub(at));
        Ok(Depth { waiting, inflight, delayed, dead, oldest_age_ms })
    }

    /// Which jobs a stage has, up to `limit`, read a thousand at a time. Entries that cannot be read are
    /// left out: a claim sets them aside.
    pub async fn snapshot<T: DeserializeOwned>(
        &self,
        stage: &str,
        limit: usize,
    ) -> Result<Snapshot<T>, Error> {
        let keys = &self.inner.keys;
        let mut raw = Vec::new();
        // In the order in which a job moves on, so that one that moves meanwhile is still met.
        self.scan(keys.delayed(stage), limit, &mut raw).await?;
        self.range(keys.queue(stage), limit, &mut raw).await?;
        let held = raw.len();
        self.scan(keys.inflight(stage), limit, &mut raw).await?;
        for member in &mut raw[held..] {
            *member = Token::from_member(member).raw().to_vec();
        }
        let truncated = raw.len() > limit;
        raw.truncate(limit);
        let jobs = raw.iter().filter_map(|raw| Entry::parse(raw).ok()).map(|entry| entry.job).collect();
        Ok(Snapshot { jobs, truncated })
    }

    /// From the left: jobs leave on the right, so none slips past the reader; new ones push some on to
    /// where they are read twice.
    async fn range(&self, key: Key, limit: usize, raw: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        let mut from = 0;
        while raw.len() <= limit {
            let call = Call::command("LRANGE", key.clone()).arg(from).arg(from + CHUNK - 1);
            let mut chunk: Vec<Vec<u8>> = self.inner.background.call(call).await?;
            let full = chunk.len() == CHUNK;
            raw.append(&mut chunk);
            if !full {
                break;
            }
            from += CHUNK;
        }
        Ok(())
    }

    async fn scan(&self, key: Key, limit: usize, raw: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        let mut cursor = 0_u64;
        while raw.len() <= limit {
            let call = Call::command("ZSCAN", key.clone()).arg(cursor).arg("COUNT").arg(CHUNK);
            let (next, pairs): (u64, Vec<Vec<u8>>) = self.inner.background.call(call).await?;
            // Members and scores alternate.
            raw.extend(pairs.into_iter().step_by(2));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(())
    }
}
