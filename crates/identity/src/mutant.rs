//! What mutants do in place of what is right, for tests that prove that they are caught. Without `handover-fault`'s
//! feature `armed` nothing of it is ever called.

use std::time::SystemTime;

use handover_fault::point;

use crate::error::Error;
use crate::outcome::Begin;
use crate::record::{Open, Record, Snapshot};
use crate::service::{Done, Identity, Mirrored};
use crate::state::OpenState;
use crate::truth::Member;

impl Identity {
    /// The mirror is told of a pause first, the truth after it.
    pub(crate) async fn mutant_begin(
        &self,
        migration: &str,
        users: &[(String, i64)],
    ) -> Result<Done<Begin>, Error> {
        let names: Vec<String> = users.iter().map(|(user, _)| user.clone()).collect();
        let records = self.get(&names).await?;
        let soon: Vec<Snapshot> = records
            .into_iter()
            .zip(users)
            .map(|(record, (_, version))| paused(record, migration, *version))
            .collect();
        let position = self.mirror().write(&soon).await?;
        point("identity.between").await?;
        let change = self.truth().begin(migration, users).await?;
        self.truth().outbox_done(&change.outbox).await?;
        Ok(Done { outcomes: change.outcomes, mirrored: Mirrored::Yes(position) })
    }

    /// Those of the members whom Redis still tells of.
    pub(crate) async fn mutant_members(&self, members: Vec<Member>) -> Result<Vec<Member>, Error> {
        let ids: Vec<String> = members.iter().map(|member| member.id.clone()).collect();
        let told = self.mirror().told(&ids, std::time::Duration::from_secs(2)).await?;
        Ok(members.into_iter().zip(told).filter_map(|(member, told)| told.map(|_| member)).collect())
    }
}

/// What the mirror would be told of a user who is being paused.
fn paused(mut record: Record, migration: &str, version: i64) -> Snapshot {
    record.revision += 1;
    let (migration, since) = (migration.to_owned(), SystemTime::now());
    record.open = Some(Open { migration, state: OpenState::Migrating, version, since });
    record.snapshot()
}
