//! Keeps the gate a member: registers it, says that it is alive, and signs it off.

use std::sync::Arc;
use std::time::Duration;

use handover_identity::{IdentitySource, Registration, SourceError};
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::core::Core;

/// One gate's membership.
pub(crate) struct Membership {
    pub(crate) source: Arc<dyn IdentitySource>,
    pub(crate) registration: Registration,
    pub(crate) core: Arc<Core>,
}

impl Membership {
    /// Makes the gate a member, once.
    pub(crate) async fn register(&self) -> Result<(), SourceError> {
        let sent = Moment::now();
        self.bounded(self.source.register(&self.registration)).await?;
        self.core.member(sent);
        Ok(())
    }

    /// Goes on saying that the gate is alive until it is told to stop.
    pub(crate) async fn keep(self: Arc<Self>, mut registered: bool, stop: CancellationToken) {
        loop {
            let pause = self.registration.lease / if registered { 4 } else { 8 };
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(0.8 + fastrand::f64() / 5.0)) => {}
                () = stop.cancelled() => return,
            }
            let result = if registered { self.seen().await } else { self.register().await };
            match result {
                Ok(()) => registered = true,
                Err(error) => {
                    metrics::counter!("handover_gate_membership_failures_total").increment(1);
                    tracing::warn!(%error, "identity did not hear that this gate is alive");
                }
            }
            self.measure();
        }
    }

    async fn seen(&self) -> Result<(), SourceError> {
        let sent = Moment::now();
        let was_member = self.bounded(self.source.seen(&self.registration)).await?;
        if !was_member {
            // Pauses may have begun without waiting for this gate.
            tracing::warn!("the gate had been given up; everything cached is forgotten");
            self.core.forget_everything();
        }
        self.core.member(sent);
        Ok(())
    }

    pub(crate) async fn sign_off(&self) -> Result<(), SourceError> {
        self.bounded(self.source.sign_off(&self.registration.id)).await
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
        let patience = self.registration.lease.max(Duration::from_secs(1)) / 2;
        let late = |_| SourceError::Unreachable("no answer in time".to_owned());
        tokio::time::timeout(patience, work).await.map_err(late)?
    }

    fn measure(&self) {
        let now = Moment::now();
        let flag = |holds: bool| if holds { 1.0 } else { 0.0 };
        metrics::gauge!("handover_gate_lease").set(flag(self.core.cache_holds(now)));
        metrics::gauge!("handover_gate_member").set(flag(self.core.member_holds(now)));
        metrics::gauge!("handover_gate_cached_users").set(self.core.cached() as f64);
        metrics::gauge!("handover_gate_in_flight").set(self.core.in_flight() as f64);
    }
}
