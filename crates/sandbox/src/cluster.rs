//! Data folders and processes of the servers: initialise, configure, launch. It waits for nothing; see
//! [`crate::ready`].

use crate::account::Account;
use crate::binaries::Binaries;
use crate::{Error, Options, Server};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Everything that is needed to make and launch servers below one folder.
#[derive(Clone, Debug)]
pub(crate) struct Workshop {
    pub(crate) binaries: Binaries,
    pub(crate) account: Account,
    pub(crate) root: PathBuf,
    pub(crate) options: Options,
}

impl Workshop {
    pub(crate) fn folder(&self, server: Server) -> PathBuf {
        self.root.join(server.name())
    }

    pub(crate) fn log(&self, server: Server) -> PathBuf {
        self.root.join(format!("{}.log", server.name()))
    }

    /// Makes the data folders of all these servers, two at a time. Blocks.
    pub(crate) fn prepare(&self, servers: &[Server]) -> Result<(), Error> {
        let wants = |server| servers.contains(&server);
        if wants(Server::Redis) {
            let folder = self.folder(Server::Redis);
            std::fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
            self.account.give(&folder)?;
        }
        std::thread::scope(|scope| {
            let old = scope.spawn(|| self.prepare_pair(Server::Legacy, Server::Replica, &wants));
            let new = self.prepare_pair(Server::Destination, Server::Identity, &wants);
            old.join()
                .map_err(|_| Error::Command { program: "initdb".into(), output: "panicked".into() })??;
            new
        })
    }

    /// The second of a pair is a cold copy of the first: cheaper than an initdb of its own, and exactly what
    /// a replica has to be. Legacy and the destination stay two systems with two system identifiers.
    fn prepare_pair(
        &self,
        first: Server,
        second: Server,
        wants: &dyn Fn(Server) -> bool,
    ) -> Result<(), Error> {
        if !wants(first) && !wants(second) {
            return Ok(());
        }
        let (made, copied) = if wants(first) { (first, wants(second)) } else { (second, false) };
        self.initialise(made)?;
        if second == Server::Replica {
            self.create_database(made)?;
        }
        if copied {
            self.run("cp", &["-Rp".as_ref(), self.folder(first).as_ref(), self.folder(second).as_ref()], "")?;
        }
        if second != Server::Replica {
            for server in [first, second].into_iter().filter(|server| wants(*server)) {
                self.create_database(server)?;
            }
        }
        Ok(())
    }

    fn initialise(&self, server: Server) -> Result<(), Error> {
        let folder = self.folder(server);
        let switches = "-U postgres -A trust -E UTF8 --no-locale --no-instructions --no-sync -D";
        let mut arguments: Vec<&Path> = switches.split(' ').map(Path::new).collect();
        arguments.push(&folder);
        self.run("initdb", &arguments, "")
    }

    /// In single-user mode, before the server runs: quicker than connecting to it later, and a replica that
    /// is copied afterwards has it as well.
    fn create_database(&self, server: Server) -> Result<(), Error> {
        let folder = self.folder(server);
        let arguments =
            ["--single".as_ref(), "-F".as_ref(), "-D".as_ref(), folder.as_path(), "postgres".as_ref()];
        self.run("postgres", &arguments, &format!("CREATE DATABASE {}\n", server.database()))
    }

    /// Runs a program to its end as the servers' user.
    fn run(&self, program: &str, arguments: &[&Path], input: &str) -> Result<(), Error> {
        let own = self.binaries.postgres.join(program);
        let mut command = self.account.command(if own.is_file() { &own } else { Path::new(program) });
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let failed = |output: String| Error::Command { program: program.to_owned(), output };
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ended early says why itself.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(failed(tail(&text))) }
    }

    /// Writes a server's settings and starts it, with its output in its log file.
    pub(crate) fn launch(&self, server: Server, ports: &BTreeMap<Server, u16>) -> Result<Child, Error> {
        let mut command = match server {
            Server::Redis => self.redis(ports[&server]),
            _ => self.postgres(server, ports)?,
        };
        let path = self.log(server);
        let log = File::create(&path).map_err(Error::io("create", &path))?;
        let errors = log.try_clone().map_err(Error::io("open", &path))?;
        // A group of its own: a Ctrl-C on the owner's terminal must not reach the servers one by one.
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors);
        let failed = |error: std::io::Error| Error::Ended { server: server.name(), log: error.to_string() };
        command.spawn().map_err(failed)
    }

    fn redis(&self, port: u16) -> Command {
        let mut command = self.account.command(&self.binaries.redis);
        let append = if self.options.durable { "yes" } else { "no" };
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
        command.args(["--appendonly", append]).arg("--dir").arg(self.folder(Server::Redis));
        command
    }

    fn postgres(&self, server: Server, ports: &BTreeMap<Server, u16>) -> Result<Command, Error> {
        let folder = self.folder(server);
        let file = folder.join("postgresql.conf");
        let text = self.settings(server, ports);
        std::fs::write(&file, text).map_err(Error::io("write", &file))?;
        if server == Server::Replica {
            let signal = folder.join("standby.signal");
            std::fs::write(&signal, "").map_err(Error::io("write", &signal))?;
            self.account.give(&signal)?;
        }
        let mut command = self.account.command(&self.binaries.postgres.join("postgres"));
        command.arg("-D").arg(folder);
        Ok(command)
    }

    /// The whole postgresql.conf: initdb's own is replaced, so that the system's locale and time zone do not
    /// reach the data.
    fn settings(&self, server: Server, ports: &BTreeMap<Server, u16>) -> String {
        let durable = self.options.durable;
        let switch = |on: bool| if on { "on" } else { "off" };
        // `synchronous_commit` stays on: without it the WAL reaches the replica only at the WAL writer's tick.
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
             max_connections = 200\nshared_buffers = {buffers}\nmax_wal_size = 4GB\n\
             fsync = {durable}\nfull_page_writes = {durable}\nsynchronous_commit = on\n\
             wal_level = logical\nmax_wal_senders = 10\nmax_replication_slots = 10\n\
             max_prepared_transactions = 20\nwal_keep_size = 512MB\nhot_standby = on\n\
             wal_retrieve_retry_interval = 20ms\nwal_receiver_status_interval = 1s\n\
             timezone = 'UTC'\nlog_timezone = 'UTC'\nlc_messages = 'C'\njit = off\n\
             log_min_messages = warning\nlog_line_prefix = '%m [%p] %a '\n",
            port = ports[&server],
            buffers = if durable { "256MB" } else { "64MB" },
            durable = switch(durable),
        );
        if server == Server::Replica {
            let port = ports[&Server::Legacy];
            let _ = writeln!(
                text,
                "primary_conninfo = 'host=127.0.0.1 port={port} user=postgres application_name=replica'"
            );
        }
        for (_, setting, value) in self.options.settings.iter().filter(|(which, ..)| *which == server) {
            let _ = writeln!(text, "{setting} = '{}'", value.replace('\'', "''"));
        }
        text
    }

    /// The end of a server's log, for error messages.
    pub(crate) fn log_tail(&self, server: Server) -> String {
        std::fs::read_to_string(self.log(server)).map_or_else(|error| error.to_string(), |text| tail(&text))
    }
}

/// The last lines of a text, on one line.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workshop(options: Options) -> Workshop {
        let binaries = Binaries { postgres: "/bin".into(), redis: "/bin/true".into() };
        let account = Account::for_servers().expect("account");
        Workshop { binaries, account, root: "/tmp".into(), options }
    }

    #[test]
    fn extra_settings_reach_their_own_server_quoted() {
        let settings = vec![(Server::Destination, "application_name".to_owned(), "it's".to_owned())];
        let workshop = workshop(Options { settings, ..Options::default() });
        let ports = Server::ALL.iter().map(|server| (*server, 1)).collect();
        assert!(workshop.settings(Server::Destination, &ports).ends_with("application_name = 'it''s'\n"));
        assert!(!workshop.settings(Server::Legacy, &ports).contains("application_name"));
    }

    #[test]
    fn durable_servers_flush_and_the_others_do_not() {
        let ports = BTreeMap::from([(Server::Legacy, 1)]);
        let durable = workshop(Options { durable: true, ..Options::default() });
        assert!(durable.settings(Server::Legacy, &ports).contains("fsync = on"));
        assert!(workshop(Options::default()).settings(Server::Legacy, &ports).contains("fsync = off"));
    }
}
