//! The evidence of a run as files, from which it can be judged again.
//!
//! `history.jsonl` is written as requests end; `before.json`, `after.json`, `ownership.json` and `run.json` are written
//! each time that the run is judged; `faults.jsonl` and `logs/` say more.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::check::{Evidence, Fault, Verdict, judge};
use crate::ownership::{Change, Ownership};
use crate::record::{History, Record};
use crate::rows::Rows;

use super::world::World;
use super::{Config, Fence, say};

/// Faults that are said; all are in the file.
const SAID: usize = 40;

/// What else a verdict needs to know of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) config: Made,
    pub(super) fence: Fence,
    pub(super) moving: Vec<i64>,
    pub(super) due: BTreeSet<i64>,
    pub(super) silent: Vec<(i64, i64)>,
}

/// By which a run can be made again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Made {
    seed: u64,
    users: u64,
    minutes: f64,
    rate: f64,
}

impl From<&Config> for Made {
    fn from(config: &Config) -> Self {
        Self { seed: config.seed, users: config.users, minutes: config.minutes, rate: config.rate }
    }
}

/// One run's folder.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// An empty one; what an earlier run with this fence left there goes.
    pub(super) fn create(parent: &Path, fence: Fence) -> Result<Self> {
        let path = parent.join(format!("{fence:?}").to_lowercase());
        if path.join("run.json").is_file() || path.join("history.jsonl").is_file() {
            super::remove(&path)?;
        }
        std::fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn history(&self) -> PathBuf {
        self.0.join("history.jsonl")
    }

    /// Every request of the run.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        Ok(History::read(&self.history())?)
    }

    /// Reads both sides, writes all evidence, and judges what was written.
    pub(super) async fn judge(&self, world: &World, facts: &Facts) -> Result<Verdict> {
        self.write("run.json", facts)?;
        self.write("before.json", &world.before)?;
        self.write("after.json", &world.rows().await?)?;
        self.write("ownership.json", &world.ownership().await?)?;
        self.judged()
    }

    fn judged(&self) -> Result<Verdict> {
        let facts: Facts = self.read("run.json")?;
        let (before, after): (Rows, Rows) = (self.read("before.json")?, self.read("after.json")?);
        let changes: Vec<Change> = self.read("ownership.json")?;
        Ok(judge(&Evidence {
            history: &self.records()?,
            before: &before,
            after: &after,
            ownership: &Ownership::new(changes),
            due: &facts.due,
            moving: &facts.moving,
            silent: &facts.silent,
        }))
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.0.join(name);
        let write = || anyhow::Ok(std::fs::write(&path, serde_json::to_vec(value)?)?);
        write().with_context(|| format!("failed to write {}", path.display()))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.0.join(name);
        let read = || anyhow::Ok(serde_json::from_slice(&std::fs::read(&path)?)?);
        read().with_context(|| format!("failed to read {}", path.display()))
    }

    /// Says what is wrong, and keeps all of it in a file.
    pub(super) fn tell(&self, verdict: &Verdict, mismatches: &[Fault]) -> Result<()> {
        let faults: Vec<&Fault> = verdict.faults.iter().chain(mismatches).collect();
        let mut file = std::fs::File::create(self.0.join("faults.jsonl"))?;
        for fault in &faults {
            writeln!(file, "{}", serde_json::to_string(fault)?)?;
        }
        for fault in faults.iter().take(SAID) {
            say(&format!("{:?}: user {}, number {}: {}", fault.wrong, fault.user, fault.number, fault.what));
        }
        if faults.len() > SAID {
            say(&format!("and {} more, in {}", faults.len() - SAID, self.0.join("faults.jsonl").display()));
        }
        Ok(())
    }
}

/// Judges kept evidence again: the folder of one fence's run.
pub fn judge_folder(path: &Path) -> Result<Verdict> {
    let folder = Folder(path.to_owned());
    let verdict = folder.judged()?;
    folder.tell(&verdict, &[])?;
    Ok(verdict)
}
