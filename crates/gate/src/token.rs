//! A permit that an admitted request hands on: what was known of the user, and the deadline, signed. Pure.
//!
//! It says "a gate counts a request of this user until then", so that a call to an inner service does not wait
//! for a pause that waits for this call. Whoever holds the key can make one: it belongs to services only.

use std::time::Duration;

use handover_identity::Text;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The header in which a permit is handed on.
pub const PERMIT_HEADER: &str = "handover-permit";

const BLOCK: usize = 64;
const VERSION: &str = "v1";
/// Longer than any that this crate writes: a user's key of 255 bytes and some forty migrations.
const LONGEST: usize = 6_000;

/// Signs and verifies.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    keys: Vec<SecretString>,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) user: String,
    /// Until then, since 1970 by the wall clock.
    pub(crate) deadline: Duration,
    pub(crate) text: String,
}

impl Signer {
    /// `None` without a key.
    pub(crate) fn new(keys: &[SecretString]) -> Option<Self> {
        (!keys.is_empty()).then(|| Self { keys: keys.to_vec() })
    }

    /// The header's value. All of it is visible ASCII.
    pub(crate) fn sign(&self, token: &Token) -> String {
        let user = hex::encode(&token.user);
        let body = format!("{VERSION};{};{user};{}", token.deadline.as_millis(), token.text);
        let key = self.keys.first().map_or("", |key| key.expose_secret());
        format!("{body};{}", hex::encode(hmac(key.as_bytes(), body.as_bytes())))
    }

    /// What the header says, if one of the keys signed it.
    pub(crate) fn verify(&self, value: &str) -> Option<(Token, Text)> {
        let (body, mac) = value.rsplit_once(';').filter(|_| value.len() <= LONGEST)?;
        let mac = hex::decode(mac).ok()?;
        let signed = |key: &SecretString| -> bool {
            hmac(key.expose_secret().as_bytes(), body.as_bytes()).ct_eq(mac.as_slice()).into()
        };
        if !self.keys.iter().any(signed) {
            return None;
        }
        let mut parts = body.splitn(4, ';');
        let (version, deadline, user, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != VERSION {
            return None;
        }
        let user = String::from_utf8(hex::decode(user).ok()?).ok()?;
        let deadline = Duration::from_millis(deadline.parse().ok()?);
        Some((Token { user, deadline, text: text.to_owned() }, text.parse().ok()?))
    }
}

/// HMAC-SHA256, RFC 2104.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(keys: &[&str]) -> Signer {
        let keys: Vec<SecretString> = keys.iter().map(|key| SecretString::from(*key)).collect();
        Signer::new(&keys).unwrap()
    }

    fn token() -> Token {
        let deadline = Duration::from_millis(1_795_369_402_039);
        Token { user: "ünï;code".into(), deadline, text: "r17 invoice-reminders=migrated".into() }
    }

    #[test]
    fn the_mac_is_the_one_of_rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, mac) in cases {
            assert_eq!(hex::encode(hmac(key, message)), mac);
        }
    }

    #[test]
    fn what_is_signed_is_read_back_also_with_a_key_that_is_on_its_way_out() {
        let value = signer(&["old"]).sign(&token());
        let (read, text) = signer(&["new", "old"]).verify(&value).unwrap();
        assert_eq!(read, token());
        assert_eq!(text.revision, 17);
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "a header's value");
    }

    #[test]
    fn any_other_byte_and_any_other_key_is_refused() {
        let signer = signer(&["key"]);
        let value = signer.sign(&token());
        assert!(super::tests::signer(&["other"]).verify(&value).is_none());
        for at in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            // A hex digit in the other case is the same mac.
            assert!(signer.verify(&changed).is_none() || changed.eq_ignore_ascii_case(&value), "{at}");
        }
        for garbled in ["", ";", "v1;1;00;r1", &"x".repeat(9_000)] {
            assert!(signer.verify(garbled).is_none());
        }
    }
}
