//! The server's address in a URL, and the same URL with the proxy's.

use std::ops::Range;

/// Where `host:port` stands in a URL such as `postgres://user:word@host:5432/name?option=1`.
fn place(url: &str) -> Option<Range<usize>> {
    let from = url.find("://")? + 3;
    let length = url[from..].find(['/', '?']).unwrap_or(url.len() - from);
    let authority = &url[from..from + length];
    let host = authority.rfind('@').map_or(from, |at| from + at + 1);
    let place = host..from + length;
    url[place.clone()].contains(':').then_some(place)
}

/// The `host:port` of a URL.
pub(crate) fn of(url: &str) -> Option<&str> {
    place(url).map(|place| &url[place])
}

/// The URL with another `host:port`.
pub(crate) fn replaced(url: &str, address: &str) -> Option<String> {
    let place = place(url)?;
    Some(format!("{}{address}{}", &url[..place.start], &url[place.end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_alone_is_replaced_in_each_kind_of_url() {
        let each = [
            ("postgres://u:p%40@127.0.0.1:5432/db?sslmode=disable", "127.0.0.1:5432"),
            ("redis://127.0.0.1:6379", "127.0.0.1:6379"),
            ("redis://:word@localhost:6379/0", "localhost:6379"),
            ("http://127.0.0.1:80", "127.0.0.1:80"),
        ];
        for (url, address) in each {
            assert_eq!(of(url), Some(address));
            assert_eq!(replaced(url, "h:1"), Some(url.replace(address, "h:1")));
        }
        assert_eq!(of("postgres://localhost/db"), None);
        assert_eq!(of("host=localhost"), None);
    }
}
