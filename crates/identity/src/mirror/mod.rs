//! Identity's mirror: the Redis hash of users' states, the numbered stream of its changes, and the field
//! `!ready` that says until when it may be believed. `docs/redis.md` is the contract.
//!
//! Every write is a script that compares revisions, so writes may come late, twice, or in any order. The mirror
//! decides nothing and knows nothing that the truth does not know: it can be emptied at any moment.

mod compare;
mod gates;
mod link;
mod script;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use handover_fault::point;
use secrecy::SecretString;

use crate::error::Error;
use crate::keys::{Keys, field_of_user};
use crate::record::Snapshot;
use link::Link;

pub(crate) use gates::Told;

pub use compare::{Difference, DifferenceKind, Rebuilt, Verification};

/// The most users that one script writes and one entry of the stream names.
pub(crate) const ENTRY: usize = 500;

/// Where the mirror is, and its bounds.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// `redis://…` or `rediss://…`.
    pub url: SecretString,
    /// What all keys begin with.
    pub prefix: String,
    /// PEM file with the authority that the server's certificate is checked against, in place of the system's.
    /// For `rediss://` only.
    pub ca_file: Option<PathBuf>,
    /// How long any one answer, a connection included, may take.
    pub response_timeout: Duration,
    /// About how many entries the stream of changes keeps.
    pub changes_kept: usize,
}

impl MirrorOptions {
    /// The mirror at that address, with the default prefix and bounds.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            prefix: "handover".to_owned(),
            ca_file: None,
            response_timeout: Duration::from_secs(2),
            changes_kept: 100_000,
        }
    }
}

/// The mirror. Cheap to clone; all clones share one connection, which is made at the first use and made again
/// whenever it breaks.
#[derive(Clone)]
pub struct Mirror {
    link: Link,
    keys: Keys,
    changes_kept: usize,
}

/// A place in the stream of changes. Numbers count without a gap within a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The entry's number, from 1.
    pub number: u64,
    /// The numbering: another one means that the stream was lost in between.
    pub generation: String,
}

/// How a write tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An entry that names each user: for changes.
    Announce,
    /// No entry for fields that were absent: for what has been asked of the truth, and for rebuilds.
    Fill,
}

/// What became of `!ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It was this server's, and holds longer now.
    Renewed,
    /// It was absent or of another server, and is set now. Unless the mirror has just been rebuilt, somebody
    /// emptied it: rebuild.
    First,
    /// Another server answers than the one that was verified; nothing was written. Rebuild, verify, and renew
    /// with this one's run id.
    OtherServer {
        /// The run id of the server that answers.
        run_id: String,
    },
}

impl Mirror {
    /// The mirror at that address. Reads the certificate file, and does not connect yet.
    pub fn new(options: &MirrorOptions) -> Result<Self, Error> {
        Ok(Self {
            link: Link::new(&options.url, options.ca_file.as_deref(), options.response_timeout)?,
            keys: Keys::new(options.prefix.as_str()),
            changes_kept: options.changes_kept.max(1),
        })
    }

    /// The names of its keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Writes users' states, none over a newer one, and tells of them. Returns the last entry's place once the
    /// server has acknowledged all of them: who has acted on that entry knows of these states, or newer ones.
    /// `None` if there was nothing to write.
    pub async fn write(&self, snapshots: &[Snapshot]) -> Result<Option<Position>, Error> {
        Ok(self.put(snapshots, Mode::Announce).await?.last)
    }

    /// Fills in what has been asked of the truth. An absent field means "ask Identity", so it needs no entry.
    pub async fn fill(&self, snapshots: &[Snapshot]) -> Result<(), Error> {
        self.put(snapshots, Mode::Fill).await.map(|_| ())
    }

    async fn put(&self, snapshots: &[Snapshot], mode: Mode) -> Result<script::Written, Error> {
        let mut written = script::Written::default();
        for chunk in snapshots.chunks(ENTRY) {
            let mut call = script::WRITE.prepare_invoke();
            call.key(self.keys.identity()).key(self.keys.changes());
            call.arg(match mode {
                Mode::Announce => "announce",
                Mode::Fill => "fill",
            });
            call.arg(self.changes_kept).arg(fresh_generation()?);
            for snapshot in chunk {
                call.arg(field_of_user(&snapshot.user).as_ref()).arg(&snapshot.text);
            }
            point("mirror.writing").await?;
            written.add(self.link.run(&call).await?)?;
            point("mirror.written").await?;
        }
        Ok(written)
    }

    /// Appends an entry without users. The leading reconciler does so several times within a gate's lease.
    pub async fn heartbeat(&self) -> Result<Position, Error> {
        let mut call = script::HEARTBEAT.prepare_invoke();
        call.key(self.keys.changes()).arg(self.changes_kept).arg(fresh_generation()?);
        let (number, generation): (u64, String) = self.link.run(&call).await?;
        Ok(Position { number, generation })
    }

    /// The same, on the server of that run id only, and no later than that time by its own clock, in microseconds.
    pub(crate) async fn heartbeat_until(&self, run_id: &str, until: u64) -> Result<Option<Position>, Error> {
        let mut call = script::HEARTBEAT.prepare_invoke();
        call.key(self.keys.changes()).arg(self.changes_kept).arg(fresh_generation()?).arg(run_id).arg(until);
        point("mirror.beating").await?;
        let (number, generation): (u64, String) = self.link.run(&call).await?;
        point("mirror.beat").await?;
        Ok((number > 0).then_some(Position { number, generation }))
    }

    /// Begins a new numbering on the server of that run id; `false` where another one answers.
    pub(crate) async fn begin(&self, run_id: &str) -> Result<bool, Error> {
        let mut call = script::BEGIN.prepare_invoke();
        call.key(self.keys.changes()).arg(self.changes_kept).arg(fresh_generation()?).arg(run_id);
        Ok(self.link.run::<u64>(&call).await? == 1)
    }

    /// The run id of the server that answers, and its time in microseconds.
    pub(crate) async fn clock(&self) -> Result<(String, u64), Error> {
        let info: String = self.link.query(redis::cmd("INFO").arg("server")).await?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let time = field("server_time_usec:").and_then(|time| time.parse().ok());
        let found = field("run_id:").map(str::to_owned).zip(time);
        found.ok_or(Error::MirrorConfig("the server tells neither run_id nor time"))
    }

    /// The texts of these users' fields, as they stand, in the order of the input. `None`: ask the truth.
    pub async fn get(&self, users: &[String]) -> Result<Vec<Option<String>>, Error> {
        let mut texts = Vec::with_capacity(users.len());
        for chunk in users.chunks(ENTRY) {
            let mut command = redis::cmd("HMGET");
            command.arg(self.keys.identity());
            for user in chunk {
                command.arg(field_of_user(user).as_ref());
            }
            let found: Vec<Option<Vec<u8>>> = self.link.query(&command).await?;
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            texts.extend(found.into_iter().map(|bytes| bytes.map(text)));
        }
        Ok(texts)
    }

    /// The `run_id` of the server that answers: another one after every restart and every fail-over.
    pub async fn run_id(&self) -> Result<String, Error> {
        let info: String = self.link.query(redis::cmd("INFO").arg("server")).await?;
        let found = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        found.map(|id| id.trim().to_owned()).ok_or(Error::MirrorConfig("the server tells no run_id"))
    }

    /// Says that the mirror may be believed until then, if the server is the one verified. The script reads
    /// the server's own `run_id`, so a fail-over in between is noticed.
    ///
    /// The caller must know that nothing committed is unmirrored: see
    /// [`Identity::renew_ready`](crate::Identity::renew_ready).
    pub async fn renew_ready(&self, run_id: &str, until: SystemTime) -> Result<Renewal, Error> {
        let until = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let mut call = script::READY.prepare_invoke();
        call.key(self.keys.identity()).arg(run_id).arg(until);
        point("mirror.readying").await?;
        let (word, run_id): (String, String) = self.link.run(&call).await?;
        point("mirror.ready").await?;
        match word.as_str() {
            "renewed" => Ok(Renewal::Renewed),
            "first" => Ok(Renewal::First),
            _ => Ok(Renewal::OtherServer { run_id }),
        }
    }

    /// Takes the leave to believe the mirror back: from now on Identity itself is asked.
    pub async fn clear_ready(&self) -> Result<(), Error> {
        let mut command = redis::cmd("HDEL");
        command.arg(self.keys.identity()).arg(Keys::READY);
        self.link.query::<i64>(&command).await.map(|_| ())
    }

    /// Until when the mirror may be believed; `None` if not at all.
    pub async fn ready_until(&self) -> Result<Option<SystemTime>, Error> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.identity()).arg(Keys::READY);
        let text: Option<String> = self.link.query(&command).await?;
        Ok(text.as_deref().and_then(gates::until))
    }
}

/// The generation under which numbers begin again, should the stream turn out to be empty. Drawn for each
/// call: a process that loses its stream twice must not use one twice.
pub(crate) fn fresh_generation() -> Result<String, Error> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|_| Error::MirrorConfig("the system gives no random bytes"))?;
    Ok(hex::encode(bytes))
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("keys", &self.keys).finish_non_exhaustive()
    }
}
