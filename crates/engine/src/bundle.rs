//! Users who are worked on together: one snapshot, one COPY an entity, one commit, each with a key, hashes and
//! a digest of its own.

use std::collections::HashMap;
use std::time::Duration;

use handover_canonical::{Digest, EntityHash, KeyBlock, RowHasher, user_digest};
use handover_tracking::OpenAttempt;

use crate::Error;
use crate::bound::Bound;

/// How many rows of one entity a user may have who shares a bundle: more, and the others would wait, paused, for
/// one user's rows.
const SHARED: u64 = 20_000;

/// The users of a bundle, found by their key's wire form.
pub(crate) struct Bundle<'a> {
    pub(crate) bound: &'a Bound,
    pub(crate) attempts: &'a [OpenAttempt],
    index: HashMap<Vec<u8>, usize>,
    keys: Vec<KeyBlock>,
    /// The users as the literal of an array, for `:users`.
    pub(crate) literal: String,
    /// How long a statement over their rows may take: as long as they may be paused.
    pub(crate) patience: Duration,
}

impl<'a> Bundle<'a> {
    pub(crate) fn new(
        bound: &'a Bound,
        attempts: &'a [OpenAttempt],
        patience: Duration,
    ) -> Result<Self, Error> {
        let key_type = bound.plan.user_key();
        let damaged = |text: String| Error::Tracking(handover_tracking::Error::Damaged(text));
        let mut index = HashMap::with_capacity(attempts.len());
        let mut keys = Vec::with_capacity(attempts.len());
        for (nth, attempt) in attempts.iter().enumerate() {
            let wire = key_type.wire_of_text(&attempt.user).map_err(|error| damaged(error.to_string()))?;
            index.insert(wire, nth);
            let block: [u8; KeyBlock::LEN] = attempt
                .key_block
                .as_slice()
                .try_into()
                .map_err(|_| damaged("a key block's length".to_owned()))?;
            keys.push(KeyBlock::from_bytes(block));
        }
        let literal = key_type.array_literal(attempts.iter().map(|attempt| attempt.user.as_str()));
        Ok(Self { bound, attempts, index, keys, literal, patience })
    }

    /// The number of the user whom a row names; none for a row of somebody else, which no plan may return.
    pub(crate) fn user(&self, wire: &[u8]) -> Option<usize> {
        self.index.get(wire).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.attempts.len()
    }
}

/// The hashes of a bundle's rows, of one side.
pub(crate) struct Hashes {
    /// By entity, then by user.
    entities: Vec<Vec<EntityHash>>,
    /// Users of whom a derived column differed, and which.
    spoilt: HashMap<usize, String>,
}

impl Hashes {
    pub(crate) fn new(bundle: &Bundle<'_>) -> Self {
        let users = vec![EntityHash::default(); bundle.len()];
        Self { entities: vec![users; bundle.bound.plan.entities().len()], spoilt: HashMap::new() }
    }

    /// Takes rows of one entity in.
    pub(crate) fn entity<'h>(&'h mut self, bundle: &'h Bundle<'_>, entity: usize) -> EntityHashing<'h> {
        EntityHashing { bundle, entity, hashers: Vec::new(), hashes: &mut self.entities[entity] }
    }

    /// Keeps that a user's derived column was not what its row makes of it; the first one found is named.
    pub(crate) fn spoil(&mut self, user: usize, entity: &str, column: &str) {
        self.spoilt.entry(user).or_insert_with(|| format!("{entity}.{column}"));
    }

    /// The derived column of a user that was not what its row makes of it.
    pub(crate) fn spoilt(&self, user: usize) -> Option<&str> {
        self.spoilt.get(&user).map(String::as_str)
    }

    /// The user's digest.
    pub(crate) fn digest(&self, bound: &Bound, user: usize) -> Digest {
        let entities: Vec<_> =
            bound.layouts().zip(&self.entities).map(|(layout, hashes)| (layout, &hashes[user])).collect();
        user_digest(&bound.hash, &entities)
    }

    /// The user's canonical rows.
    pub(crate) fn rows(&self, user: usize) -> i64 {
        self.entities.iter().map(|hashes| hashes[user].count() as i64).sum()
    }
}

/// The hashing of one entity's rows, as they stream by.
pub(crate) struct EntityHashing<'h> {
    bundle: &'h Bundle<'h>,
    entity: usize,
    hashers: Vec<Option<RowHasher>>,
    hashes: &'h mut [EntityHash],
}

impl EntityHashing<'_> {
    /// Takes a user's canonical row in. A user of very many rows is an error of the bundle that is shared.
    pub(crate) fn add(&mut self, user: usize, row: &[u8]) -> Result<(), Error> {
        if self.hashers.is_empty() {
            self.hashers.resize(self.bundle.len(), None);
        }
        let entity = &self.bundle.bound.plan.entities()[self.entity];
        let hasher =
            self.hashers[user].get_or_insert_with(|| RowHasher::new(&self.bundle.keys[user], &entity.layout));
        let hash = hasher
            .hash(row)
            .map_err(|error| Error::Wire { what: format!("entity {}", entity.name), error })?;
        self.hashes[user].add(&hash);
        if self.bundle.len() > 1 && self.hashes[user].count() > SHARED {
            return Err(Error::Crowded { claim: self.bundle.attempts[user].claim() });
        }
        Ok(())
    }
}
