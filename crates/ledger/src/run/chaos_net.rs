//! The ways between processes and servers, each with a proxy: handover's own programs have ways of their own, and the
//! application others.

use anyhow::{Context as _, Result};
use handover_proxy::{Cut, Mode, Protocol, Proxy, Strike};
use handover_sandbox::{Sandbox, Server};

use super::Fence;
use super::chaos_faults::{Kind, Ordered, may_strike_application};
use super::fleet::Fleet;

/// A way from some processes to one server.
pub(super) struct Way {
    proxy: Proxy,
    of_application: bool,
    counts_queries: bool,
    speaks_sql: bool,
}

/// All ways.
pub(super) struct Net {
    ways: Vec<Way>,
}

impl Net {
    /// Puts a proxy into each way, and tells the fleet.
    pub(super) async fn between(sandbox: &Sandbox, fleet: &mut Fleet) -> Result<Self> {
        let mut net = Self { ways: Vec::new() };
        let (mut own, mut application) = (Vec::new(), Vec::new());
        for server in Server::ALL {
            own.push(net.way(sandbox.url(server), Some(server), false).await?);
        }
        for server in [Server::Legacy, Server::Destination, Server::Redis] {
            application.push(net.way(sandbox.url(server), Some(server), true).await?);
        }
        application.push(net.way(fleet.service(), None, true).await?);
        fleet.reroute(&own, &application);
        Ok(net)
    }

    async fn way(
        &mut self,
        url: &str,
        server: Option<Server>,
        of_application: bool,
    ) -> Result<(String, String)> {
        let protocol = match server {
            None => Protocol::Opaque,
            Some(Server::Redis) => Protocol::Redis,
            Some(_) => Protocol::Postgres,
        };
        let proxy = Proxy::before(url, protocol).await.with_context(|| format!("no proxy for {url}"))?;
        let route = (url.to_owned(), proxy.url().to_owned());
        self.ways.push(Way {
            proxy,
            of_application,
            counts_queries: protocol != Protocol::Opaque,
            speaks_sql: protocol == Protocol::Postgres,
        });
        Ok(route)
    }

    /// The way that a fault is for.
    fn chosen(&self, ordered: &Ordered, fence: Fence) -> usize {
        let may = |way: &Way| match ordered.kind {
            Kind::LostCommit => way.speaks_sql,
            Kind::BeforeQuery | Kind::BeforeAnswer => way.counts_queries,
            kind => !(way.of_application && way.speaks_sql) || may_strike_application(kind, fence),
        };
        let fit: Vec<usize> = (0..self.ways.len()).filter(|nth| may(&self.ways[*nth])).collect();
        fit[ordered.lot as usize % fit.len()]
    }

    /// Lets a fault of the network begin; returns its way and how often that was hurt before.
    pub(super) fn begin(&self, ordered: &Ordered, fence: Fence) -> Hurt {
        let way = self.chosen(ordered, fence);
        let proxy = &self.ways[way].proxy;
        let before = proxy.struck();
        let nth = 1 + (ordered.lot >> 8) % 40;
        match ordered.kind {
            Kind::Reset => drop(proxy.cut(Cut::Reset)),
            Kind::Fin => drop(proxy.cut(Cut::Fin)),
            Kind::Delay => proxy.set(Mode::Delay(std::time::Duration::from_millis(5 * nth))),
            Kind::Stall => proxy.set(Mode::Stall),
            Kind::HalfOpen => proxy.set(Mode::HalfOpen),
            Kind::Refuse => {
                proxy.set(Mode::Refuse);
                proxy.cut(Cut::Reset);
            }
            Kind::AfterBytes => proxy.arm(Strike::after_bytes(nth * 97)),
            Kind::BeforeQuery => proxy.arm(Strike::before_query(nth)),
            Kind::BeforeAnswer => proxy.arm(Strike::before_answer(nth)),
            _ => proxy.arm(Strike::before_answer(1 + nth % 3).containing("COMMIT")),
        }
        Hurt { way, before }
    }

    /// Ends a fault; whether it struck.
    pub(super) fn end(&self, hurt: &Hurt) -> bool {
        let proxy = &self.ways[hurt.way].proxy;
        proxy.set(Mode::Pass);
        proxy.disarm();
        proxy.struck() > hurt.before
    }

    /// Whether this is a fault of the network.
    pub(super) fn strikes(kind: Kind) -> bool {
        kind <= Kind::LostCommit
    }
}

/// A way that has a fault.
pub(super) struct Hurt {
    way: usize,
    before: u64,
}
