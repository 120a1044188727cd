//! What is read from the mirror's server beside users' states: what gates tell of themselves, and states
//! together with the leave to believe them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{ENTRY, Mirror};
use crate::error::Error;
use crate::keys::{Keys, field_of_user};

/// What a gate tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The numbering that it follows.
    pub(crate) generation: String,
    /// The highest change that it acts on.
    pub(crate) number: u64,
    /// Paused users whom it still serves.
    pub(crate) busy: Vec<String>,
}

/// A hash's `gen`, `n` and `busy`.
type Fields = (Option<String>, Option<String>, Option<String>);

impl Mirror {
    /// What these gates tell, in the order of the input; `None` for one that tells nothing, or not in a form
    /// that can be read.
    pub(crate) async fn told(&self, ids: &[String], patience: Duration) -> Result<Vec<Option<Told>>, Error> {
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.cmd("HMGET").arg(self.keys.gate(id)).arg(&["gen", "n", "busy"]);
        }
        let found: Vec<Fields> = self.link.batch(&pipeline, patience).await?;
        Ok(found.into_iter().map(read).collect())
    }

    /// The texts of these users' fields, while the mirror may be believed: `!ready` is read in the same
    /// command, and must reach beyond now (this machine's clock) by more than `skew`. `None`: ask the truth.
    pub(crate) async fn believed(
        &self,
        users: &[String],
        skew: Duration,
        patience: Duration,
    ) -> Result<Vec<Option<String>>, Error> {
        let mut texts = Vec::with_capacity(users.len());
        for chunk in users.chunks(ENTRY) {
            let mut pipeline = redis::pipe();
            let command = pipeline.cmd("HMGET").arg(self.keys.identity()).arg(Keys::READY);
            for user in chunk {
                command.arg(field_of_user(user).as_ref());
            }
            let (found,): (Vec<Option<Vec<u8>>>,) = self.link.batch(&pipeline, patience).await?;
            // The time is taken after the answer, which may have lain in a socket.
            let now = SystemTime::now();
            let mut found = found
                .into_iter()
                .map(|bytes| bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
            let ready = found.next().flatten().and_then(|text| until(&text));
            let believed = ready.is_some_and(|until| now + skew < until);
            texts.extend(found.map(|text| text.filter(|_| believed)));
        }
        Ok(texts)
    }
}

/// Until when a mirror whose field `!ready` says this may be believed.
pub(super) fn until(text: &str) -> Option<SystemTime> {
    let (millis, _) = text.strip_prefix("until ")?.split_once(" run ")?;
    UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))
}

fn read((generation, number, busy): Fields) -> Option<Told> {
    let busy = serde_json::from_str(&busy?).ok()?;
    Some(Told { generation: generation?, number: number?.parse().ok()?, busy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_leaves_a_field_out_or_garbles_one_tells_nothing() {
        let some = |text: &str| Some(text.to_owned());
        assert!(read((some("g"), some("7"), some("[]"))).is_some());
        assert_eq!(read((some("g"), some("7"), some(r#"["42"]"#))).unwrap().busy, ["42"]);
        for garbled in [
            (None, some("7"), some("[]")),
            (some("g"), None, some("[]")),
            (some("g"), some("7"), None),
            (some("g"), some("-7"), some("[]")),
            (some("g"), some("7"), some("")),
            (some("g"), some("7"), some("{}")),
            (some("g"), some("7"), some("[42]")),
        ] {
            assert_eq!(read(garbled), None);
        }
    }
}
