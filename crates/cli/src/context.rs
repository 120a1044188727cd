//! The settings, and a connection to each server once a command asks for it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use handover_identity::{Identity, Truth};
use handover_plan::KeyType;
use handover_postgres::{Database, Timeouts};
use handover_queue::Queues;
use handover_settings::{Server, Settings};
use handover_tracking::Tracking;
use handover_worker::connections;
use secrecy::ExposeSecret;

use crate::exit::{self, Exit, stop};
use crate::interrupt::chain;
use crate::output::Output;

/// The longest statement of a command. One over a million users takes longer than a worker's may, and an operator
/// can interrupt it.
const STATEMENT: Duration = Duration::from_mins(10);

/// The longest wait for a lock: a worker gives up sooner and comes again, which a command does not.
const LOCK: Duration = Duration::from_secs(30);

/// What every command has.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) output: Output,
    pub(crate) yes: bool,
}

impl Context {
    /// Loads the settings, which must name these servers; all that are missing are told at once.
    pub(crate) fn new(config: Option<&Path>, output: Output, yes: bool, servers: &[Server]) -> Result<Self> {
        let settings = Settings::load(config)?;
        settings.require(servers)?;
        Ok(Self { settings, output, yes })
    }

    /// How one of the databases is reached.
    pub(crate) fn database(&self, server: Server) -> Result<Database> {
        let postgres = &self.settings.postgres;
        let timeouts = Timeouts {
            connect: postgres.connect_timeout,
            statement: postgres.statement_timeout.max(STATEMENT),
            lock: postgres.lock_timeout.max(LOCK),
            idle_in_transaction: postgres.idle_in_transaction_timeout,
        };
        Ok(connections::database(&self.settings, server)?.with_timeouts(timeouts))
    }

    pub(crate) fn tracking(&self) -> Result<Tracking> {
        Ok(Tracking::new(self.database(Server::Destination)?.pool(2)))
    }

    /// Identity's truth, for questions that the mirror has no part in.
    pub(crate) fn truth(&self) -> Result<Truth> {
        Ok(Truth::new(self.database(Server::Identity)?.pool(4)))
    }

    pub(crate) fn identity(&self) -> Result<Identity> {
        connections::identity(&self.settings, 2)
    }

    pub(crate) async fn queues(&self) -> Result<Queues> {
        Ok(Queues::connect(&connections::redis(&self.settings)?).await?)
    }

    /// The installation's key type, by which every user key on a command line or in a file is read.
    pub(crate) async fn key_type(&self, tracking: &Tracking) -> Result<KeyType> {
        let Some(name) = tracking.key_type().await? else {
            return Err(stop(Exit::NotFound, "no migration is registered yet: run `handover init`"));
        };
        KeyType::ALL
            .into_iter()
            .find(|key| key.sql() == name)
            .ok_or_else(|| stop(Exit::Failed, format!("this program does not know the key type `{name}`")))
    }

    /// One user key from the command line, spelled as the key type spells it.
    pub(crate) async fn user_key(&self, tracking: &Tracking, user: &str) -> Result<String> {
        let key = self.key_type(tracking).await?;
        let refused = |error| stop(Exit::Usage, format!("`{}`: {error}", crate::users::shown(user)));
        key.canonical(user).map_err(refused)
    }

    /// Adds to an error what an operator can do about it: where a server is looked for, or what makes its tables.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let postgres = exit::postgres(&error);
        let server = postgres.map_or(Server::Redis, |error| role(&error.to_string()));
        match exit::of_error(&error) {
            Exit::Unreachable => {
                let place = self.place(server).unwrap_or_else(|| "an address that cannot be read".to_owned());
                let variable = format!("HANDOVER_{}", server.field().replace('.', "__").to_uppercase());
                let text = format!("{}\n  it is looked for at {place}, as {variable} says", chain(&error));
                stop(Exit::Unreachable, text)
            }
            Exit::NotFound if postgres.is_some() => {
                stop(Exit::NotFound, format!("{}\n  `handover init` makes the tables", chain(&error)))
            }
            _ => error,
        }
    }

    /// The hosts, or the folders of sockets, that a server's address names.
    pub(crate) fn hosts(&self, server: Server) -> Vec<String> {
        let Ok(url) = self.settings.url(server) else { return Vec::new() };
        let url = url.expose_secret();
        if server == Server::Redis {
            let place = self.place(server).unwrap_or_default();
            let is_socket = url.starts_with("unix") || url.starts_with("redis+unix");
            let host = place.split('/').next().unwrap_or_default();
            return vec![if is_socket {
                "/".to_owned()
            } else {
                host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned()
            }];
        }
        let Ok(config) = url.parse::<tokio_postgres::Config>() else { return Vec::new() };
        let name = |host: &tokio_postgres::config::Host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        };
        config.get_hosts().iter().map(name).collect()
    }

    /// Host, port and database of a server, without user and password.
    fn place(&self, server: Server) -> Option<String> {
        let url = self.settings.url(server).ok()?.expose_secret();
        if server == Server::Redis {
            let rest = url.split_once("://")?.1;
            let rest = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
            return Some(rest.split('?').next().unwrap_or(rest).to_owned());
        }
        let config: tokio_postgres::Config = url.parse().ok()?;
        let ports = config.get_ports();
        let hosts = config.get_hosts().iter().enumerate().map(|(nth, host)| {
            let port = ports.get(nth).or(ports.first()).copied().unwrap_or(5432);
            match host {
                tokio_postgres::config::Host::Tcp(name) => format!("{name}:{port}"),
                tokio_postgres::config::Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        });
        let hosts: Vec<String> = hosts.collect();
        Some(format!("{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default()))
    }
}

/// The server that an error of Postgres speaks of: it begins with the role.
fn role(text: &str) -> Server {
    let roles = [
        ("legacy primary", Server::LegacyPrimary),
        ("legacy replica", Server::LegacyReplica),
        ("identity", Server::Identity),
    ];
    let found = roles.into_iter().find(|(role, _)| text.starts_with(role));
    found.map_or(Server::Destination, |(_, server)| server)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str, url: &str) -> Context {
        let settings = Settings::load_from(None, [(name.to_owned(), url.to_owned())]).unwrap();
        Context { settings, output: Output::new(false), yes: false }
    }

    #[test]
    fn the_place_of_an_unreachable_server_is_told_without_its_password() {
        let context = context("HANDOVER_DESTINATION__URL", "postgres://me:secret@db:5433/shop");
        let error = handover_postgres::Error::connection("destination", "refused");
        let text = context.explain(error.into()).to_string();
        assert!(text.contains("db:5433/shop, as HANDOVER_DESTINATION__URL says"), "{text}");
        assert!(!text.contains("secret") && !text.contains("me:"), "{text}");
    }

    #[test]
    fn the_place_of_redis_is_told_without_its_password() {
        let context = context("HANDOVER_REDIS__URL", "redis://:secret@cache:6380/1?x=y");
        let error = handover_queue::Error::Unreachable("refused".to_owned());
        let text = context.explain(error.into()).to_string();
        assert!(text.contains("at cache:6380/1, as HANDOVER_REDIS__URL says"), "{text}");
    }
}
