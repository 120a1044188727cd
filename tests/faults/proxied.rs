//! A world that is reached by way of proxies, one before each server.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use handover_engine::Engine;
use handover_identity::{Identity, Mirror, MirrorOptions, Truth};
use handover_postgres::{Database, Pool};
use handover_proxy::{Protocol, Proxy};
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::Tracking;

/// The servers, by the setting that says where each is.
const SETTINGS: [(Server, &str); 5] = [
    (Server::Legacy, "LEGACY__PRIMARY_URL"),
    (Server::Replica, "LEGACY__REPLICA_URL"),
    (Server::Destination, "DESTINATION__URL"),
    (Server::Identity, "IDENTITY__URL"),
    (Server::Redis, "REDIS__URL"),
];

/// A world, and the proxies.
pub(crate) struct Proxied {
    pub(crate) world: World,
    proxies: BTreeMap<Server, Proxy>,
}

impl Proxied {
    pub(crate) async fn new(setup: Setup) -> Result<Self> {
        let world = World::new(setup).await?;
        let mut proxies = BTreeMap::new();
        for server in Server::ALL {
            let (url, protocol) = match server {
                Server::Redis => (world.redis_url(), Protocol::Redis),
                server => (world.url(server)?, Protocol::Postgres),
            };
            proxies.insert(server, Proxy::before(&url, protocol).await?);
        }
        Ok(Self { world, proxies })
    }

    /// The proxy before a server.
    pub(crate) fn proxy(&self, server: Server) -> &Proxy {
        &self.proxies[&server]
    }

    /// The settings by which a program reaches these servers through the proxies.
    pub(crate) fn settings(&self, through: &[Server]) -> Vec<(&'static str, &str)> {
        let of = |(server, name): &(Server, &'static str)| (*name, self.proxies[server].url());
        SETTINGS.iter().filter(|(server, _)| through.contains(server)).map(of).collect()
    }

    /// An engine that reaches everything through the proxies, on the world's plans.
    pub(crate) fn engine(&self) -> Result<Engine> {
        let destination = self.pool("destination", Server::Destination)?;
        let redis = self.proxies[&Server::Redis].url().to_owned();
        let options = MirrorOptions { prefix: self.world.prefix.clone(), ..MirrorOptions::new(redis.into()) };
        let truth = Truth::new(self.pool("identity", Server::Identity)?);
        Ok(Engine {
            primary: self.pool("legacy primary", Server::Legacy)?,
            replica: self.pool("replica", Server::Replica)?,
            tracking: Tracking::new(destination.clone()),
            destination,
            identity: Identity::new(truth, Mirror::new(&options)?),
            ..self.world.engine.clone()
        })
    }

    fn pool(&self, role: &'static str, server: Server) -> Result<Pool> {
        let url = self.proxies.get(&server).context("a proxy before each server")?.url();
        Ok(Database::new(role, &url.to_owned().into())?.pool(4))
    }
}
