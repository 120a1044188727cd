//! A user's digest: one hash over the plan, the declared columns, and what all entities hash to.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::hash::{EntityHash, update_counted};
use crate::layout::Layout;

/// Version of everything that `docs/digest.md` says; part of each digest.
pub const FORMAT_VERSION: u32 = 1;

/// A user's digest. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(written: &str) -> Result<Digest, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(written, &mut bytes)?;
        Ok(Digest(bytes))
    }
}

/// The digest of all of a user's rows. Entities come in the plan's order; one without rows is given with its empty
/// hash, never left out.
pub fn user_digest(plan_hash: &[u8; 32], entities: &[(&Layout, &EntityHash)]) -> Digest {
    let mut state = Sha256::new();
    state.update(FORMAT_VERSION.to_be_bytes());
    state.update(plan_hash);
    update_number(&mut state, entities.len());
    for (layout, hash) in entities {
        update_counted(&mut state, layout.name());
        update_number(&mut state, layout.columns().len());
        for column in layout.columns() {
            update_counted(&mut state, &column.name);
            update_counted(&mut state, &column.ty.to_string());
        }
        state.update(hash.to_bytes());
    }
    Digest(state.finalize().into())
}

fn update_number(state: &mut Sha256, number: usize) {
    let number = u32::try_from(number).expect("a plan has far fewer than 2^32 entities and columns");
    state.update(number.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_in_hex_and_read_back() {
        let digest = user_digest(&[7; 32], &[]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("00".parse::<Digest>().is_err());
    }
}
