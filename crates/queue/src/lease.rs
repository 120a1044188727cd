//! Leases and time: renewing what a worker holds, taking back what a vanished one held, and bringing in
//! what is due for a retry.
//!
//! Any process may recover and promote, any number of them at once, as often as they like.

use crate::call::Call;
use crate::dead::record;
use crate::delivery::Token;
use crate::entry;
use crate::error::Error;
use crate::queues::{Queues, millis};
use crate::scripts::CHUNK;
use std::time::Duration;

use handover_fault::point;

/// What a recovery took back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Jobs that are queued again.
    pub requeued: usize,
    /// Jobs that were given up: they had lost too many workers, or could not be read.
    pub poisoned: usize,
}

/// How many deliveries one step of a recovery takes: each is parsed and written anew.
const STEP: usize = 256;
/// How many steps one call takes at most, so that it ends also where others add as fast.
const STEPS: usize = 64;

impl Queues {
    /// Lets the deliveries be held until `lease` from now, and returns those that are not held any more:
    /// their jobs may run elsewhere by now, and should be dropped.
    pub async fn renew(&self, stage: &str, tokens: &[Token], lease: Duration) -> Result<Vec<Token>, Error> {
        let mut lost = Vec::new();
        for chunk in tokens.chunks(CHUNK) {
            let mut call =
                Call::script(&self.inner.scripts.renew, [self.inner.keys.inflight(stage)]).arg(millis(lease));
            for token in chunk {
                call.push(token.member());
            }
            point("queue.renewing").await?;
            let positions: Vec<usize> = self.inner.hot.call(call).await?;
            point("queue.renewed").await?;
            lost.extend(positions.iter().filter_map(|position| chunk.get(position - 1)).cloned());
        }
        Ok(lost)
    }

    /// Takes back jobs whose lease ran out, up to some ten thousand a call. They are the next to be
    /// claimed. A job that has now lost more than `max_recoveries` workers goes to the dead instead.
    pub async fn recover(&self, stage: &str, max_recoveries: u32) -> Result<Recovered, Error> {
        let keys = &self.inner.keys;
        let mut total = Recovered::default();
        for _ in 0..STEPS {
            let call = Call::script(&self.inner.scripts.expired, [keys.inflight(stage)]).arg(STEP);
            let expired: Vec<Vec<u8>> = self.inner.background.call(call).await?;
            if expired.is_empty() {
                break;
            }
            let fates = [keys.inflight(stage), keys.queue(stage), keys.dead(stage)];
            let mut call = Call::script(&self.inner.scripts.recover, fates).arg(self.inner.dead_cap);
            for member in &expired {
                let (fate, payload) = fate(stage, &Token::from_member(member), max_recoveries);
                call = call.arg(member).arg(fate).arg(payload);
            }
            point("queue.recovering").await?;
            let (requeued, poisoned): (usize, usize) = self.inner.background.call(call).await?;
            point("queue.recovered").await?;
            total.requeued += requeued;
            total.poisoned += poisoned;
            if expired.len() < STEP {
                break;
            }
        }
        Ok(total)
    }

    /// Queues the delayed jobs that are due, up to some ten thousand a call, and says how many.
    pub async fn promote(&self, stage: &str) -> Result<usize, Error> {
        let keys = &self.inner.keys;
        let mut total = 0;
        for _ in 0..STEPS {
            let call =
                Call::script(&self.inner.scripts.promote, [keys.delayed(stage), keys.queue(stage)]).arg(STEP);
            point("queue.promoting").await?;
            let moved: usize = self.inner.background.call(call).await?;
            point("queue.promoted").await?;
            total += moved;
            if moved < STEP {
                break;
            }
        }
        Ok(total)
    }
}

/// Where an expired delivery goes, and what is written there.
fn fate(stage: &str, token: &Token, max_recoveries: u32) -> (&'static str, String) {
    let raw = token.raw();
    let again = entry::recoveries(raw).and_then(|before| {
        let now = before.saturating_add(1);
        Ok((now, entry::with_notes(raw, &[("recoveries", u64::from(now))])?))
    });
    match again {
        Ok((now, entry)) if now <= max_recoveries => ("queue", entry),
        Ok((now, entry)) => {
            ("dead", record(stage, &format!("killed its worker {now} times"), entry.as_bytes()))
        }
        Err(why) => ("dead", record(stage, &why.to_string(), raw)),
    }
}
