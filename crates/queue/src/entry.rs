//! A job as it stands in Redis: one JSON object, the job's own fields beside the queue's.
//!
//! Knows the JSON only; nothing here talks to Redis, and nothing knows what a job is about.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A job and what the queue notes about it. In Redis both are one flat JSON object, so a job type
/// must serialise to an object and must not use the names of the fields below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry<T> {
    /// The job itself.
    #[serde(flatten)]
    pub job: T,
    /// How often the job has failed and was put aside for a retry.
    pub tries: u32,
    /// How often a worker that held the job vanished.
    pub recoveries: u32,
    /// When the job was queued first, in ms since the epoch; 0 if unknown.
    pub at: u64,
    /// W3C trace context of whoever queued the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// The queue's own fields. All may be absent, so that a job can be pushed by hand.
#[derive(Deserialize)]
struct Notes {
    #[serde(default)]
    tries: u32,
    #[serde(default)]
    recoveries: u32,
    #[serde(default)]
    at: u64,
    #[serde(default)]
    traceparent: Option<String>,
}

/// Why a raw entry is not a job.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Garbled {
    /// It is no JSON object.
    #[error("the entry is not a json object")]
    NotAnObject,
    /// It is one that breaks off, or that holds something else than a job.
    #[error("the entry is not {what} at column {column}")]
    NotAJob {
        /// "valid json" or "a job".
        what: &'static str,
        /// Where, in bytes from 1.
        column: usize,
    },
}

impl<T> Entry<T> {
    /// A new job, queued at `at` ms since the epoch.
    pub fn new(job: T, at: u64) -> Self {
        Self { job, tries: 0, recoveries: 0, at, traceparent: None }
    }

    /// The same with a W3C trace context.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent;
        self
    }
}

impl<T: DeserializeOwned> Entry<T> {
    /// Reads a raw entry. Fields that neither the job nor the queue knows are ignored.
    pub fn parse(raw: &[u8]) -> Result<Self, Garbled> {
        // Serde would also read a struct from an array, field by field.
        if raw.trim_ascii_start().first() != Some(&b'{') {
            return Err(Garbled::NotAnObject);
        }
        // Two passes over some hundred bytes cost less than the copies that `flatten` makes.
        let notes: Notes = from_slice(raw)?;
        let job = from_slice(raw)?;
        let Notes { tries, recoveries, at, traceparent } = notes;
        Ok(Self { job, tries, recoveries, at, traceparent })
    }
}

fn from_slice<T: DeserializeOwned>(raw: &[u8]) -> Result<T, Garbled> {
    // Serde's own message would quote the value that it did not expect.
    serde_json::from_slice(raw).map_err(|error| Garbled::NotAJob {
        what: if error.is_data() { "a job" } else { "valid json" },
        column: error.column(),
    })
}

/// The raw entry with some of the queue's own numbers set. Everything else in it is kept, also fields
/// that a newer version of the program may have written.
pub(crate) fn with_notes(raw: &[u8], notes: &[(&str, u64)]) -> Result<String, Garbled> {
    let mut object: Map<String, Value> = from_slice(raw)?;
    for (name, number) in notes {
        object.insert((*name).to_owned(), Value::from(*number));
    }
    Ok(Value::Object(object).to_string())
}

/// How often the raw entry's worker has vanished so far.
pub(crate) fn recoveries(raw: &[u8]) -> Result<u32, Garbled> {
    Entry::<Map<String, Value>>::parse(raw).map(|entry| entry.recoveries)
}

/// When the raw entry was queued, in ms since the epoch, where it says so.
pub(crate) fn queued_at(raw: &[u8]) -> Option<u64> {
    from_slice::<Notes>(raw).ok().map(|notes| notes.at).filter(|at| *at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Job {
        user: String,
        version: i64,
    }

    fn entry() -> Entry<Job> {
        let job = Job { user: "42".into(), version: 3 };
        Entry { job, tries: 1, recoveries: 2, at: 1_700_000_000_000, traceparent: Some("00-a-b-01".into()) }
    }

    #[test]
    fn an_entry_is_one_flat_object_and_reads_back_as_it_was() {
        let raw = serde_json::to_string(&entry()).unwrap();
        assert_eq!(
            raw,
            r#"{"user":"42","version":3,"tries":1,"recoveries":2,"at":1700000000000,"traceparent":"00-a-b-01"}"#
        );
        assert_eq!(Entry::parse(raw.as_bytes()).unwrap(), entry());
    }

    #[test]
    fn a_job_pushed_by_hand_needs_none_of_the_queues_fields() {
        let parsed: Entry<Job> = Entry::parse(br#" {"user":"42","version":3}"#).unwrap();
        assert_eq!(parsed, Entry::new(Job { user: "42".into(), version: 3 }, 0));
    }

    #[test]
    fn what_is_not_an_object_of_the_right_shape_is_garbled() {
        for raw in
            ["", "x", "42", r#"["42",3]"#, "{", r#"{"user":"42"}"#, r#"{"user":"42","version":3,"tries":-1}"#]
        {
            assert!(Entry::<Job>::parse(raw.as_bytes()).is_err(), "{raw}");
        }
        assert!(Entry::<Job>::parse(b"{\"user\":\"\xff\",\"version\":3}").is_err());
    }

    #[test]
    fn setting_a_number_keeps_fields_that_this_version_does_not_know() {
        let raw = br#"{"user":"42","version":9007199254740993,"new":{"a":[]},"tries":4}"#;
        let set = with_notes(raw, &[("tries", 5)]).unwrap();
        let value: Value = serde_json::from_str(&set).unwrap();
        assert_eq!(value["tries"], 5);
        assert_eq!(value["version"], 9_007_199_254_740_993_i64);
        assert_eq!(value["new"].to_string(), r#"{"a":[]}"#);
    }
}
