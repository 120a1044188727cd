//! Servers that the environment names. They belong to somebody else: only databases that we created are
//! ever dropped there.

use crate::ready::connect;
use crate::{Error, Server};
use std::collections::BTreeMap;

/// The URLs that the environment gives.
pub(crate) fn urls() -> Result<BTreeMap<Server, String>, Error> {
    let given = |server: &Server| {
        let url = std::env::var(server.variable()).ok().filter(|url| !url.is_empty())?;
        Some((*server, url))
    };
    check(Server::ALL.iter().filter_map(given).collect())
}

/// A replica of a primary that we do not own cannot be made, nor the other way round.
fn check(urls: BTreeMap<Server, String>) -> Result<BTreeMap<Server, String>, Error> {
    let pair = [Server::Legacy, Server::Replica];
    let given = pair.iter().filter(|server| urls.contains_key(server)).count();
    match pair.iter().find(|server| !urls.contains_key(server)) {
        Some(missing) if given == 1 => Err(Error::Environment {
            variable: missing.variable(),
            reason: "is missing: give the URLs of the legacy primary and of its replica, or neither"
                .to_owned(),
        }),
        _ => Ok(urls),
    }
}

/// The same server's URL with another database.
pub(crate) fn with_database(url: &str, database: &str) -> Result<String, String> {
    let invalid = || "not a URL of the form postgres://user@host:port/database".to_owned();
    let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty()).ok_or_else(invalid)?;
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{database}{query}"))
}

/// Drops databases of ours, ending sessions that still use them. Failures are only logged: it is clean-up.
pub(crate) async fn drop_databases(created: Vec<(String, String)>) {
    for (url, name) in created {
        let dropped = async {
            let client = connect(&url).await?;
            client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await
        };
        if let Err(error) = dropped.await {
            tracing::warn!(database = %name, %error, "a test database was left on a server from the environment");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_replaced_and_the_rest_of_the_url_kept() {
        let replaced = with_database("postgres://u:p@h:1/old?sslmode=require", "new");
        assert_eq!(replaced.as_deref(), Ok("postgres://u:p@h:1/new?sslmode=require"));
        assert_eq!(with_database("postgres://h", "new").as_deref(), Ok("postgres://h/new"));
        assert!(with_database("host=localhost", "new").is_err());
    }

    #[test]
    fn a_legacy_url_without_its_replicas_is_refused_by_name() {
        let error =
            check(BTreeMap::from([(Server::Legacy, "postgres://h/d".to_owned())])).expect_err("one of two");
        assert!(matches!(error, Error::Environment { variable: "HANDOVER_REPLICA_URL", .. }));
        assert!(check(BTreeMap::new()).is_ok());
    }
}
