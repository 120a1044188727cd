//! The secret that keys an attempt's row hashes: whoever does not know it can neither guess a row from its hash nor
//! build rows whose hashes cancel out. It is kept with the attempt, and never logged.

use std::fmt;

/// 64 secret bytes: exactly one SHA-256 block, so that keying costs one compression per entity and none per row.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBlock([u8; KeyBlock::LEN]);

/// Why there is no key block.
#[derive(Debug, thiserror::Error)]
pub enum KeyBlockError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes for a key block: {0}")]
    Random(getrandom::Error),
    /// Stored bytes of another length.
    #[error("a key block has 64 bytes, not {0}")]
    Length(usize),
}

impl KeyBlock {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// A fresh block from the operating system's generator.
    pub fn random() -> Result<KeyBlock, KeyBlockError> {
        let mut bytes = [0; KeyBlock::LEN];
        getrandom::fill(&mut bytes).map_err(KeyBlockError::Random)?;
        Ok(KeyBlock(bytes))
    }

    /// The block that was stored.
    pub const fn from_bytes(bytes: [u8; KeyBlock::LEN]) -> KeyBlock {
        KeyBlock(bytes)
    }

    /// The bytes to store. They are a secret.
    pub const fn as_bytes(&self) -> &[u8; KeyBlock::LEN] {
        &self.0
    }
}

impl TryFrom<&[u8]> for KeyBlock {
    type Error = KeyBlockError;

    fn try_from(bytes: &[u8]) -> Result<KeyBlock, KeyBlockError> {
        bytes.try_into().map(KeyBlock).map_err(|_| KeyBlockError::Length(bytes.len()))
    }
}

impl fmt::Debug for KeyBlock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyBlock(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_blocks_differ() {
        let (one, other) = (KeyBlock::random().expect("random"), KeyBlock::random().expect("random"));
        assert!(one != other);
    }

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", KeyBlock::from_bytes([0xab; 64])), "KeyBlock(..)");
    }

    #[test]
    fn stored_bytes_of_another_length_are_refused() {
        assert!(KeyBlock::try_from([7; 64].as_slice()).is_ok());
        assert!(matches!(KeyBlock::try_from([7; 63].as_slice()), Err(KeyBlockError::Length(63))));
    }
}
