//! The user key: the one type of the installation, and the one spelling that each key has.
//!
//! Every key passes through [`KeyType::canonical`] where it enters, so that `042` and `42` are one user in
//! Postgres, in Redis and in the file of a cohort alike. Nothing here looks a user up.

use std::fmt;
use std::str::FromStr;

use handover_canonical::Type;
use thiserror::Error;
use uuid::Uuid;

/// The longest `text` key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 255;

/// The type of the installation's user keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// A whole number of 64 bits.
    Int8,
    /// A UUID.
    Uuid,
    /// Text of 1 to 255 bytes.
    Text,
}

/// Why a text is no user key. It never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Nothing is there.
    #[error("the user key is empty")]
    Empty,
    /// Not a whole number in decimal digits.
    #[error("the user key is not a whole number in decimal digits")]
    NotANumber,
    /// A number that 64 bits do not hold.
    #[error("the user key is outside the range of int8")]
    OutOfRange,
    /// Not a UUID.
    #[error("the user key is not a uuid")]
    NotAUuid,
    /// Too long.
    #[error("the user key is longer than {MAX_KEY_BYTES} bytes")]
    TooLong,
    /// NUL, a line break, a tab or another control character.
    #[error("the user key holds a control character")]
    ControlCharacter,
    /// `!` begins the names that the mirror keeps beside its users.
    #[error("the user key begins with `!`, which is reserved")]
    Reserved,
    /// Bytes from the wire that are no value of the key's type.
    #[error("the bytes are no user key of type {0}")]
    Malformed(KeyType),
}

impl KeyType {
    /// All types, as a plan spells them.
    pub const ALL: [Self; 3] = [Self::Int8, Self::Uuid, Self::Text];

    /// The one spelling of the key that `text` spells.
    ///
    /// `int8` and `uuid` take white space around, leading zeros, a `+`, capitals, braces and missing hyphens,
    /// and give Postgres' own output. `text` is taken to the byte: `a` and `A` and `a ` are three users, as
    /// they are to Postgres.
    pub fn canonical(self, text: &str) -> Result<String, KeyError> {
        match self {
            Self::Int8 => parse_int(text).map(|number| number.to_string()),
            Self::Uuid => parse_uuid(text).map(|uuid| uuid.hyphenated().to_string()),
            Self::Text => check_text(text).map(str::to_owned),
        }
    }

    /// The canonical type that a query's first column must have.
    pub fn wire_type(self) -> Type {
        self.sql().parse().expect("the three key types are in the closed list of canonical types")
    }

    /// The type's name in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Uuid => "uuid",
            Self::Text => "text",
        }
    }

    /// The key that a binary value of this type is. A text that is no valid key is refused.
    pub fn text_of_wire(self, wire: &[u8]) -> Result<String, KeyError> {
        let malformed = KeyError::Malformed(self);
        match self {
            Self::Int8 => {
                let bytes: [u8; 8] = wire.try_into().map_err(|_| malformed)?;
                Ok(i64::from_be_bytes(bytes).to_string())
            }
            Self::Uuid => {
                let uuid = Uuid::from_slice(wire).map_err(|_| malformed)?;
                Ok(uuid.hyphenated().to_string())
            }
            Self::Text => {
                let text = std::str::from_utf8(wire).map_err(|_| malformed)?;
                check_text(text).map(str::to_owned)
            }
        }
    }

    /// The key as a binary value of this type.
    pub fn wire_of_text(self, text: &str) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Int8 => parse_int(text).map(|number| number.to_be_bytes().to_vec()),
            Self::Uuid => parse_uuid(text).map(|uuid| uuid.as_bytes().to_vec()),
            Self::Text => check_text(text).map(|text| text.as_bytes().to_vec()),
        }
    }

    /// The value of the setting `handover.users` for these keys: the text of a Postgres array.
    ///
    /// Each element is quoted, so that a key such as `NULL` or `a,b` is itself.
    pub fn array_literal<'k>(self, keys: impl IntoIterator<Item = &'k str>) -> String {
        let mut text = String::from("{");
        for key in keys {
            if text.len() > 1 {
                text.push(',');
            }
            text.push('"');
            for character in key.chars() {
                if matches!(character, '"' | '\\') {
                    text.push('\\');
                }
                text.push(character);
            }
            text.push('"');
        }
        text.push('}');
        text
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql())
    }
}

impl FromStr for KeyType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|key| key.sql() == text).ok_or_else(|| {
            format!("`{}` is not a type that user keys can have: int8, uuid or text", text.escape_debug())
        })
    }
}

/// The white space that Postgres' own input functions pass over.
fn trim(text: &str) -> Result<&str, KeyError> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    if trimmed.is_empty() { Err(KeyError::Empty) } else { Ok(trimmed) }
}

fn parse_int(text: &str) -> Result<i64, KeyError> {
    let text = trim(text)?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(KeyError::NotANumber);
    }
    text.parse().map_err(|_| KeyError::OutOfRange)
}

fn parse_uuid(text: &str) -> Result<Uuid, KeyError> {
    Uuid::try_parse(trim(text)?).map_err(|_| KeyError::NotAUuid)
}

fn check_text(text: &str) -> Result<&str, KeyError> {
    if text.is_empty() {
        Err(KeyError::Empty)
    } else if text.len() > MAX_KEY_BYTES {
        Err(KeyError::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(KeyError::ControlCharacter)
    } else if text.starts_with('!') {
        Err(KeyError::Reserved)
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn leading_zeros_signs_and_white_space_do_not_make_another_user() {
        for spelling in ["42", "042", " 042", "+42", "\t42\r\n", "00000000000000000000042"] {
            assert_eq!(KeyType::Int8.canonical(spelling).unwrap(), "42", "{spelling:?}");
        }
        assert_eq!(KeyType::Int8.canonical("-0").unwrap(), "0");
        assert_eq!(KeyType::Int8.canonical("-9223372036854775808").unwrap(), "-9223372036854775808");
    }

    #[test]
    fn what_is_no_number_is_no_int8_key() {
        for bad in ["4 2", "0x2a", "4_2", "4e1", "42.0", "--4", "+", "٤٢", "42\0"] {
            assert_eq!(KeyType::Int8.canonical(bad), Err(KeyError::NotANumber), "{bad:?}");
        }
        assert_eq!(KeyType::Int8.canonical("9223372036854775808"), Err(KeyError::OutOfRange));
        assert_eq!(KeyType::Int8.canonical("  "), Err(KeyError::Empty));
    }

    #[test]
    fn a_uuid_has_one_spelling() {
        let canonical = "0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11";
        for spelling in [
            "0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11",
            "0B6AC4D2-6F0E-4F0E-9D0C-0E6F3B1F7A11",
            "0b6ac4d26f0e4f0e9d0c0e6f3b1f7a11",
            " {0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11} ",
        ] {
            assert_eq!(KeyType::Uuid.canonical(spelling).unwrap(), canonical, "{spelling}");
        }
        assert_eq!(KeyType::Uuid.canonical("0b6ac4d2"), Err(KeyError::NotAUuid));
    }

    #[test]
    fn text_keys_stand_as_they_are_and_hold_nothing_invisible() {
        assert_eq!(KeyType::Text.canonical(" Zoë ").unwrap(), " Zoë ");
        assert_eq!(KeyType::Text.canonical("a\0b"), Err(KeyError::ControlCharacter));
        assert_eq!(KeyType::Text.canonical("a\n"), Err(KeyError::ControlCharacter));
        assert_eq!(KeyType::Text.canonical("\u{85}"), Err(KeyError::ControlCharacter));
        assert_eq!(KeyType::Text.canonical("!ready"), Err(KeyError::Reserved));
        assert_eq!(KeyType::Text.canonical(""), Err(KeyError::Empty));
        assert!(KeyType::Text.canonical(&"x".repeat(255)).is_ok());
        assert_eq!(KeyType::Text.canonical(&"é".repeat(128)), Err(KeyError::TooLong));
    }

    #[test]
    fn errors_do_not_quote_the_key() {
        let error = KeyType::Int8.canonical("secret@example.org").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn wire_values_of_a_wrong_length_are_refused() {
        assert_eq!(KeyType::Int8.text_of_wire(&[0; 7]), Err(KeyError::Malformed(KeyType::Int8)));
        assert_eq!(KeyType::Uuid.text_of_wire(&[0; 15]), Err(KeyError::Malformed(KeyType::Uuid)));
        assert_eq!(KeyType::Text.text_of_wire(&[0xff]), Err(KeyError::Malformed(KeyType::Text)));
    }

    #[test]
    fn an_array_literal_quotes_what_would_mean_something_else() {
        let text = KeyType::Text.array_literal(["NULL", "a,b", "q\"\\", "{}"]);
        assert_eq!(text, r#"{"NULL","a,b","q\"\\","{}"}"#);
        assert_eq!(KeyType::Int8.array_literal([]), "{}");
    }

    proptest! {
        #[test]
        fn every_key_type_is_a_fixed_point_of_its_own_spelling(text in "\\PC{0,40}|[ +-]?[0-9]{1,25}") {
            for key in KeyType::ALL {
                if let Ok(canonical) = key.canonical(&text) {
                    prop_assert_eq!(key.canonical(&canonical), Ok(canonical.clone()));
                    let wire = key.wire_of_text(&canonical).unwrap();
                    prop_assert_eq!(key.text_of_wire(&wire), Ok(canonical));
                }
            }
        }
    }
}
