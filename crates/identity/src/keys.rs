//! The names of Identity's Redis keys, and of users in the hash.

use std::borrow::Cow;

/// The longest user key, in bytes.
const LONGEST_USER: usize = 255;

/// Identity's keys under one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// The field that says until when the mirror may be believed.
    pub const READY: &'static str = "!ready";

    /// Keys under that prefix: `handover`, or `{handover}` to put all of them in one Redis Cluster slot.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The hash that mirrors the truth.
    pub fn identity(&self) -> String {
        format!("{}:identity", self.prefix)
    }

    /// What the gate of that id tells of itself.
    pub fn gate(&self, id: &str) -> String {
        format!("{}:gate:{id}", self.prefix)
    }

    /// The stream of changes.
    pub fn changes(&self) -> String {
        format!("{}:changes", self.prefix)
    }
}

/// The hash's field for a user: the key itself, but for a key that begins with `!`, which gets another in
/// front, so that no user can stand where `!ready` stands.
pub fn field_of_user(user: &str) -> Cow<'_, str> {
    if user.starts_with('!') { Cow::Owned(format!("!{user}")) } else { Cow::Borrowed(user) }
}

/// The user whose field this is; `None` for a field that is no user's.
pub fn user_of_field(field: &str) -> Option<&str> {
    match field.strip_prefix('!') {
        None => Some(field),
        Some(rest) if rest.starts_with('!') => Some(rest),
        Some(_) => None,
    }
}

/// Whether the truth can hold this key.
pub(crate) fn check_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() || user.len() > LONGEST_USER {
        return Err("must be of 1 to 255 bytes");
    }
    if user.contains('\0') { Err("must not hold a NUL") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_can_stand_where_ready_stands() {
        for user in ["42", "!", "!ready", "!!ready", "a!b", "ready"] {
            let field = field_of_user(user);
            assert_ne!(field, Keys::READY, "{user}");
            assert_eq!(user_of_field(&field), Some(user));
        }
        assert_eq!(user_of_field(Keys::READY), None);
    }
}
