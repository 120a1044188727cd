//! The reconciler's duties: a list of names, intervals and small async functions. The leader does them; each
//! restores one thing that the rest of the system takes for granted, so that any crash heals by itself.
//!
//! What must be decided is decided in the engine, the producer and Identity; here is only when.

mod attempts;
mod breaker;
mod fences;
mod mirror;
mod queues;
mod sampling;

use std::sync::Arc;

use handover_engine::Engine;
use handover_producer::Producer;
use handover_settings::Settings;

use crate::duties::Duty;
use crate::line::Line;

/// What the duties work with.
pub(crate) struct Context {
    pub(crate) engine: Engine,
    pub(crate) line: Arc<Line>,
    pub(crate) settings: Settings,
    pub(crate) keeper: mirror::Keeper,
    pub(crate) buried: attempts::Buried,
}

impl Context {
    pub(crate) fn new(engine: Engine, line: Arc<Line>, settings: Settings) -> Arc<Self> {
        let keeper = mirror::Keeper::new(engine.identity.clone(), settings.reconcile.ready_for);
        Arc::new(Self { engine, line, settings, keeper, buried: attempts::Buried::default() })
    }

    /// The producer over the newest connections.
    pub(crate) fn producer(&self) -> Producer {
        Producer::new(self.engine.tracking.clone(), self.line.queues())
    }
}

/// A duty whose function takes the context.
macro_rules! duty {
    ($context:expr, $name:literal, $every:expr, $work:path) => {{
        let context = Arc::clone($context);
        Duty::new($name, $every, move || {
            let context = Arc::clone(&context);
            async move { $work(&context).await }
        })
    }};
}

/// What the leader does.
pub(crate) fn duties(context: &Arc<Context>) -> Vec<Duty> {
    let settings = &context.settings;
    let (reconcile, upkeep) = (&settings.reconcile, settings.worker.upkeep);
    vec![
        duty!(context, "fill_windows", reconcile.fill, attempts::fill_windows),
        duty!(context, "restore_jobs", reconcile.requeue_after / 2, attempts::restore_jobs),
        // More often than jobs are restored, so that a poisoned one is out of reach by then.
        duty!(context, "bury_poisoned", reconcile.requeue_after / 4, attempts::bury_poisoned),
        duty!(context, "check_breakers", reconcile.interval, breaker::check),
        duty!(context, "settle_attempts", reconcile.interval, attempts::settle),
        duty!(context, "mend_fences", reconcile.requeue_after / 2, fences::mend),
        duty!(context, "verify_fences", reconcile.verify_mirror, fences::verify),
        duty!(context, "fold_counters", reconcile.sample, attempts::fold_counters),
        duty!(context, "tend_queues", upkeep, queues::tend),
        duty!(context, "heartbeat", reconcile.heartbeat, mirror::heartbeat),
        duty!(context, "flush_outbox", mirror::FLUSH_EVERY, mirror::flush_outbox),
        duty!(context, "keep_ready", reconcile.ready_for / 4, mirror::keep_ready),
        duty!(context, "verify_mirror", reconcile.verify_mirror, mirror::verify),
    ]
}

/// What every reconciler does, whether it leads or not: gauges of one that no longer leads would go stale.
pub(crate) fn sampling(context: &Arc<Context>) -> Vec<Duty> {
    let every = context.settings.reconcile.sample;
    vec![
        duty!(context, "sample_queues", every, sampling::queues),
        duty!(context, "sample_users", every, sampling::users),
        duty!(context, "sample_outbox", every, sampling::outbox),
    ]
}
