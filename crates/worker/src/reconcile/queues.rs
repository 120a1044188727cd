//! Upkeep of every stage's queue, also of a stage none of whose workers lives.

use handover_engine::StageName;

use super::Context;
use crate::upkeep;

/// Promotes what is due for a retry, and recovers what vanished workers held.
pub(super) async fn tend(context: &Context) -> anyhow::Result<()> {
    let queues = context.line.queues();
    for stage in StageName::ALL {
        upkeep::tend(&queues, stage.as_str(), context.settings.worker.max_recoveries).await?;
    }
    Ok(())
}
