//! Identity asked directly, without its service between: a source of answers that can be cut off.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use handover_identity::{Answer, Identity, IdentitySource, Registration, SourceError, Trust, UserStates};

/// Identity asked directly, without its service between.
pub(crate) struct Direct {
    pub(crate) identity: Identity,
    /// Nobody answers while this is set.
    pub(crate) gone: AtomicBool,
    pub(crate) asked: AtomicUsize,
}

impl Direct {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity, gone: AtomicBool::new(false), asked: AtomicUsize::new(0) }
    }

    fn reach(&self) -> Result<(), SourceError> {
        let gone = self.gone.load(Ordering::SeqCst);
        if gone { Err(SourceError::Unreachable("cut off by the test".into())) } else { Ok(()) }
    }
}

fn unreachable(error: &handover_identity::Error) -> SourceError {
    SourceError::Unreachable(error.to_string())
}

impl IdentitySource for Direct {
    fn look_up<'a>(&'a self, user: &'a str, trust: Trust) -> Answer<'a, UserStates> {
        Box::pin(async move {
            self.reach()?;
            assert_eq!(trust, Trust::Truth, "a gate that asks does not trust the mirror");
            self.asked.fetch_add(1, Ordering::SeqCst);
            // One spelling only, as for users with a numeric key.
            let user = user.trim_start_matches('0').to_owned();
            let records =
                self.identity.get(std::slice::from_ref(&user)).await.map_err(|e| unreachable(&e))?;
            let record = records.first().expect("one for each asked");
            let states = record.states().into_iter().map(|(name, state)| (name.to_owned(), state)).collect();
            Ok(UserStates { user, revision: record.revision(), paused: record.is_paused(), states })
        })
    }

    fn register<'a>(&'a self, gate: &'a Registration) -> Answer<'a, ()> {
        Box::pin(async move { self.seen(gate).await.map(|_| ()) })
    }

    fn seen<'a>(&'a self, gate: &'a Registration) -> Answer<'a, bool> {
        Box::pin(async move {
            self.reach()?;
            // It was a member already, unless this made it one.
            self.identity.truth().register_gate(gate).await.map(|new| !new).map_err(|e| unreachable(&e))
        })
    }

    fn sign_off<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.reach()?;
            self.identity.truth().sign_off_gate(id).await.map(|_| ()).map_err(|e| unreachable(&e))
        })
    }
}
