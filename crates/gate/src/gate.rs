//! The gate itself: looks a user up, holds or refuses, and gives passes.
//!
//! All I/O is behind the traits and tasks that it starts; what may be believed is the core's decision.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use handover_fault::point;
use handover_identity::{IdentitySource, Registration, State, Trust};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Moment;
use crate::core::{Answered, Core, Limits, Look};
use crate::decision::{Kind, Standing, Verdict, decide};
use crate::error::Error;
use crate::feed::{self, Address, Changes};
use crate::member::Membership;
use crate::pass::Pass;
use crate::settings::Settings;
use crate::token::{Signer, Token};
use crate::waiting::{Seat, Seats, WaitingRoom};

/// How often an answer may be overtaken before the user is treated as unknown.
const TRIES: usize = 4;
/// How long one question to Identity may take.
const LOOK_UP: Duration = Duration::from_secs(2);
/// How often a held request looks again by itself: while changes are heard of, and while they are not.
const LOOKS_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(250));

/// A gate. Cheap to clone; all clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) settings: Settings,
    source: Arc<dyn IdentitySource>,
    room: Arc<WaitingRoom>,
    look_ups: Semaphore,
    signer: Option<Signer>,
    membership: Arc<Membership>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why a request was not let through. It may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user is paused.
    #[error("the user is being moved")]
    Paused,
    /// Where the user's data is cannot be told now.
    #[error("where the user's data is cannot be told now")]
    Unknown,
    /// Too many requests are held.
    #[error("too many requests are waiting")]
    Crowded,
}

/// What came of a look-up.
enum Found {
    Pass(Pass),
    Paused,
    Unknown,
}

impl Gate {
    /// Starts a gate in this Tokio runtime, and registers it with Identity. Where that fails it goes on trying:
    /// until it succeeds every user is treated as paused.
    pub async fn start(
        settings: Settings,
        source: Arc<dyn IdentitySource>,
        changes: &Changes,
    ) -> Result<Self, Error> {
        settings.validate()?;
        let registration = registration(&settings)?;
        let address = Arc::new(Address::new(changes, &registration.id)?);
        let gate = Self::assemble(settings, source, registration);
        let registered = gate.shared.membership.register().await;
        if let Err(error) = &registered {
            tracing::warn!(%error, "identity did not take this gate in; trying again");
        }
        gate.spawn(address, registered.is_ok());
        Ok(gate)
    }

    fn assemble(settings: Settings, source: Arc<dyn IdentitySource>, registration: Registration) -> Self {
        let seats = Seats { per_user: settings.max_waiters_per_user, in_all: settings.max_waiters };
        let room = WaitingRoom::new(seats);
        let limits = Limits {
            lease: settings.lease,
            max_request: settings.max_request,
            capacity: settings.cached_users,
        };
        let core = Arc::new(Core::new(limits, Arc::clone(&room)));
        let membership = Membership { source: Arc::clone(&source), registration, core: Arc::clone(&core) };
        let shared = Shared {
            core,
            source,
            room,
            look_ups: Semaphore::new(settings.max_look_ups),
            signer: Signer::new(&settings.permit_keys),
            membership: Arc::new(membership),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            settings,
        };
        Self { shared: Arc::new(shared) }
    }

    fn spawn(&self, address: Arc<Address>, registered: bool) {
        let Shared { core, tasks, stop, settings, membership, .. } = &*self.shared;
        tasks.spawn(feed::follow(Arc::clone(&address), Arc::clone(core), stop.clone()));
        tasks.spawn(feed::acknowledge(address, Arc::clone(core), settings.lease / 2, stop.clone()));
        tasks.spawn(Arc::clone(membership).keep(registered, stop.clone()));
        tasks.close();
    }

    /// The id under which this gate is a member: another one at each start.
    pub fn id(&self) -> &str {
        &self.shared.membership.registration.id
    }

    /// The pass of a user who is cached and not paused. Takes no lock, allocates nothing, makes no system call;
    /// `None` means that [`Gate::admit`] has to be asked.
    #[inline]
    pub fn admit_now(&self, user: &str) -> Option<Pass> {
        self.shared.core.admit_cached(user, Moment::now()).map(Pass::new)
    }

    /// Lets a request of a user through, holds it until the user's pause ends, or refuses it. The user counts as
    /// in flight until the pass is dropped.
    ///
    /// `user` should be the key's canonical spelling: another one costs a look-up at each request.
    pub async fn admit(&self, user: &str, kind: Kind) -> Result<Pass, Refusal> {
        if let Some(pass) = self.admit_now(user) {
            return Ok(pass);
        }
        let mut user = Cow::Borrowed(user);
        let patience = self.shared.settings.hold_for.max(LOOK_UP);
        let found = tokio::time::timeout(patience, self.look_up(&mut user)).await;
        let (standing, refusal) = match found.unwrap_or(Found::Unknown) {
            Found::Pass(pass) => return Ok(pass),
            Found::Paused => (Standing::Known { state: State::Migrating, paused: true }, Refusal::Paused),
            Found::Unknown => (Standing::Unknown, Refusal::Unknown),
        };
        let admitted = match decide(standing, kind) {
            Verdict::Wait => self.hold(user).await,
            Verdict::Refuse | Verdict::Legacy | Verdict::New => Err(refusal),
        };
        if let Err(refusal) = &admitted {
            let reason = refusal.word();
            metrics::counter!("handover_gate_refused_total", "reason" => reason).increment(1);
        }
        admitted
    }

    /// Holds a request until there is a pass, for `hold_for` at most.
    async fn hold(&self, mut user: Cow<'_, str>) -> Result<Pass, Refusal> {
        let settings = &self.shared.settings;
        let seat = self.shared.room.sit(&user).ok_or(Refusal::Crowded)?;
        point("gate.holds").await.map_err(|_| Refusal::Unknown)?;
        metrics::gauge!("handover_gate_waiting").set(self.shared.room.waiting() as f64);
        let began = Instant::now();
        let mut last = Refusal::Unknown;
        let waiting = self.wait(&mut user, &seat, &mut last);
        let result = tokio::time::timeout(settings.hold_for, waiting).await;
        metrics::histogram!("handover_gate_held_seconds").record(began.elapsed().as_secs_f64());
        drop(seat);
        metrics::gauge!("handover_gate_waiting").set(self.shared.room.waiting() as f64);
        result.map_err(|_| last)
    }

    async fn wait(&self, user: &mut Cow<'_, str>, seat: &Seat, last: &mut Refusal) -> Pass {
        loop {
            // Asked for before looking, so that what comes in between is not missed.
            let news = seat.news();
            match self.look_up(user).await {
                Found::Pass(pass) => return pass,
                Found::Paused => *last = Refusal::Paused,
                Found::Unknown => *last = Refusal::Unknown,
            }
            let heard = self.shared.core.cache_holds(Moment::now());
            let again = if heard { LOOKS_AGAIN.0 } else { LOOKS_AGAIN.1 };
            let _ = tokio::time::timeout(again.mul_f64(0.5 + fastrand::f64()), news).await;
            // All who were held are told at once, and must not arrive at once.
            tokio::time::sleep(self.shared.settings.release_jitter.mul_f64(fastrand::f64())).await;
        }
    }

    /// What is known of a user, asking Identity where the cache does not tell.
    async fn look_up(&self, user: &mut Cow<'_, str>) -> Found {
        let core = &self.shared.core;
        for _ in 0..TRIES {
            match core.look(user, Moment::now()) {
                Look::Admitted(permit) => return Found::Pass(Pass::new(permit)),
                Look::Paused => return Found::Paused,
                Look::Closed => return Found::Unknown,
                Look::Ask(asking) => drop(asking),
            }
            if let Some(found) = self.ask(user).await {
                return found;
            }
        }
        metrics::counter!("handover_gate_look_ups_total", "outcome" => "overtaken").increment(1);
        Found::Unknown
    }

    /// One question to Identity; `None` where the answer is worth nothing.
    async fn ask(&self, user: &mut Cow<'_, str>) -> Option<Found> {
        let Shared { core, look_ups, source, settings, .. } = &*self.shared;
        let Ok(_turn) = look_ups.acquire().await else { return Some(Found::Unknown) };
        // Looked at again: it may have taken a while until it was our turn, and time counts from here.
        let asking = match core.look(user, Moment::now()) {
            Look::Admitted(permit) => return Some(Found::Pass(Pass::new(permit))),
            Look::Paused => return Some(Found::Paused),
            Look::Closed => return Some(Found::Unknown),
            Look::Ask(asking) => asking,
        };
        let question = source.look_up(asking.user(), Trust::Truth);
        let answer = tokio::time::timeout(LOOK_UP.min(settings.max_request), question).await;
        let outcome = if matches!(answer, Ok(Ok(_))) { "answered" } else { "failed" };
        metrics::counter!("handover_gate_look_ups_total", "outcome" => outcome).increment(1);
        let Ok(Ok(states)) = answer else { return Some(Found::Unknown) };
        if states.user != asking.user() {
            // Changes name the canonical spelling, so the count must be kept under it.
            *user = Cow::Owned(states.user);
            return None;
        }
        match core.answered(&asking, states.into(), Moment::now()) {
            Answered::Admitted(permit) => Some(Found::Pass(Pass::new(permit))),
            Answered::Paused => Some(Found::Paused),
            Answered::Closed => Some(Found::Unknown),
            Answered::Again => None,
        }
    }

    /// Lets through what a request that some gate has admitted has handed on, in the value of the header
    /// [`PERMIT_HEADER`](crate::PERMIT_HEADER). `None` where it is not signed by one of the keys, is for another
    /// user, or is too late.
    pub fn admit_continued(&self, user: &str, header: &str) -> Option<Pass> {
        let (token, text) = self.shared.signer.as_ref()?.verify(header)?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let left = token.deadline.checked_sub(wall)?.checked_sub(self.shared.settings.max_clock_skew)?;
        if token.user != user {
            return None;
        }
        let now = Moment::now();
        self.shared.core.continued(user, text.into(), now + left, now).map(Pass::new)
    }

    /// The header's value that hands a pass on to an inner service. `None` without a key, or too late.
    pub fn hand_on(&self, user: &str, pass: &Pass) -> Option<String> {
        self.signed(user, pass.known().text(), pass.deadline())
    }

    pub(crate) fn signed(&self, user: &str, text: String, deadline: Moment) -> Option<String> {
        let signer = self.shared.signer.as_ref()?;
        let left = deadline.since(Moment::now());
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        (!left.is_zero()).then(|| signer.sign(&Token { user: user.to_owned(), deadline: wall + left, text }))
    }

    /// Whether a request of the user would be let through now. Lets nothing through.
    pub async fn is_open(&self, user: &str) -> bool {
        match self.admit_now(user) {
            Some(_) => true,
            None => matches!(self.look_up(&mut Cow::Borrowed(user)).await, Found::Pass(_)),
        }
    }

    /// Forgets what is cached of a user: the next request asks Identity. To be called after a sign-up whose key
    /// may have been asked for before it was enrolled.
    pub fn forget(&self, user: &str) {
        self.shared.core.forget_user(user);
    }

    /// Admits nobody any more, waits until what is in flight has ended, and signs off. To be called once the
    /// server takes no more requests. An error leaves the membership to run out by itself.
    pub async fn close(&self) -> Result<(), Error> {
        self.shared.core.close();
        let began = Instant::now();
        while self.shared.core.in_flight() > 0 && began.elapsed() < self.shared.settings.max_request {
            // No single count tells of the last of all, and this happens once in a process' life.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
        let left = self.shared.core.in_flight();
        if left > 0 {
            return Err(Error::InFlight(left));
        }
        Ok(self.shared.membership.sign_off().await?)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Refusal {
    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Unknown => "unknown",
            Self::Crowded => "crowded",
        }
    }
}

/// What is said of one process must never be believed of another's requests: a random id for each start.
fn registration(settings: &Settings) -> Result<Registration, Error> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|_| Error::Random)?;
    Ok(Registration {
        id: format!("{}-{}", settings.kind, hex::encode(random)),
        kind: settings.kind.clone(),
        lease: settings.lease,
        max_request: settings.max_request,
    })
}
