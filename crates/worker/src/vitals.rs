//! What a driver knows of its own health: readiness, the watchdog and the list of workers read it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What the claiming loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has been claimed yet.
    Starting,
    /// Claims, or waits at an empty queue.
    Claiming,
    /// All slots are busy.
    Full,
    /// The stage may take no more users at the moment.
    NoRoom,
    /// Begins nothing new.
    Draining,
}

impl Phase {
    /// The phase as operators read it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Claiming => "claiming",
            Self::Full => "full",
            Self::NoRoom => "no_room",
            Self::Draining => "draining",
        }
    }
}

/// A driver's health.
#[derive(Debug)]
pub struct Vitals {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when a claim has been tried without an answer; none after one that was answered.
    unanswered: Option<Instant>,
    /// What Redis or the stage's capacity said last, while it fails.
    trouble: Option<String>,
    rebuilds: u64,
}

impl Default for Vitals {
    fn default() -> Self {
        let state = State { phase: Phase::Starting, unanswered: None, trouble: None, rebuilds: 0 };
        Self { state: Mutex::new(state) }
    }
}

impl Vitals {
    /// A driver that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters a phase. Draining is never left again, and starting is left by an answered claim only.
    pub(crate) fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        if state.phase == Phase::Draining || (state.phase == Phase::Starting && phase != Phase::Draining) {
            return;
        }
        state.phase = phase;
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// A claim is about to be tried, at `now`.
    pub(crate) fn asking(&self, now: Instant) {
        self.lock().unanswered.get_or_insert(now);
    }

    /// A claim was answered.
    pub(crate) fn answered(&self) {
        let mut state = self.lock();
        state.unanswered = None;
        state.trouble = None;
        if state.phase != Phase::Draining {
            state.phase = Phase::Claiming;
        }
    }

    /// Keeps what went wrong. True where it is news, so that an outage is logged once and not at each try.
    pub(crate) fn troubled(&self, text: String) -> bool {
        let mut state = self.lock();
        let news = state.trouble.as_ref() != Some(&text);
        state.trouble = Some(text);
        news
    }

    /// The stage's capacity could be asked for.
    pub(crate) fn relieved(&self) {
        self.lock().trouble = None;
    }

    /// Whether claims have by `now` gone unanswered for longer than `limit`; counts a rebuild, and starts anew.
    pub(crate) fn rebuild_is_due(&self, now: Instant, limit: Duration) -> bool {
        let mut state = self.lock();
        if state.unanswered.is_none_or(|since| now.saturating_duration_since(since) <= limit) {
            return false;
        }
        state.unanswered = Some(now);
        state.rebuilds += 1;
        true
    }

    /// Why the driver is not ready, if it is not: what readiness shows.
    pub fn complaint(&self) -> Option<String> {
        let state = self.lock();
        match (state.phase, &state.trouble) {
            (Phase::Draining, _) => Some("draining".to_owned()),
            (_, Some(trouble)) => Some(format!("{trouble} (connection rebuilt {} times)", state.rebuilds)),
            (Phase::Starting, None) => Some("no claim has been answered yet".to_owned()),
            (Phase::Claiming | Phase::Full | Phase::NoRoom, None) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_ready_once_a_claim_was_answered_and_until_it_drains() {
        let vitals = Vitals::new();
        assert!(vitals.complaint().is_some());
        vitals.enter(Phase::Full);
        assert_eq!(vitals.phase(), Phase::Starting);
        vitals.asking(Instant::now());
        vitals.answered();
        assert_eq!(vitals.complaint(), None);
        vitals.enter(Phase::Draining);
        vitals.answered();
        assert_eq!(vitals.complaint().as_deref(), Some("draining"));
    }

    #[test]
    fn the_same_trouble_is_news_once_and_shows_until_an_answer() {
        let vitals = Vitals::new();
        assert!(vitals.troubled("down".into()));
        assert!(!vitals.troubled("down".into()));
        assert!(vitals.complaint().is_some_and(|text| text.contains("down")));
        vitals.answered();
        assert!(vitals.troubled("down".into()));
    }

    #[test]
    fn a_rebuild_is_due_only_while_claims_go_unanswered() {
        let limit = Duration::from_secs(15);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let vitals = Vitals::new();
        assert!(!vitals.rebuild_is_due(at(30), limit), "nothing was asked");
        vitals.asking(at(30));
        vitals.asking(at(40));
        assert!(!vitals.rebuild_is_due(at(45), limit));
        assert!(vitals.rebuild_is_due(at(46), limit));
        assert!(!vitals.rebuild_is_due(at(61), limit), "the new connection gets its time");
        vitals.answered();
        assert!(!vitals.rebuild_is_due(at(90), limit));
    }
}
