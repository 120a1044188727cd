//! The listener, what all its connections share, and the handle by which tests command them.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::strike::{Armed, Verdict};
use crate::{Cut, Strike, address, link};

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no host and port.
    #[error("not a URL with a host and a port")]
    Address,
    /// No port was free.
    #[error("failed to listen on 127.0.0.1")]
    Listen(#[from] std::io::Error),
}

/// What a proxy reads in the bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Postgres' messages of the client.
    Postgres,
    /// Redis' commands.
    Redis,
    /// Nothing: there are no queries to count.
    Opaque,
}

/// How bytes pass until another mode is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As if there were no proxy.
    Pass,
    /// New connections are reset; those that stand go on.
    Refuse,
    /// Everything that comes in is passed on that much later.
    Delay(Duration),
    /// Nothing passes, and nothing is lost: it goes on when another mode is set.
    Stall,
    /// The other end has vanished without a word: what is sent is swallowed, nothing comes back, new connections are
    /// taken and get no answer. When another mode is set, connections of which something was swallowed are reset.
    HalfOpen,
}

/// A running proxy. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Proxy {
    handle: Handle,
    address: SocketAddr,
    url: String,
    listening: AbortHandle,
}

impl Proxy {
    /// Puts a proxy before the server of a URL such as `postgres://user@host:port/name`.
    pub async fn before(url: &str, protocol: Protocol) -> Result<Self, Error> {
        let server = address::of(url).ok_or(Error::Address)?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let own = address::replaced(url, &at.to_string()).ok_or(Error::Address)?;
        let shared = Arc::new(Shared::new(server, protocol));
        let listening = tokio::spawn(listen(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { handle: Handle(shared), address: at, url: own, listening })
    }

    /// The URL that it was started with, by way of the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Another URL of the same server, such as that of another database, by way of the proxy.
    pub fn url_of(&self, url: &str) -> Result<String, Error> {
        address::replaced(url, &self.address.to_string()).ok_or(Error::Address)
    }

    /// By which it is commanded.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Deref for Proxy {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its connections are the task's, and end with it.
        self.listening.abort();
    }
}

/// Commands a proxy.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// From now on bytes pass like this.
    pub fn set(&self, mode: Mode) {
        self.0.mode.send_replace(mode);
    }

    /// Ends all connections that stand; returns how many.
    pub fn cut(&self, how: Cut) -> u64 {
        let open = self.open();
        self.0.cuts.send_modify(|cut| *cut = (cut.0 + 1, how));
        open
    }

    /// Arms a strike, in place of one that waits.
    pub fn arm(&self, strike: Strike) {
        self.0.armed().set(Some(strike));
    }

    /// Takes back a strike; whether one still waited.
    pub fn disarm(&self) -> bool {
        let mut armed = self.0.armed();
        let waited = armed.is_set();
        armed.set(None);
        waited
    }

    /// How often a connection was hurt: cut, refused, or some of its bytes late or swallowed.
    pub fn struck(&self) -> u64 {
        *self.0.struck.borrow()
    }

    /// Returns once connections were hurt so often.
    pub async fn until_struck(&self, times: u64) {
        // It cannot close: the sender is held by this handle.
        let _ = self.0.struck.subscribe().wait_for(|struck| *struck >= times).await;
    }

    /// Queries that came so far, whether or not they were passed on.
    pub fn queries(&self) -> u64 {
        self.0.queries.load(Ordering::Relaxed)
    }

    /// Connections that stand.
    pub fn open(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }
}

/// What the connections have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) server: String,
    pub(crate) protocol: Protocol,
    pub(crate) mode: watch::Sender<Mode>,
    pub(crate) cuts: watch::Sender<(u64, Cut)>,
    armed: Mutex<Armed>,
    struck: watch::Sender<u64>,
    queries: AtomicU64,
    open: AtomicU64,
}

impl Shared {
    fn new(server: String, protocol: Protocol) -> Self {
        Self {
            server,
            protocol,
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new((0, Cut::Reset)),
            armed: Mutex::default(),
            struck: watch::Sender::new(0),
            queries: AtomicU64::new(0),
            open: AtomicU64::new(0),
        }
    }

    fn armed(&self) -> std::sync::MutexGuard<'_, Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection was hurt.
    pub(crate) fn hurt(&self) {
        self.struck.send_modify(|struck| *struck += 1);
    }

    /// A query is about to pass.
    pub(crate) fn query(&self, message: &[u8]) -> Verdict {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.armed().query(message)
    }

    /// So many bytes are about to pass.
    pub(crate) fn bytes(&self, many: usize) -> Option<(usize, Cut)> {
        self.armed().bytes(many)
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn count(&self) -> Counted<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted(&self.open)
    }
}

/// A connection that stands.
pub(crate) struct Counted<'a>(&'a AtomicU64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(links.spawn(link::run(client, Arc::clone(&shared)))),
                // Out of file descriptors, or gone before it was taken: the next one may do.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_ended) = links.join_next() => {}
        }
    }
}
