//! A tower layer that puts a gate before any service that speaks `http`: axum, hyper, and what builds on them.
//!
//! It extracts the user by a closure, executes the gate's decision, and enforces the permit's deadline. It decides
//! nothing itself. Work that a handler leaves behind in a task of its own is beyond it.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use handover_fault::{Mutant, mutated};
use http::header::HeaderMap;
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::Moment;
use crate::core::Permit;
use crate::decision::Kind;
use crate::gate::{Gate, Refusal};
use crate::pass::{Decision, Pass};
use crate::respond::{self, Asker, Reason};
use crate::token::PERMIT_HEADER;

/// Whose data a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// This user's. The key's canonical spelling.
    User(String),
    /// Nobody's: assets, health checks, the sign-in page. It passes without a decision, and must not touch any
    /// user's data.
    Nobody,
}

/// The body of a gated service's responses: the service's own, or the gate's.
pub type GateBody<B> = Either<B, Full<Bytes>>;

/// The layer. `subject` tells whose data a request is about.
#[derive(Clone, Debug)]
pub struct GateLayer<F> {
    gate: Gate,
    subject: F,
}

/// What [`GateLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct GateService<S, F> {
    inner: S,
    gate: Gate,
    subject: F,
}

impl<F> GateLayer<F> {
    /// A layer before which `gate` stands.
    pub fn new(gate: Gate, subject: F) -> Self {
        Self { gate, subject }
    }
}

impl<S, F: Clone> Layer<S> for GateLayer<F> {
    type Service = GateService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        GateService { inner, gate: self.gate.clone(), subject: self.subject.clone() }
    }
}

impl<S, F, ReqBody, ResBody> Service<Request<ReqBody>> for GateService<S, F>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    F: Fn(&Request<ReqBody>) -> Subject,
    ReqBody: Send + 'static,
    ResBody: Send + 'static,
{
    type Response = Response<GateBody<ResBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        // The one that was polled ready is used, and a clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let gate = self.gate.clone();
        let subject = (self.subject)(&request);
        let continued = take_permit(request.headers_mut());
        Box::pin(async move {
            let asks =
                request.uri().path() == gate.shared.settings.status_path && request.method() == Method::GET;
            let user = match subject {
                Subject::Nobody if asks => return Ok(respond::status(true).map(Either::Right)),
                Subject::Nobody => return Ok(inner.call(request).await?.map(Either::Left)),
                Subject::User(user) if asks => {
                    return Ok(respond::status(gate.is_open(&user).await).map(Either::Right));
                }
                Subject::User(user) => user,
            };
            let asker = Asker::of(request.method(), request.headers());
            let pass = match admit(&gate, &user, continued.as_deref()).await {
                Ok(pass) => pass,
                Err(refusal) => return Ok(turn_away(&gate, Reason::Refused(refusal), &asker)),
            };
            let decision = pass.decision(&user, &gate);
            request.extensions_mut().insert(decision.clone());
            let held = Held::new(pass, gate.clone(), decision);
            match within(held, inner.call(request)).await {
                Some(answer) => Ok(answer?.map(Either::Left)),
                None => Ok(turn_away(&gate, Reason::TooLate, &asker)),
            }
        })
    }
}

/// The permit that came with a request. Taken out: it is for this gate, and not for logs or what lies behind.
fn take_permit(headers: &mut HeaderMap) -> Option<String> {
    headers.remove(PERMIT_HEADER)?.to_str().ok().map(str::to_owned)
}

async fn admit(gate: &Gate, user: &str, continued: Option<&str>) -> Result<Pass, Refusal> {
    match continued.and_then(|header| gate.admit_continued(user, header)) {
        Some(pass) => Ok(pass),
        None => gate.admit(user, Kind::Holdable).await,
    }
}

fn turn_away<B>(gate: &Gate, reason: Reason, asker: &Asker) -> Response<GateBody<B>> {
    let settings = &gate.shared.settings;
    respond::refusal(reason, asker, &settings.status_path, settings.splash.as_deref()).map(Either::Right)
}

/// A pass while its request is served.
struct Held {
    permit: Option<Permit>,
    gate: Gate,
    decision: Decision,
    ended: bool,
}

impl Held {
    fn new(pass: Pass, gate: Gate, decision: Decision) -> Self {
        Self { permit: Some(pass.into_permit()), gate, decision, ended: false }
    }

    fn deadline(&self) -> Moment {
        self.permit.as_ref().map_or(Moment::NEVER, Permit::deadline)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Given up by the client, or by a panic: what was handed on may still be at work elsewhere.
        if !self.ended
            && self.decision.was_handed_on()
            && let Some(permit) = self.permit.take()
        {
            self.gate.shared.core.linger(permit);
        }
    }
}

/// Runs a handler until the permit's deadline. `None`: it has passed, whatever the handler has done by now; a
/// write of its may have come late, and must not be acknowledged.
async fn within<T>(mut held: Held, work: impl Future<Output = T>) -> Option<T> {
    // Dropped before `held` is: the user is in flight for as long as the handler exists.
    let mut work = pin!(work);
    let deadline = held.deadline();
    let passed = async {
        loop {
            let left = deadline.since(Moment::now());
            if left.is_zero() && !mutated(Mutant::AnswerAfterPermit) {
                return Option::<Infallible>::None;
            }
            // The timer's clock stands still while the machine is suspended, the deadline's does not.
            tokio::time::sleep(left.max(Duration::from_millis(1))).await;
        }
    };
    let done = tokio::select! {
        biased;
        _ = passed => None,
        done = &mut work => Some(done),
    };
    // Looked at again: the process may have been stopped between the handler's last step and here.
    let done = done.filter(|_| mutated(Mutant::AnswerAfterPermit) || Moment::now() < deadline);
    if done.is_none() {
        metrics::counter!("handover_gate_overruns_total").increment(1);
    }
    held.ended = true;
    done
}
