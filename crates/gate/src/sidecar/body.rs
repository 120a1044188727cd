//! Bodies: of requests, bounded in length; and of answers, which end with their pass or hold it to their own end.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::counted::Counted;
use crate::clock::Moment;
use crate::pass::Pass;

/// Any body of the sidecar's.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// Any failure of one.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The permit's deadline came before the answer's end.
#[derive(Debug, thiserror::Error)]
#[error("the request took longer than its user could be held")]
struct TooLate;

/// A request's body that is refused beyond so many bytes; `exceeded` is set then.
pub(crate) fn limited(body: Incoming, most: usize, exceeded: Arc<AtomicBool>) -> Body {
    let noted = move |error: BoxError| {
        if error.is::<LengthLimitError>() {
            exceeded.store(true, Ordering::SeqCst);
        }
        error
    };
    Limited::new(body, most).map_err(noted).boxed_unsync()
}

/// A pass while the application works on its request. Dropped before the application's answer has ended, it counts
/// until its deadline: the application may still be at work.
pub(crate) struct Held {
    pass: Option<Pass>,
    counted: Arc<Counted>,
}

impl Held {
    /// Holds a pass; what is not ended goes to `counted`.
    pub(crate) fn new(pass: Pass, counted: Arc<Counted>) -> Self {
        Self { pass: Some(pass), counted }
    }

    /// The application has answered, or was never reached.
    pub(crate) fn end(mut self) {
        self.pass = None;
    }

    /// From then on nothing may be acknowledged.
    pub(crate) fn deadline(&self) -> Moment {
        self.pass.as_ref().map_or(Moment::NEVER, Pass::deadline)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.counted.keep(pass);
        }
    }
}

/// An answer's body that holds its request's pass, and breaks off at the deadline: what the application does after
/// that is not acknowledged.
pub(crate) struct Answering {
    body: Incoming,
    held: Option<Held>,
    alarm: Pin<Box<Sleep>>,
}

impl Answering {
    /// The body with its pass.
    pub(crate) fn new(body: Incoming, held: Held) -> Self {
        let left = held.deadline().since(Moment::now());
        let mut answering = Self { body, held: Some(held), alarm: Box::pin(tokio::time::sleep(left)) };
        answering.look_for_end();
        answering
    }

    /// Whoever writes an answer of a known length out may never ask for what follows its last byte.
    fn look_for_end(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(held) = self.held.take() {
            held.end();
        }
    }

    /// Whether the deadline has passed; wakes the task when it does.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some(held) = &self.held else { return false };
        loop {
            let left = held.deadline().since(Moment::now());
            if left.is_zero() {
                return true;
            }
            if self.alarm.as_mut().poll(context).is_pending() {
                return false;
            }
            // The timer's clock stands still while the machine is suspended, the deadline's does not.
            self.alarm.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_late(context) {
            metrics::counter!("handover_gate_overruns_total").increment(1);
            return Poll::Ready(Some(Err(Box::new(TooLate))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.end(),
            Poll::Ready(Some(Ok(_))) => self.look_for_end(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
