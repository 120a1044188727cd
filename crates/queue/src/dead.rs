//! Jobs that were given up: kept with their reason, newest first, up to a cap; looked at, dropped, or
//! queued again by an operator.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::call::Call;
use crate::entry::{Entry, with_notes};
use crate::error::Error;
use crate::queues::Queues;
use crate::scripts::CHUNK;

/// A job that was given up, as the list of the dead holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead<T> {
    /// The stage that gave it up.
    pub stage: String,
    /// Why.
    pub error: String,
    /// When, in ms of Redis time since the epoch.
    pub at: u64,
    /// The job, unless its entry cannot be read.
    pub entry: Option<Entry<T>>,
    /// The record as it stands in the list, by which it is found again.
    record: Vec<u8>,
}

#[derive(Deserialize)]
struct Record {
    stage: String,
    error: String,
    at: u64,
    entry: Option<Map<String, Value>>,
}

/// As [`Record`], with an entry that was not an object, or not even text.
#[derive(Deserialize)]
struct RawRecord {
    stage: String,
    error: String,
    at: u64,
}

/// The longest reason that is kept, in bytes.
const MAX_ERROR: usize = 2000;
/// How many records are searched for in one script.
const STEP: usize = 50;

/// A record up to the value of its last field `at`, which the script adds in Redis time. The raw entry
/// is kept byte for byte: as the JSON that it is, else as a string, else in hex as `entry_hex`.
pub(crate) fn record(stage: &str, error: &str, raw: &[u8]) -> String {
    let error = &error[..error.floor_char_boundary(MAX_ERROR)];
    let mut record = format!(r#"{{"stage":{},"error":{},"#, Value::from(stage), Value::from(error));
    let written = match std::str::from_utf8(raw) {
        Ok(text) if serde_json::from_str::<Map<String, Value>>(text).is_ok() => {
            write!(record, r#""entry":{text},"at":"#)
        }
        Ok(text) => write!(record, r#""entry":{},"at":"#, Value::from(text)),
        Err(_) => write!(record, r#""entry_hex":"{}","at":"#, hex::encode(raw)),
    };
    written.expect("writing to a string does not fail");
    record
}

impl<T: DeserializeOwned> Dead<T> {
    fn parse(record: Vec<u8>) -> Self {
        let (stage, error, at, entry) = if let Ok(whole) = serde_json::from_slice::<Record>(&record) {
            let raw = whole.entry.map(|entry| Value::Object(entry).to_string());
            let entry = raw.and_then(|raw| Entry::parse(raw.as_bytes()).ok());
            (whole.stage, whole.error, whole.at, entry)
        } else if let Ok(RawRecord { stage, error, at }) = serde_json::from_slice(&record) {
            (stage, error, at, None)
        } else {
            (String::new(), "not a record of handover".to_owned(), 0, None)
        };
        Self { stage, error, at, entry, record }
    }
}

impl<T> Dead<T> {
    /// The record as it stands in Redis, as text.
    pub fn record(&self) -> String {
        String::from_utf8_lossy(&self.record).into_owned()
    }

    /// The job's raw entry with its numbers set back, as of `now_ms`.
    fn renewed(&self, now_ms: u64) -> Option<String> {
        self.entry.as_ref()?;
        let record: Record = serde_json::from_slice(&self.record).ok()?;
        let raw = Value::Object(record.entry?).to_string();
        with_notes(raw.as_bytes(), &[("tries", 0), ("recoveries", 0), ("at", now_ms)]).ok()
    }
}

impl Queues {
    /// The dead of a stage from the `skip`-th newest on, up to `count` of them.
    pub async fn dead_list<T: DeserializeOwned>(
        &self,
        stage: &str,
        skip: usize,
        count: usize,
    ) -> Result<Vec<Dead<T>>, Error> {
        let mut dead = Vec::new();
        while dead.len() < count {
            let from = skip + dead.len();
            let want = CHUNK.min(count - dead.len());
            let call = Call::command("LRANGE", self.inner.keys.dead(stage)).arg(from).arg(from + want - 1);
            let records: Vec<Vec<u8>> = self.inner.background.call(call).await?;
            let end = records.len() < want;
            dead.extend(records.into_iter().map(Dead::parse));
            if end {
                break;
            }
        }
        Ok(dead)
    }

    /// Removes the oldest dead of a stage, up to `max` and at most 1,000, and returns them.
    pub async fn dead_take<T: DeserializeOwned>(
        &self,
        stage: &str,
        max: usize,
    ) -> Result<Vec<Dead<T>>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let call = Call::command("RPOP", self.inner.keys.dead(stage)).arg(max.min(CHUNK));
        let records: Option<Vec<Vec<u8>>> = self.inner.background.call(call).await?;
        Ok(records.unwrap_or_default().into_iter().map(Dead::parse).collect())
    }

    /// Queues dead jobs again as new ones, behind those that wait, and returns how many. Those that are
    /// gone meanwhile, or cannot be read, are left.
    pub async fn dead_requeue<T>(&self, stage: &str, dead: &[Dead<T>]) -> Result<usize, Error> {
        let keys = &self.inner.keys;
        let now = self.now_ms().await?;
        let mut queued = 0;
        for chunk in dead.chunks(STEP) {
            let mut call =
                Call::script(&self.inner.scripts.dead_requeue, [keys.dead(stage), keys.queue(stage)]);
            for dead in chunk {
                if let Some(entry) = dead.renewed(now) {
                    call = call.arg(&dead.record).arg(entry);
                }
            }
            queued += self.inner.background.call::<usize>(call).await?;
        }
        Ok(queued)
    }

    /// Drops dead jobs for good, and returns how many were still there.
    pub async fn dead_drop<T>(&self, stage: &str, dead: &[Dead<T>]) -> Result<usize, Error> {
        let mut dropped = 0;
        for dead in dead {
            // From the oldest: the list is capped, so the search is bounded.
            let call = Call::command("LREM", self.inner.keys.dead(stage)).arg(-1).arg(&dead.record);
            dropped += self.inner.background.call::<usize>(call).await?;
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &[u8]) -> (Dead<Value>, Value) {
        let whole = format!("{}1700000000000}}", record("copy", "broke \"here\"", raw));
        let value = serde_json::from_str(&whole).unwrap();
        (Dead::parse(whole.into_bytes()), value)
    }

    #[test]
    fn a_record_keeps_a_job_as_the_object_it_is() {
        let (dead, value) = parse(br#"{"user":"42","tries":2}"#);
        assert_eq!(value["entry"]["user"], "42");
        assert_eq!((dead.stage.as_str(), dead.error.as_str()), ("copy", "broke \"here\""));
        assert_eq!(dead.at, 1_700_000_000_000);
        assert_eq!(dead.entry.unwrap().tries, 2);
    }

    #[test]
    fn a_record_keeps_a_garbled_entry_byte_for_byte() {
        let (dead, value) = parse(b"not \"json\"\n");
        assert_eq!(value["entry"], "not \"json\"\n");
        assert_eq!((dead.error.as_str(), dead.entry), ("broke \"here\"", None));
        let (dead, value) = parse(b"\xff\x00");
        assert_eq!(value["entry_hex"], "ff00");
        assert_eq!((dead.error.as_str(), dead.entry), ("broke \"here\"", None));
    }

    #[test]
    fn a_reason_is_cut_at_a_character_when_it_is_too_long() {
        let whole = format!("{}1}}", record("copy", &"é".repeat(5000), b"{}"));
        let value: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(value["error"].as_str().unwrap().len(), MAX_ERROR);
    }

    #[test]
    fn what_is_no_record_is_still_listed() {
        let dead = Dead::<Value>::parse(b"scribble".to_vec());
        assert_eq!((dead.error.as_str(), dead.record().as_str()), ("not a record of handover", "scribble"));
    }
}
