//! For benchmarks only: a gate's cached path without servers, tasks or a stream.

use handover_identity::Text;

use crate::clock::Moment;
use crate::core::{Answered, Core, Entry, Limits, Look, Place, Read};
use crate::pass::Pass;
use crate::waiting::{Seats, WaitingRoom};
use std::time::Duration;

/// A cache that is full, under a lease of an hour.
pub struct Warm {
    core: Core,
}

impl Warm {
    /// With these users, all on legacy.
    pub fn new(users: &[String]) -> Self {
        let hour = Duration::from_hours(1);
        let limits = Limits { lease: hour, max_request: hour, capacity: users.len() + 1 };
        let core = Core::new(limits, WaitingRoom::new(Seats { per_user: 1, in_all: 1 }));
        let now = Moment::now();
        core.member(now);
        let place = |number: u64| Place { id: number.to_string(), generation: String::new(), number };
        core.positioned(place(1), now);
        let entry = |number| Some(Entry { place: place(number), changes: Vec::new(), forced: false });
        let read = Read { sent: now, entries: vec![entry(1), entry(2)], complete: true };
        let _ = core.read(read);
        let text: Text = "r1".parse().expect("a text as the mirror writes it");
        let known = text.into();
        for user in users {
            if let Look::Ask(asking) = core.look(user, now) {
                drop::<Answered>(core.answered(&asking, known, now));
            }
        }
        Self { core }
    }

    /// [`Gate::admit_now`](crate::Gate::admit_now).
    #[inline]
    pub fn decide(&self, user: &str) -> Option<Pass> {
        self.core.admit_cached(user, Moment::now()).map(Pass::new)
    }
}
