//! Entries of the stream, from bytes to what the core takes. Pure. The format is in `docs/redis.md`.

use handover_identity::{Text, user_of_field};

use crate::core::{Change, Entry, Place};

/// An entry as the server gives it: its id, then fields and values in turn.
pub(super) type Raw = (String, Vec<Vec<u8>>);

/// The entry; `None` where it is not one of Identity's.
pub(super) fn entry((id, pairs): Raw) -> Option<Entry> {
    let value = |name: &str| {
        let pair = pairs.chunks_exact(2).find(|pair| pair[0] == name.as_bytes())?;
        std::str::from_utf8(&pair[1]).ok()
    };
    let digits = value("n").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let place = Place { id, generation: value("gen")?.to_owned(), number: digits.parse().ok()? };
    let named = pairs.chunks_exact(2).any(|pair| pair[0] == b"users");
    let users: Vec<(String, String)> = match (named, value("users")) {
        (true, json) => serde_json::from_str(json?).ok()?,
        (false, _) => Vec::new(),
    };
    let changes = users.into_iter().filter_map(|(field, text)| change(&field, &text)).collect();
    Some(Entry { place, changes, forced: value("forced") == Some("1") })
}

/// What is said of one field; `None` for one that is no user's.
fn change(field: &str, text: &str) -> Option<Change> {
    let user = user_of_field(field)?.to_owned();
    Some(Change { user, known: text.parse::<Text>().ok().map(Into::into) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pairs: &[(&str, &str)]) -> Raw {
        let flat =
            pairs.iter().flat_map(|(name, value)| [name.as_bytes().to_vec(), value.as_bytes().to_vec()]);
        ("5-0".to_owned(), flat.collect())
    }

    #[test]
    fn an_entry_is_read_as_documented() {
        let users = r#"[["42","r17 a=migrated b=migrating"],["!!x","r4"],["!ready","until 1 run a"],["7","garbage"]]"#;
        let entry = entry(raw(&[("n", "41"), ("gen", "9f"), ("users", users), ("forced", "1")])).unwrap();
        assert_eq!(entry.place, Place { id: "5-0".into(), generation: "9f".into(), number: 41 });
        assert!(entry.forced);
        let known: Vec<_> = entry
            .changes
            .iter()
            .map(|change| (change.user.as_str(), change.known.as_ref().map(|known| known.paused)))
            .collect();
        assert_eq!(known, [("42", Some(true)), ("!x", Some(false)), ("7", None)]);
    }

    #[test]
    fn a_heartbeat_names_nobody_and_what_is_not_an_entry_is_none() {
        let heartbeat = entry(raw(&[("n", "1"), ("gen", "9f")])).unwrap();
        assert!(heartbeat.changes.is_empty() && !heartbeat.forced);
        for garbled in [
            &[("n", "1")][..],
            &[("gen", "g")],
            &[("n", "-1"), ("gen", "g")],
            &[("n", ""), ("gen", "g")],
            &[("n", "1"), ("gen", "g"), ("users", "")],
            &[("n", "1"), ("gen", "g"), ("users", "[[1,2]]")],
        ] {
            assert_eq!(entry(raw(garbled)), None, "{garbled:?}");
        }
    }
}
