//! Named users sorted by where they stand: those whom a command can act on, and the others with the reason.

use std::collections::HashMap;

use anyhow::Result;
use handover_tracking::{CohortInfo, Tracking, Whereabouts};
use serde::Serialize;

/// How many users are asked about at a time.
const CHUNK: usize = 10_000;

/// How many who were left out are listed as text; `--json` lists all.
const LISTED: usize = 20;

/// A named user whom the command leaves as they are.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    /// The user.
    user: String,
    /// The cohort of this migration that holds them, if one does.
    cohort: Option<String>,
    /// Where they stand there: a state of `status`.
    state: Option<String>,
}

/// Named users, sorted.
#[derive(Debug)]
pub(crate) struct Sorted {
    /// Of this cohort and in one of the wanted states.
    pub(crate) fit: Vec<String>,
    pub(crate) left_out: Vec<LeftOut>,
}

impl Sorted {
    /// The users who were left out, without the reason.
    pub(crate) fn into_left_out(self) -> Vec<String> {
        self.left_out.into_iter().map(|out| out.user).collect()
    }
}

/// Sorts users by whether they are of the cohort and in that state.
pub(crate) async fn sort(
    tracking: &Tracking,
    cohort: &CohortInfo,
    users: Vec<String>,
    state: &str,
) -> Result<Sorted> {
    let mut places: HashMap<String, Whereabouts> = HashMap::new();
    for chunk in users.chunks(CHUNK) {
        let found = tracking.whereabouts(cohort.migration_id, chunk).await?;
        places.extend(found.into_iter().map(|place| (place.user.clone(), place)));
    }
    let mut sorted = Sorted { fit: Vec::new(), left_out: Vec::new() };
    for user in users {
        match places.remove(&user) {
            Some(place) if place.cohort == cohort.name && place.state == state => sorted.fit.push(user),
            Some(place) => {
                let (cohort, state) = (Some(place.cohort), Some(place.state));
                sorted.left_out.push(LeftOut { user, cohort, state });
            }
            None => sorted.left_out.push(LeftOut { user, cohort: None, state: None }),
        }
    }
    Ok(sorted)
}

/// The users who were left out, a line each, to follow a first line; nothing where there are none.
pub(crate) fn text(cohort: &CohortInfo, left_out: &[LeftOut]) -> String {
    let line = |out: &LeftOut| {
        let why = match (&out.cohort, &out.state) {
            (Some(name), Some(state)) if *name == cohort.name => state.replace('_', " "),
            (Some(name), _) => format!("of cohort {name}"),
            (None, _) => format!("of no cohort of {}", cohort.migration),
        };
        format!("\n  left out: {}, {why}", out.user)
    };
    let more = left_out.len().saturating_sub(LISTED);
    let more = if more > 0 { format!("\n  and {more} more (--json lists all)") } else { String::new() };
    left_out.iter().take(LISTED).map(line).chain([more]).collect()
}
