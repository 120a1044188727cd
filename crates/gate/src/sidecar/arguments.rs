//! The command line. Every option can be given by environment as well, as its help says; secrets only so, or as
//! files, since others can read a process' arguments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const AFTER_HELP: &str = "\
Examples:
  handover-gate nginx --identity-url http://127.0.0.1:7400 --redis-url redis://127.0.0.1:6379 \\
      --migration invoice-reminders --user-path '/users/{user}/'
  handover-gate proxy --upstream http://127.0.0.1:8000 --bind 127.0.0.1:8080 \\
      --identity-url http://127.0.0.1:7400 --redis-url redis://127.0.0.1:6379 \\
      --migration invoice-reminders --user-header x-user-id
  handover-gate health --json

Secrets come by environment, or as files that the options ending in -file name:
  HANDOVER_GATE_TOKEN            what the application or nginx must send; without it: --open
  HANDOVER_GATE_IDENTITY_TOKEN   the token of Identity's service
  HANDOVER_GATE_PERMIT_KEYS      keys of permits, 32 bytes or more each, separated by commas

SIGTERM or SIGINT ends what is in flight, signs off and exits with 0; a second one exits at once (143 or 130).
Other exit codes: 2 usage, 69 not ready (health), 70 internal, 78 settings.";

/// A gate for applications in any language: docs/sidecar.md is the guide.
#[derive(Debug, Parser)]
#[command(name = "handover-gate", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The application asks for a decision itself: GET /v1/decision?user=42.
    Native(Box<Serve>),
    /// nginx asks with auth_request.
    Nginx(Box<Serve>),
    /// It stands before the application as a reverse proxy, and counts what is in flight by itself.
    Proxy(Box<Proxy>),
    /// Asks a running sidecar whether it is ready. Exit code 0 if it is, else 69.
    Health(Ask),
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// Its health address.
    #[arg(long, env = "HANDOVER_GATE_HEALTH_BIND", value_name = "ADDRESS", default_value = "127.0.0.1:7411")]
    pub(crate) health_bind: SocketAddr,
    /// Print its answer, one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Proxy {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// The application, http://HOST:PORT.
    #[arg(long, env = "HANDOVER_GATE_UPSTREAM", value_name = "URL")]
    pub(crate) upstream: http::Uri,
    /// How long the application may take to answer [default: nine tenths of --max-request].
    #[arg(long, env = "HANDOVER_GATE_UPSTREAM_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) upstream_timeout: Option<Duration>,
    /// How long a connection to the application may take.
    #[arg(long, env = "HANDOVER_GATE_CONNECT_TIMEOUT", value_name = "TIME", default_value = "1s",
        value_parser = humantime::parse_duration)]
    pub(crate) connect_timeout: Duration,
    /// The longest body of a request, in bytes.
    #[arg(long, env = "HANDOVER_GATE_MAX_BODY", value_name = "BYTES", default_value_t = 64 * 1024 * 1024)]
    pub(crate) max_body: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where it listens.
    #[arg(long, env = "HANDOVER_GATE_BIND", value_name = "ADDRESS", default_value = "127.0.0.1:7410")]
    pub(crate) bind: SocketAddr,
    /// Where it tells its health, readiness and metrics.
    #[arg(long, env = "HANDOVER_GATE_HEALTH_BIND", value_name = "ADDRESS", default_value = "127.0.0.1:7411")]
    pub(crate) health_bind: SocketAddr,
    /// File with the token that whoever asks must send.
    #[arg(long, env = "HANDOVER_GATE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Answer whoever reaches the address, without a token.
    #[arg(long, env = "HANDOVER_GATE_OPEN")]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) servers: Servers,
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) gate: Gate,
    /// How the log is written.
    #[arg(long, env = "HANDOVER_GATE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub(crate) struct Servers {
    /// Identity's service, http:// or https://.
    #[arg(long, env = "HANDOVER_GATE_IDENTITY_URL", value_name = "URL")]
    pub(crate) identity_url: String,
    /// File with its token.
    #[arg(long, env = "HANDOVER_GATE_IDENTITY_TOKEN_FILE", value_name = "FILE")]
    pub(crate) identity_token_file: Option<PathBuf>,
    /// PEM file with the authority of an https:// service, in place of the system's.
    #[arg(long, env = "HANDOVER_GATE_IDENTITY_CA_FILE", value_name = "FILE")]
    pub(crate) identity_ca_file: Option<PathBuf>,
    /// The Redis that holds the stream of changes. With a password: by environment, or as a file.
    #[arg(long, env = "HANDOVER_GATE_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// File with its URL.
    #[arg(long, env = "HANDOVER_GATE_REDIS_URL_FILE", value_name = "FILE")]
    pub(crate) redis_url_file: Option<PathBuf>,
    /// What its keys begin with.
    #[arg(long, env = "HANDOVER_GATE_REDIS_PREFIX", value_name = "TEXT", default_value = "handover")]
    pub(crate) redis_prefix: String,
    /// PEM file with the authority of a rediss:// server, in place of the system's.
    #[arg(long, env = "HANDOVER_GATE_REDIS_CA_FILE", value_name = "FILE")]
    pub(crate) redis_ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Whose request it is (header, path and cookie are tried in this order)")]
pub(crate) struct Subject {
    /// A migration whose side is told; may be given several times.
    #[arg(
        long = "migration",
        env = "HANDOVER_GATE_MIGRATIONS",
        value_name = "NAME",
        required = true,
        value_delimiter = ','
    )]
    pub(crate) migrations: Vec<String>,
    /// Header with the user's key. A trusted front must set it, and take it out of what comes from outside.
    #[arg(long, env = "HANDOVER_GATE_USER_HEADER", value_name = "NAME")]
    pub(crate) user_header: Option<http::HeaderName>,
    /// Beginning of paths with the user's key, such as /users/{user}/; `*` is any one segment. May be given several times.
    #[arg(
        long = "user-path",
        env = "HANDOVER_GATE_USER_PATHS",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    pub(crate) user_paths: Vec<String>,
    /// Cookie with the user's key.
    #[arg(long, env = "HANDOVER_GATE_USER_COOKIE", value_name = "NAME")]
    pub(crate) user_cookie: Option<String>,
    /// Beginning of paths that are nobody's, such as /static/; may be given several times.
    #[arg(
        long = "nobody-path",
        env = "HANDOVER_GATE_NOBODY_PATHS",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    pub(crate) nobody_paths: Vec<String>,
    /// Refuse a request that names no user, unless its path is nobody's. Without this it passes without a decision.
    #[arg(long, env = "HANDOVER_GATE_STRICT")]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "The gate")]
pub(crate) struct Gate {
    /// For how long it relies on what it has heard.
    #[arg(long, env = "HANDOVER_GATE_LEASE", value_name = "TIME", default_value = "5s",
        value_parser = humantime::parse_duration)]
    pub(crate) lease: Duration,
    /// For how long a request may take; by `native` and `nginx` a pass counts so long.
    #[arg(long, env = "HANDOVER_GATE_MAX_REQUEST", value_name = "TIME", default_value = "10s",
        value_parser = humantime::parse_duration)]
    pub(crate) max_request: Duration,
    /// For how long a request is held until its user's pause ends.
    #[arg(long, env = "HANDOVER_GATE_HOLD_FOR", value_name = "TIME", default_value = "5s",
        value_parser = humantime::parse_duration)]
    pub(crate) hold_for: Duration,
    /// Requests of one user that are held at once.
    #[arg(long, env = "HANDOVER_GATE_MAX_WAITERS_PER_USER", value_name = "NUMBER", default_value_t = 32)]
    pub(crate) max_waiters_per_user: usize,
    /// Requests that are held in all.
    #[arg(long, env = "HANDOVER_GATE_MAX_WAITERS", value_name = "NUMBER", default_value_t = 4_096)]
    pub(crate) max_waiters: usize,
    /// Users that are cached.
    #[arg(long, env = "HANDOVER_GATE_CACHED_USERS", value_name = "NUMBER", default_value_t = 100_000)]
    pub(crate) cached_users: usize,
    /// Connections at a time.
    #[arg(long, env = "HANDOVER_GATE_MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 4_096)]
    pub(crate) max_connections: usize,
    /// File with a key that permits are signed with; may be given several times, and the first signs.
    #[arg(
        long = "permit-key-file",
        env = "HANDOVER_GATE_PERMIT_KEY_FILES",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) permit_key_files: Vec<PathBuf>,
    /// The path at which a client asks whether its user is still paused.
    #[arg(
        long,
        env = "HANDOVER_GATE_STATUS_PATH",
        value_name = "PATH",
        default_value = "/.well-known/handover"
    )]
    pub(crate) status_path: String,
    /// File with a page of one's own for browsers.
    #[arg(long, env = "HANDOVER_GATE_SPLASH_FILE", value_name = "FILE")]
    pub(crate) splash_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }
}
