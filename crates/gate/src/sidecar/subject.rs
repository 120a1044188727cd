//! Whose data a request is about: by a header that a trusted front sets, by the path, or by a cookie. Pure.

use http::HeaderMap;
use http::header::{COOKIE, HeaderName};

use super::path::{self, Pattern, Unclear};

/// The longest key that a user can have, in bytes.
const LONGEST: usize = 255;

/// Where a request names its user. What is tried comes in the order of the fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finder {
    /// Paths that are nobody's, whatever else the request says.
    pub(crate) nobody: Vec<Pattern>,
    /// A header whose value is the key.
    pub(crate) header: Option<HeaderName>,
    /// Paths that hold the key.
    pub(crate) paths: Vec<Pattern>,
    /// A cookie whose value is the key.
    pub(crate) cookie: Option<String>,
    /// A request that names nobody is refused, unless its path is nobody's.
    pub(crate) strict: bool,
}

/// What a request says of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This one. `by_path`: nothing but the path says so.
    User { key: String, by_path: bool },
    /// Nobody: it passes without a decision.
    Nobody,
    /// It cannot be told, or must not be: the request is refused for that reason.
    Unclear(&'static str),
}

impl Finder {
    /// Whether a user can be found at all.
    pub(crate) fn finds(&self) -> bool {
        self.header.is_some() || self.cookie.is_some() || !self.paths.is_empty()
    }

    /// Looks for the user of a request with these headers and that target.
    pub(crate) fn find(&self, headers: &HeaderMap, target: &str) -> Found {
        self.look(headers, target).unwrap_or_else(Found::Unclear)
    }

    fn look(&self, headers: &HeaderMap, target: &str) -> Result<Found, &'static str> {
        let by_path = !self.paths.is_empty() || !self.nobody.is_empty();
        // `OPTIONS *` is the only target that is no path.
        let segments = if by_path && target != "*" {
            path::segments(target).map_err(|Unclear| "the path can be read in more than one way")?
        } else {
            Vec::new()
        };
        if path::any(&self.nobody, &segments) {
            return Ok(Found::Nobody);
        }
        if let Some(key) = self.in_header(headers)? {
            return user(key, false);
        }
        if let Some(key) = path::user(&self.paths, &segments) {
            return user(key, true);
        }
        match self.in_cookie(headers)? {
            Some(key) => user(key, false),
            None if self.strict => Err("the request names no user"),
            None => Ok(Found::Nobody),
        }
    }

    fn in_header(&self, headers: &HeaderMap) -> Result<Option<String>, &'static str> {
        let Some(name) = &self.header else { return Ok(None) };
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err("the user's header is there twice");
        }
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| "the user's header is not UTF-8")?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    fn in_cookie(&self, headers: &HeaderMap) -> Result<Option<String>, &'static str> {
        let Some(name) = &self.cookie else { return Ok(None) };
        let mut found = None;
        for header in headers.get_all(COOKIE) {
            let text = std::str::from_utf8(header.as_bytes()).map_err(|_| "the cookies are not UTF-8")?;
            let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
            for (_, value) in pairs.filter(|(key, _)| key == name) {
                let value = value.trim().trim_matches('"');
                let value = path::decoded(value).ok_or("the user's cookie cannot be read")?;
                if found.replace(value).is_some() {
                    return Err("the user's cookie is there twice");
                }
            }
        }
        Ok(found.filter(|value| !value.is_empty()))
    }
}

fn user(key: String, by_path: bool) -> Result<Found, &'static str> {
    if key.len() > LONGEST || key.chars().any(char::is_control) {
        return Err("this cannot be a user's key");
    }
    Ok(Found::User { key, by_path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder() -> Finder {
        Finder {
            nobody: vec![Pattern::of_nobody("/static/").unwrap()],
            header: Some(HeaderName::from_static("x-user")),
            paths: vec![Pattern::of_user("/users/{user}/").unwrap()],
            cookie: Some("uid".to_owned()),
            strict: false,
        }
    }

    fn find(finder: &Finder, headers: &[(&'static str, &'static str)], target: &str) -> Found {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        finder.find(&map, target)
    }

    fn key(key: &str, by_path: bool) -> Found {
        Found::User { key: key.to_owned(), by_path }
    }

    #[test]
    fn the_header_comes_before_the_path_and_the_path_before_the_cookie() {
        let all = [("x-user", "1"), ("cookie", "a=b; uid=3")];
        assert_eq!(find(&finder(), &all, "/users/2/"), key("1", false));
        assert_eq!(find(&finder(), &all[1..], "/users/2/"), key("2", true));
        assert_eq!(find(&finder(), &all[1..], "/account"), key("3", false));
        assert_eq!(find(&finder(), &[("x-user", " ")], "/account"), Found::Nobody);
        assert_eq!(find(&finder(), &all, "/static/app.js"), Found::Nobody);
        assert_eq!(find(&finder(), &[], "*"), Found::Nobody);
    }

    #[test]
    fn what_is_said_twice_or_cannot_be_a_key_is_refused() {
        let unclear = |found: Found| matches!(found, Found::Unclear(_));
        assert!(unclear(find(&finder(), &[("x-user", "1"), ("x-user", "2")], "/")));
        assert!(unclear(find(&finder(), &[("cookie", "uid=1; uid=2")], "/")));
        assert!(unclear(find(&finder(), &[("cookie", "uid=%0a")], "/")));
        assert!(unclear(find(&finder(), &[], "/a/../users/1")));
        let long = format!("/users/{}/", "x".repeat(LONGEST + 1));
        assert!(unclear(find(&finder(), &[], &long)));
    }

    #[test]
    fn a_strict_finder_lets_nobody_pass_but_on_paths_that_are_nobodys() {
        let strict = Finder { strict: true, ..finder() };
        assert!(matches!(find(&strict, &[], "/account"), Found::Unclear(_)));
        assert_eq!(find(&strict, &[], "/static/app.js"), Found::Nobody);
        assert_eq!(find(&strict, &[], "/users/2"), key("2", true));
    }
}
