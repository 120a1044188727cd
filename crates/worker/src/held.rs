//! Which deliveries this process holds, so that one task renews the leases of all of them.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use handover_queue::{Delivery, Token};

/// The deliveries that are held, by their tokens.
#[derive(Debug, Default)]
pub(crate) struct Held {
    tokens: Mutex<HashSet<Token>>,
}

impl Held {
    /// Notes deliveries that were claimed.
    pub(crate) fn add<T>(&self, deliveries: &[Delivery<T>]) {
        self.lock().extend(deliveries.iter().map(|delivery| delivery.token().clone()));
    }

    /// Forgets deliveries that are settled or lost.
    pub(crate) fn remove<'a>(&self, tokens: impl IntoIterator<Item = &'a Token>) {
        let mut held = self.lock();
        for token in tokens {
            held.remove(token);
        }
    }

    /// All that is held now.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.lock().iter().cloned().collect()
    }

    /// How many are held now.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
