//! Keyed hash of a row, and the multiset hash of an entity's rows: order does not matter, number does.
//!
//! The hot path: a row costs one pass of SHA-256 over its wire bytes, and no allocation.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::copy::WireError;
use crate::key::KeyBlock;
use crate::layout::{Layout, Shape};

/// A row's hash under one key block and entity name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowHash([u8; 32]);

impl RowHash {
    /// The hash as it was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> RowHash {
        RowHash(bytes)
    }

    /// The 32 bytes of SHA-256.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn lanes(&self) -> [u64; 4] {
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(self.0.as_chunks::<8>().0) {
            *lane = u64::from_be_bytes(*bytes);
        }
        lanes
    }
}

impl fmt::Debug for RowHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RowHash({})", hex::encode(self.0))
    }
}

/// Hashes one entity's rows for one attempt: SHA-256 over key block, length and bytes of the entity's name, and row.
#[derive(Clone)]
pub struct RowHasher {
    // Key block and name are already absorbed; each row starts from a copy of this.
    midstate: Sha256,
    shape: Shape,
}

impl RowHasher {
    /// Allocates nothing, and compresses one block: cheap enough for one hasher per user and entity.
    pub fn new(key: &KeyBlock, layout: &Layout) -> RowHasher {
        let mut midstate = Sha256::new();
        midstate.update(key.as_bytes());
        update_counted(&mut midstate, layout.name());
        RowHasher { midstate, shape: layout.shape().clone() }
    }

    /// The hash of a canonical row as it came from the wire; array headers are normalised in passing.
    /// A row that has not exactly the layout's columns is an error, and never hashed.
    pub fn hash(&self, row: &[u8]) -> Result<RowHash, WireError> {
        let mut state = self.midstate.clone();
        let mut from = 0;
        self.shape.blanks(row, |at| {
            state.update(&row[from..at]);
            state.update([0; 8]);
            from = at + 8;
        })?;
        state.update(&row[from..]);
        Ok(RowHash(state.finalize().into()))
    }
}

impl fmt::Debug for RowHasher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The midstate stands for the secret key block.
        out.write_str("RowHasher(..)")
    }
}

/// A string with its length in front, so that no two lists of strings run together to the same bytes.
pub(crate) fn update_counted(state: &mut Sha256, text: &str) {
    let length = u32::try_from(text.len()).expect("names are checked to be far shorter than 4 GiB");
    state.update(length.to_be_bytes());
    state.update(text.as_bytes());
}

/// The multiset hash of an entity's rows: the sum of their hashes in four 64-bit lanes, wrapping, and their number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct EntityHash {
    lanes: [u64; 4],
    count: u64,
}

impl EntityHash {
    /// Length of [`EntityHash::to_bytes`].
    pub const LEN: usize = 40;

    /// Takes a row in.
    pub fn add(&mut self, row: &RowHash) {
        self.each_lane(row.lanes(), u64::wrapping_add);
        self.count = self.count.wrapping_add(1);
    }

    /// Takes a row out that was taken in before, or will be: the order is free, and the number wraps as the lanes do.
    pub fn sub(&mut self, row: &RowHash) {
        self.each_lane(row.lanes(), u64::wrapping_sub);
        self.count = self.count.wrapping_sub(1);
    }

    /// Takes all rows of another part of the same entity in.
    pub fn merge(&mut self, other: &EntityHash) {
        self.each_lane(other.lanes, u64::wrapping_add);
        self.count = self.count.wrapping_add(other.count);
    }

    /// Number of rows.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The lanes, first lane first.
    pub const fn lanes(&self) -> [u64; 4] {
        self.lanes
    }

    /// Number of rows, then the four lanes, each as a big-endian 64-bit integer: the bytes of the digest's preimage.
    pub fn to_bytes(&self) -> [u8; EntityHash::LEN] {
        let mut bytes = [0; EntityHash::LEN];
        let words = std::iter::once(self.count).chain(self.lanes);
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
        bytes
    }

    /// What [`EntityHash::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8; EntityHash::LEN]) -> EntityHash {
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word));
        let count = words.next().unwrap_or_default();
        let mut lanes = [0; 4];
        lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane = word);
        EntityHash { lanes, count }
    }

    fn each_lane(&mut self, others: [u64; 4], combine: fn(u64, u64) -> u64) {
        for (lane, other) in self.lanes.iter_mut().zip(others) {
            *lane = combine(*lane, other);
        }
    }
}

impl fmt::Debug for EntityHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EntityHash({} rows, {})", self.count, hex::encode(&self.to_bytes()[8..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_wrap_and_come_back() {
        let row = RowHash([0xff; 32]);
        let mut hash = EntityHash::default();
        hash.add(&row);
        hash.add(&row);
        assert_eq!(hash.lanes(), [u64::MAX - 1; 4]);
        assert_eq!(hash.count(), 2);
        hash.sub(&row);
        hash.sub(&row);
        assert_eq!(hash, EntityHash::default());
    }

    #[test]
    fn bytes_are_the_count_then_the_lanes() {
        let mut hash = EntityHash::default();
        hash.add(&RowHash(std::array::from_fn(|n| n as u8)));
        let bytes = hash.to_bytes();
        assert_eq!(
            hex::encode(bytes),
            "0000000000000001000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        );
        assert_eq!(EntityHash::from_bytes(&bytes), hash);
    }
}
