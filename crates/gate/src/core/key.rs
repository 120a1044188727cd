//! A user's key in the map. Most are short, and lie beside what they lead to: one step less to it in memory.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

const INLINE: usize = 38;

pub(super) enum Key {
    Short { length: u8, bytes: [u8; INLINE] },
    Long(Box<[u8]>),
}

impl Key {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("made of a str")
    }
}

impl From<&str> for Key {
    fn from(user: &str) -> Self {
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..user.len()) {
            Some(short) => {
                short.copy_from_slice(user.as_bytes());
                Self::Short { length: user.len() as u8, bytes }
            }
            None => Self::Long(user.as_bytes().into()),
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_found_by_their_bytes() {
        let map: papaya::HashMap<Key, usize> = papaya::HashMap::new();
        for length in 0..100 {
            map.pin().insert("ü".repeat(length).as_str().into(), length);
        }
        for length in 0..100 {
            let user = "ü".repeat(length);
            assert_eq!(map.pin().get(user.as_bytes()), Some(&length));
            assert_eq!(Key::from(user.as_str()).as_str(), user);
        }
    }
}
