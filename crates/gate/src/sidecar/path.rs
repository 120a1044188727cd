//! Patterns of paths that name a user: `/users/{user}/`. Pure.
//!
//! A path that applications read in more than one way is refused rather than guessed: a request that the gate takes
//! for nobody's and the application for somebody's would pass a pause.

use std::fmt::Write as _;

/// The beginning of a path, segment by segment; at most one of them is the user's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Compared without regard to case, as some applications do.
    Word(String),
    /// `*`: any one segment.
    Any,
    /// `{user}`.
    User,
}

/// The path is written in a way that the application may read otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unclear;

impl Pattern {
    /// Reads a pattern that names a user.
    pub(crate) fn of_user(text: &str) -> Result<Self, String> {
        let pattern = Self::read(text)?;
        let users = pattern.0.iter().filter(|segment| **segment == Segment::User).count();
        if users == 1 { Ok(pattern) } else { Err(format!("`{text}` must hold `{{user}}` once")) }
    }

    /// Reads a pattern that names nobody.
    pub(crate) fn of_nobody(text: &str) -> Result<Self, String> {
        let pattern = Self::read(text)?;
        if pattern.0.contains(&Segment::User) {
            return Err(format!("`{text}` is a path of nobody's, and cannot hold `{{user}}`"));
        }
        if pattern.0.is_empty() {
            return Err("`/` would make every path nobody's".to_owned());
        }
        Ok(pattern)
    }

    fn read(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or_else(|| format!("`{text}` must begin with /"))?;
        let segment = |segment: &str| match segment {
            "{user}" => Ok(Segment::User),
            "*" => Ok(Segment::Any),
            "" => Err(format!("`{text}` has an empty segment")),
            word if word.contains(['{', '}', '*', '%', '?', '#', ';']) => {
                Err(format!("`{word}` in `{text}` must be `{{user}}`, `*` or plain text"))
            }
            word => Ok(Segment::Word(word.to_owned())),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let words = if rest.is_empty() {
            Vec::new()
        } else {
            rest.split('/').map(segment).collect::<Result<_, _>>()?
        };
        Ok(Self(words))
    }

    /// Whether the path begins so; with the user's key if the pattern holds one.
    fn matches<'p>(&self, segments: &'p [String]) -> Option<&'p str> {
        let mut user = "";
        if segments.len() < self.0.len() {
            return None;
        }
        for (wanted, found) in self.0.iter().zip(segments) {
            match wanted {
                Segment::Any => {}
                Segment::User => user = found,
                Segment::Word(word) => {
                    // Parameters of a segment, `users;v=1`, are no part of its name.
                    let name = found.split(';').next().unwrap_or_default();
                    if !name.eq_ignore_ascii_case(word) {
                        return None;
                    }
                }
            }
        }
        Some(user)
    }
}

/// The decoded segments of a request's target, without its query.
pub(crate) fn segments(target: &str) -> Result<Vec<String>, Unclear> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let rest = path.strip_prefix('/').ok_or(Unclear)?;
    let mut segments = Vec::new();
    let mut parts = rest.split('/').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() && parts.peek().is_none() {
            break;
        }
        segments.push(clear(decoded(part).ok_or(Unclear)?)?);
    }
    Ok(segments)
}

/// A segment that every application reads alike.
fn clear(segment: String) -> Result<String, Unclear> {
    let name = segment.split(';').next().unwrap_or_default();
    let odd = |c: char| c == '/' || c == '\\' || c.is_control();
    let unclear = segment.is_empty() || matches!(name, "" | "." | "..") || segment.contains(odd);
    if unclear { Err(Unclear) } else { Ok(segment) }
}

/// The user that one of these patterns finds.
pub(crate) fn user(patterns: &[Pattern], segments: &[String]) -> Option<String> {
    patterns.iter().find_map(|pattern| pattern.matches(segments)).map(str::to_owned)
}

/// Whether one of these patterns matches.
pub(crate) fn any(patterns: &[Pattern], segments: &[String]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(segments).is_some())
}

/// Percent-decoded; `None` for what is no encoding, or no UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Percent-encoded: all but letters, digits and these few.
pub(crate) fn encoded(text: &str, plain: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, target: &str) -> Option<String> {
        let pattern = Pattern::of_user(pattern).unwrap();
        user(&[pattern], &segments(target).unwrap())
    }

    #[test]
    fn a_user_is_found_at_its_place_however_the_path_goes_on() {
        for target in
            ["/users/42", "/users/42/", "/users/42/invoices?x=/users/7", "/uSERS/42", "/users;v=1/42"]
        {
            assert_eq!(found("/users/{user}/", target).as_deref(), Some("42"), "{target}");
        }
        assert_eq!(found("/api/*/users/{user}", "/api/v2/users/a%40b.c/x").as_deref(), Some("a@b.c"));
        for target in ["/", "/users", "/users/", "/user/42", "/x/users/42"] {
            assert_eq!(found("/users/{user}/", target), None, "{target}");
        }
    }

    #[test]
    fn a_path_that_may_be_read_in_two_ways_is_refused() {
        for target in [
            "/x/../users/42",
            "/./users/42",
            "//users/42",
            "/users//42",
            "/x/%2e%2E/users/42",
            "/users%2f42",
            "/users\\42",
            "/users/%zz",
            "/users/%f",
            "/users/%ff",
            "/users/4%002",
            "/..;x/users/42",
            "users/42",
            "",
        ] {
            assert_eq!(segments(target), Err(Unclear), "{target}");
        }
    }

    #[test]
    fn patterns_that_cannot_work_are_refused() {
        for wrong in ["users/{user}", "/users/", "/{user}/{user}", "/u{user}", "/a//{user}", "/a%20/{user}"] {
            assert!(Pattern::of_user(wrong).is_err(), "{wrong}");
        }
        assert!(Pattern::of_nobody("/").is_err() && Pattern::of_nobody("/a/{user}").is_err());
        assert!(any(&[Pattern::of_nobody("/static/").unwrap()], &segments("/static/app.js").unwrap()));
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let text = "a b/ü%&=";
        assert_eq!(decoded(&encoded(text, b"-_.~")).as_deref(), Some(text));
    }
}
