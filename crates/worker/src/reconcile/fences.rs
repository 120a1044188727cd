//! The database fence's rows: what tracking and Identity say should stand stands, and nothing else.

use handover_engine::Mended;

use super::Context;

/// Mends the fences of users who are, or seem to be, paused.
pub(super) async fn mend(context: &Context) -> anyhow::Result<()> {
    tell(context.engine.mend_fences().await?);
    Ok(())
}

/// Mends the fences of every user whom Identity knows.
pub(super) async fn verify(context: &Context) -> anyhow::Result<()> {
    tell(context.engine.verify_fences().await?);
    Ok(())
}

fn tell(mended: Mended) {
    if !mended.is_nothing() {
        let Mended { restored, settled, lifted } = mended;
        tracing::warn!(restored, settled, lifted, "fences that were not as they should be are mended");
    }
}
