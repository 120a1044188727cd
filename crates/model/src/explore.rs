//! Runs one model to its end, or until a named property is broken, and says what was found. Knows no protocol.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

/// How many threads explore.
const THREADS: usize = 2;

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps taken between them.
    pub steps: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Properties that do not hold, each with a shortest way (one action a line) to a state in which it does not.
    pub broken: Vec<(&'static str, Vec<String>)>,
    /// Situations that should be reached, so that the model is not empty, and are not.
    pub unreached: Vec<&'static str>,
}

impl Explored {
    /// Whether every property holds and every situation that should be is reached.
    pub fn is_sound(&self) -> bool {
        self.broken.is_empty() && self.unreached.is_empty()
    }

    /// Whether that property is broken.
    pub fn breaks(&self, property: &str) -> bool {
        self.broken.iter().any(|(name, _)| *name == property)
    }
}

/// A model whose actions can be told to a reader.
pub(crate) trait Told: Model {
    /// What the action does in that state.
    fn told(&self, state: &Self::State, action: &Self::Action) -> String;
}

/// Explores a model: all of it, or until `until` is broken.
pub(crate) fn explore<M>(model: M, until: Option<&'static str>) -> Explored
where
    M: Told + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + std::fmt::Debug + 'static,
    M::Action: Clone + PartialEq + Send + Sync + std::fmt::Debug,
{
    let properties: Vec<(&'static str, Expectation)> =
        model.properties().into_iter().map(|property| (property.name, property.expectation)).collect();
    let begun = Instant::now();
    let mut checker = model.checker().threads(THREADS);
    if let Some(property) = until {
        checker = checker.finish_when(HasDiscoveries::AllOf(BTreeSet::from([property])));
    }
    let checker = checker.spawn_bfs().join();
    let mut found = checker.discoveries();
    let (mut broken, mut unreached) = (Vec::new(), Vec::new());
    for (name, expectation) in properties {
        match (found.remove(name), expectation) {
            (Some(path), Expectation::Always) => {
                broken.push((name, way(checker.model(), path)));
            }
            (None, Expectation::Sometimes) => unreached.push(name),
            _ => {}
        }
    }
    Explored {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
        broken,
        unreached,
    }
}

/// A way as lines.
fn way<M: Told>(model: &M, path: Path<M::State, M::Action>) -> Vec<String> {
    let steps = path.into_vec().into_iter();
    steps.filter_map(|(state, action)| action.map(|action| model.told(&state, &action))).collect()
}
