//! Gates' memberships, in the truth's database: whom a drain waits for. All times are by that database's clock.

use std::time::{Duration, SystemTime};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Truth;
use crate::error::Error;
use crate::source::{LONGEST_TERM, Registration};

/// The longest id of a gate, and the longest word for its kind, in bytes.
const LONGEST_ID: usize = 128;
const LONGEST_KIND: usize = 63;

/// Whether the gate of the row `g` was heard of lately. The statement's own time is used throughout: it is no earlier than the
/// moment at which the gate sent its request, and that is what the gate counts its lease from.
macro_rules! in_time {
    () => {
        "(now() <= g.last_seen + (g.lease_ms + g.max_request_ms) * interval '1 ms')"
    };
}

/// Whether the row `g` is a member's.
macro_rules! member {
    () => {
        concat!("(g.ended_at IS NULL AND ", in_time!(), ")")
    };
}

/// Makes $1 a member, or keeps it one. A member's terms are never shortened: a request may be under way that was
/// admitted on the longer ones.
const REGISTER: &str = concat!(
    "INSERT INTO identity.gate AS g (id, kind, registered_at, last_seen, lease_ms, max_request_ms)
    VALUES ($1, $2, now(), now(), $3, $4)
    ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, last_seen = greatest(g.last_seen, now()), ended_at = NULL,
        registered_at = CASE WHEN ",
    member!(),
    " THEN g.registered_at ELSE now() END,
        lease_ms = CASE WHEN ",
    member!(),
    " THEN greatest(g.lease_ms, excluded.lease_ms) ELSE excluded.lease_ms END,
        max_request_ms = CASE WHEN ",
    member!(),
    " THEN greatest(g.max_request_ms, excluded.max_request_ms) ELSE excluded.max_request_ms END
    RETURNING registered_at = now()"
);

const SIGN_OFF: &str = concat!(
    "UPDATE identity.gate AS g SET ended_at = now() WHERE id = $1 AND ended_at IS NULL RETURNING ",
    in_time!()
);

const MEMBERS: &str = concat!(
    "SELECT id, kind, registered_at, last_seen, lease_ms, max_request_ms FROM identity.gate AS g WHERE ",
    member!(),
    " ORDER BY id"
);

/// Rows that are long over; kept for a day, for whoever asks why a drain waited.
const FORGET: &str =
    "DELETE FROM identity.gate WHERE coalesce(ended_at, last_seen) < now() - interval '1 day'";

/// A gate that a drain waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id, as it registered.
    pub id: String,
    /// What it is.
    pub kind: String,
    /// When it became a member.
    pub registered_at: SystemTime,
    /// When it was last heard of.
    pub last_seen: SystemTime,
    /// For how long after that it may admit requests.
    pub lease: Duration,
    /// For how long an admitted request may still be answered.
    pub max_request: Duration,
}

impl Member {
    /// After how long without a word nothing of what it admitted can be under way.
    pub fn term(&self) -> Duration {
        self.lease + self.max_request
    }
}

impl Truth {
    /// Makes a gate a member, or keeps it one: registration and heartbeat are one thing. `true`: it was none
    /// before (it is new, had signed off, or was silent for too long).
    pub async fn register_gate(&self, gate: &Registration) -> Result<bool, Error> {
        check_gate(gate).map_err(Error::Gate)?;
        let (lease, max_request) = (gate.lease.as_millis() as i64, gate.max_request.as_millis() as i64);
        let rows = self
            .query(
                REGISTER,
                &[
                    (&gate.id, Type::TEXT),
                    (&gate.kind, Type::TEXT),
                    (&lease, Type::INT8),
                    (&max_request, Type::INT8),
                ],
            )
            .await?;
        let new = flag(rows.first())?.ok_or(Error::Row("a registration gave no answer"))?;
        if new && let Err(error) = self.query(FORGET, &[]).await {
            tracing::debug!(%error, "rows of gates that are long gone were left");
        }
        Ok(new)
    }

    /// Ends a gate's membership at once. Whether it was a member.
    pub async fn sign_off_gate(&self, id: &str) -> Result<bool, Error> {
        check_id(id).map_err(Error::Gate)?;
        let rows = self.query(SIGN_OFF, &[(&id, Type::TEXT)]).await?;
        Ok(flag(rows.first())?.unwrap_or(false))
    }

    /// The members at this moment: not signed off, and heard of within lease and longest request.
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        self.query(MEMBERS, &[]).await?.iter().map(member).collect()
    }
}

fn flag(row: Option<&Row>) -> Result<Option<bool>, Error> {
    row.map(|row| row.try_get(0)).transpose().map_err(|_| Error::Row("a flag is of another type"))
}

fn member(row: &Row) -> Result<Member, Error> {
    let read = || -> Result<Member, tokio_postgres::Error> {
        Ok(Member {
            id: row.try_get(0)?,
            kind: row.try_get(1)?,
            registered_at: row.try_get(2)?,
            last_seen: row.try_get(3)?,
            lease: Duration::from_millis(row.try_get::<_, i64>(4)? as u64),
            max_request: Duration::from_millis(row.try_get::<_, i64>(5)? as u64),
        })
    };
    read().map_err(|_| Error::Row("a gate's row is of other types"))
}

/// Whether a gate may register so.
fn check_gate(gate: &Registration) -> Result<(), &'static str> {
    check_id(&gate.id)?;
    if !is_word(&gate.kind, LONGEST_KIND) {
        return Err("kind must be of 1 to 63 ASCII letters, digits and . _ : -");
    }
    let terms = Duration::from_millis(1)..=LONGEST_TERM;
    if !terms.contains(&gate.lease) || !terms.contains(&gate.max_request) {
        return Err("lease and longest request must each be of 1 ms to 1 h");
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), &'static str> {
    if is_word(id, LONGEST_ID) {
        Ok(())
    } else {
        Err("id must be of 1 to 128 ASCII letters, digits and . _ : -")
    }
}

fn is_word(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=longest).contains(&text.len()) && text.bytes().all(allowed)
}
