//! A running set of servers and its end.

use crate::account::Account;
use crate::binaries::Binaries;
use crate::cluster::Workshop;
use crate::process::Identity;
use crate::ready::{self, connect};
use crate::root::Root;
use crate::{Error, Options, Server, external};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ports are free when they are looked for and may be taken when they are used: then all is started again.
const PORT_ATTEMPTS: usize = 8;

/// Throw-away servers. Dropping it ends them and removes every file, unless it is kept.
#[derive(Debug)]
pub struct Sandbox {
    children: Mutex<BTreeMap<Server, Child>>,
    ports: BTreeMap<Server, u16>,
    urls: BTreeMap<Server, String>,
    given: BTreeSet<Server>,
    /// Databases of ours on servers that are not: (URL of the server, name).
    created: Mutex<Vec<(String, String)>>,
    keep: bool,
    workshop: Workshop,
    // Last: fields are dropped in order, and servers must have ended before their files go.
    root: Root,
}

/// How a server is ended before it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Its sessions are ended, and what it holds is written: Postgres' fast shutdown, Redis' on SIGINT.
    Fast,
    /// As if the machine had stopped: Postgres' immediate shutdown, Redis killed.
    Immediate,
}

/// What is left running by [`Sandbox::keep`].
#[derive(Clone, Debug)]
pub struct Kept {
    /// The folder of the servers; [`crate::stop_kept`] takes it.
    pub root: PathBuf,
    /// A shell command that ends the servers and removes the folder.
    pub stop: String,
}

impl Sandbox {
    /// Starts all servers that the environment does not name, and returns once every one answers and the
    /// replica streams. Also sweeps what killed owners left behind.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let sweeper = tokio::task::spawn_blocking(crate::sweep);
        let urls = external::urls()?;
        let mut servers: Vec<Server> =
            Server::ALL.into_iter().filter(|server| !urls.contains_key(server)).collect();
        servers.retain(|server| *server != Server::Replica || options.replica);
        let mut sandbox = tokio::task::spawn_blocking({
            let servers = servers.clone();
            move || Self::prepare(options, urls, &servers)
        })
        .await??;
        sandbox.launch_all(&servers).await?;
        sweeper.await?;
        Ok(sandbox)
    }

    fn prepare(options: Options, urls: BTreeMap<Server, String>, servers: &[Server]) -> Result<Self, Error> {
        let account = Account::for_servers()?;
        let binaries = Binaries::find_or_install(account, options.install)?;
        let mut root = Root::create(account)?;
        if options.keep {
            root.keep()?;
        }
        let keep = options.keep;
        let workshop = Workshop { binaries, account, root: root.path().to_owned(), options };
        workshop.prepare(servers)?;
        let given = urls.keys().copied().collect();
        Ok(Self {
            children: Mutex::default(),
            ports: BTreeMap::new(),
            urls,
            given,
            created: Mutex::default(),
            keep,
            workshop,
            root,
        })
    }

    async fn launch_all(&mut self, servers: &[Server]) -> Result<(), Error> {
        for _ in 1..PORT_ATTEMPTS {
            match self.launch_once(servers).await {
                Err(Error::Ended { log, .. }) if log.contains("Address already in use") => self.end_servers(),
                other => return other,
            }
        }
        self.launch_once(servers).await
    }

    async fn launch_once(&mut self, servers: &[Server]) -> Result<(), Error> {
        self.ports = free_ports(servers)?;
        for server in servers {
            self.urls.insert(*server, own_url(*server, self.ports[server], server.database()));
            self.launch(*server)?;
        }
        for server in servers {
            self.wait_for(*server).await?;
        }
        if servers.contains(&Server::Replica) { self.wait_for_stream().await } else { Ok(()) }
    }

    fn launch(&self, server: Server) -> Result<(), Error> {
        let child = self.workshop.launch(server, &self.ports)?;
        let identity = Identity::of(child.id());
        self.children().insert(server, child);
        // One that has ended already is noticed when it is waited for.
        identity.map_or(Ok(()), |identity| self.root.note(server.name(), identity))
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<Server, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a server of ours answers.
    async fn wait_for(&self, server: Server) -> Result<(), Error> {
        let (url, folder) = (&self.urls[&server], self.workshop.folder(server));
        let Some(pid) = self.pid(server) else { return Ok(()) };
        let ended = || self.has_ended(server);
        if server == Server::Redis {
            let port = self.ports[&server];
            return ready::wait(server, ended, || ready::redis(port, pid)).await;
        }
        ready::wait(server, ended, || ready::postgres(url, &folder)).await
    }

    async fn wait_for_stream(&self) -> Result<(), Error> {
        let (primary, replica) = (&self.urls[&Server::Legacy], &self.urls[&Server::Replica]);
        let ended = || self.has_ended(Server::Replica);
        ready::wait(Server::Replica, ended, || ready::streaming(primary, replica)).await
    }

    fn has_ended(&self, server: Server) -> Option<Error> {
        let mut children = self.children();
        let ended = children.get_mut(&server)?.try_wait().map_or(true, |status| status.is_some());
        ended.then(|| Error::Ended { server: server.name(), log: self.workshop.log_tail(server) })
    }

    /// URL of a server's first database. A sandbox without a replica answers with the primary's.
    pub fn url(&self, server: Server) -> &str {
        let server = if self.urls.contains_key(&server) { server } else { Server::Legacy };
        &self.urls[&server]
    }

    /// URL of a server with another database, such as the replica's of one that was created on the primary.
    pub fn url_of(&self, server: Server, database: &str) -> Result<String, Error> {
        let refused = |reason| Error::Environment { variable: server.variable(), reason };
        external::with_database(self.url(server), database).map_err(refused)
    }

    /// URL of the legacy primary.
    pub fn legacy_url(&self) -> String {
        self.url(Server::Legacy).to_owned()
    }

    /// URL of the legacy replica.
    pub fn replica_url(&self) -> String {
        self.url(Server::Replica).to_owned()
    }

    /// URL of the destination.
    pub fn destination_url(&self) -> String {
        self.url(Server::Destination).to_owned()
    }

    /// URL of Identity's database.
    pub fn identity_url(&self) -> String {
        self.url(Server::Identity).to_owned()
    }

    /// URL of Redis.
    pub fn redis_url(&self) -> String {
        self.url(Server::Redis).to_owned()
    }

    /// The folder with all files of the servers, their logs included.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Pid of a server's main process; `None` for one that the environment names.
    pub fn pid(&self, server: Server) -> Option<u32> {
        self.children().get(&server).map(Child::id)
    }

    /// Creates an empty database and returns its URL. On a server from the environment its name gets a
    /// prefix of our own, and [`Sandbox::stop`] drops it.
    pub async fn create_database(&self, server: Server, name: &str) -> Result<String, Error> {
        if matches!(server, Server::Replica | Server::Redis) {
            return Err(Error::NoDatabases { server: server.name() });
        }
        let given = self.given.contains(&server);
        let name =
            if given { format!("handover_test_{:08x}_{name}", fastrand::u32(..)) } else { name.to_owned() };
        let url = self.url_of(server, &name)?;
        let client = connect(self.url(server)).await?;
        client.batch_execute(&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""))).await?;
        if given {
            let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
            created.push((self.url(server).to_owned(), name));
        }
        Ok(url)
    }

    /// Notes a process that works on these servers, so that it is swept with them if their owner is killed, and
    /// ended with them where they are kept.
    pub fn adopt(&self, name: &str, pid: u32) -> Result<(), Error> {
        Identity::of(pid).map_or(Ok(()), |process| self.root.note(name, process))
    }

    /// Leaves all servers running after this process has ended, until [`crate::stop_kept`].
    pub fn keep(mut self) -> Result<Kept, Error> {
        self.root.keep()?;
        self.keep = true;
        let root = self.root().to_owned();
        let pids: Vec<String> = self.root.processes().iter().map(|process| process.pid.to_string()).collect();
        let stop = format!("kill -INT {}; sleep 1; rm -rf {}", pids.join(" "), root.display());
        Ok(Kept { root, stop })
    }

    /// Ends the servers and removes their files, and our databases on servers from the environment.
    pub async fn stop(mut self) {
        self.keep = false;
        self.root.forget_keeping();
        let created = std::mem::take(&mut *self.created.lock().unwrap_or_else(PoisonError::into_inner));
        external::drop_databases(created).await;
        // Blocks for some milliseconds; a panic in there could only leave files to the next sweep.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    /// Ends one server at once, as a crash would: what it had not made durable may be lost. Nothing happens to
    /// a server that the environment names.
    pub fn crash(&mut self, server: Server) {
        let child = self.children().remove(&server);
        if let Some(mut child) = child {
            ask_to_end(server, &child);
            let _ = child.wait();
        }
    }

    /// Starts a server again on its old port and with its old data, having ended it if it runs, and waits until
    /// it answers, and a replica streams. A server that the environment names is left alone.
    pub async fn restart(&mut self, server: Server) -> Result<(), Error> {
        self.start_again(server, Shutdown::Immediate).await
    }

    /// The same while others use it, the server having ended in that way.
    pub async fn start_again(&self, server: Server, how: Shutdown) -> Result<(), Error> {
        if !self.ports.contains_key(&server) {
            return Ok(());
        }
        let child = self.children().remove(&server);
        if let Some(mut child) = child {
            match how {
                Shutdown::Immediate => ask_to_end(server, &child),
                Shutdown::Fast => signal(&child, Signal::SIGINT),
            }
            tokio::task::spawn_blocking(move || child.wait())
                .await?
                .map_err(Error::io("wait for", server.name()))?;
        }
        self.launch(server)?;
        self.wait_for(server).await?;
        if server == Server::Replica { self.wait_for_stream().await } else { Ok(()) }
    }

    fn end_servers(&mut self) {
        let mut children = self.children();
        for (server, child) in children.iter() {
            ask_to_end(*server, child);
        }
        for child in children.values_mut() {
            let _ = child.wait();
        }
        children.clear();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !self.keep {
            self.end_servers();
        }
    }
}

/// Postgres ends its own children when it is told to stop immediately; a stopped process hears of it only once
/// it continues.
fn ask_to_end(server: Server, child: &Child) {
    let signal = if server == Server::Redis { Signal::SIGKILL } else { Signal::SIGQUIT };
    for what in [signal, Signal::SIGCONT] {
        self::signal(child, what);
    }
}

fn signal(child: &Child, what: Signal) {
    if let Some(process) = Identity::of(child.id()) {
        process.signal(what);
    }
}

fn own_url(server: Server, port: u16, database: &str) -> String {
    match server {
        Server::Redis => format!("redis://127.0.0.1:{port}"),
        _ => format!("postgres://postgres@127.0.0.1:{port}/{database}"),
    }
}

/// Holds all ports at once while looking, so that no two servers get the same one.
fn free_ports(servers: &[Server]) -> Result<BTreeMap<Server, u16>, Error> {
    let failed = || Error::io("find a free port on", "127.0.0.1");
    let bind = |_: &Server| TcpListener::bind(("127.0.0.1", 0)).map_err(failed());
    let listeners: Vec<TcpListener> = servers.iter().map(bind).collect::<Result<_, _>>()?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port()).map_err(failed());
    servers.iter().zip(&listeners).map(|(server, listener)| Ok((*server, port(listener)?))).collect()
}
