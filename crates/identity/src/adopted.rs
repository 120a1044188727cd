//! Which server the mirror is on, where a fail-over can leave several that answer: heartbeats go to the one that the truth
//! names, and only what that one acknowledges counts as mirrored.
//!
//! A leader that was cut off with an old server would otherwise go on renewing the leases of the gates there, while
//! pauses are told to the new one.

use std::time::Duration;

use tokio_postgres::types::Type;

use handover_fault::point;

use crate::error::Error;
use crate::mirror::Position;
use crate::service::Identity;
use crate::truth::Truth;

/// How much later than the question whether its server is still the right one a heartbeat may be written. For so long
/// nobody's word counts while the server changes.
const WINDOW: Duration = Duration::from_secs(1);

impl Truth {
    /// The run id of the server that the mirror is on; `None` where no leader was ever here.
    pub async fn mirror_server(&self) -> Result<Option<String>, Error> {
        let rows = self.query("SELECT run_id FROM identity.mirror", &[]).await?;
        let read = |row: &tokio_postgres::Row| row.try_get(0);
        rows.first().map(read).transpose().map_err(|_| Error::Row("the mirror's run id is of another type"))
    }

    async fn set_mirror_server(&self, run_id: &str) -> Result<(), Error> {
        let sql = "INSERT INTO identity.mirror (run_id) VALUES ($1)
            ON CONFLICT (only_one) DO UPDATE SET run_id = excluded.run_id, adopted_at = clock_timestamp()";
        self.query(sql, &[(&run_id, Type::TEXT)]).await.map(|_| ())
    }

    /// Whether the row still held the token.
    async fn settle_mirror_server(&self, token: &str, run_id: &str) -> Result<bool, Error> {
        let sql = "UPDATE identity.mirror SET run_id = $2, adopted_at = clock_timestamp() WHERE run_id = $1 RETURNING 1";
        let rows = self.query(sql, &[(&token, Type::TEXT), (&run_id, Type::TEXT)]).await?;
        Ok(!rows.is_empty())
    }
}

impl Identity {
    /// Makes the server of that run id the one that the mirror is on; to be called once it has been rebuilt. Whoever
    /// follows its stream forgets what was known there: changes may have been told elsewhere. Does nothing where it is
    /// that one already. Takes a second where it was another.
    pub async fn adopt(&self, run_id: &str) -> Result<(), Error> {
        let before = self.truth().mirror_server().await?;
        if before.as_deref() == Some(run_id) {
            return Ok(());
        }
        let token = format!("!{}", crate::mirror::fresh_generation()?);
        self.truth().set_mirror_server(&token).await?;
        if before.is_some() {
            // A heartbeat for the server of before can be on its way for so long.
            tokio::time::sleep(WINDOW).await;
        }
        point("mirror.adopting").await?;
        if !self.mirror().begin(run_id).await? || !self.truth().settle_mirror_server(&token, run_id).await? {
            return Err(Error::MirrorChanged);
        }
        Ok(())
    }

    /// Appends a heartbeat, if the server that answers is the one that the truth names. `None`: it is not, or the answer
    /// took too long to be acted on.
    pub async fn heartbeat(&self) -> Result<Option<Position>, Error> {
        let (run_id, now) = self.mirror().clock().await?;
        if self.truth().mirror_server().await?.as_deref() != Some(run_id.as_str()) {
            return Ok(None);
        }
        self.mirror().heartbeat_until(&run_id, now + WINDOW.as_micros() as u64).await
    }

    /// Whether an entry stands on the server that the mirror is on. Each generation tells whose it is.
    pub(crate) async fn stands(&self, position: Option<&Position>) -> Result<bool, Error> {
        let Some(position) = position else { return Ok(true) };
        let server = self.truth().mirror_server().await?;
        Ok(server.is_none_or(|run_id| {
            let start = run_id.get(..16).unwrap_or(&run_id);
            position.generation.rsplit_once('-').is_some_and(|(_, end)| end == start)
        }))
    }
}
