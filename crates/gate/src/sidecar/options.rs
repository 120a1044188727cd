//! From the command line, files and the environment to what the sidecar is made of. All errors at once.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;

use handover_identity::ClientOptions;
use http::uri::Scheme;
use secrecy::SecretString;

use super::answer::Migration;
use super::arguments::{Gate, LogFormat, Proxy, Serve, Servers, Subject};
use super::path::Pattern;
use super::subject::Finder;
use super::upstream::UpstreamOptions;
use crate::feed::Changes;
use crate::settings::Settings;

/// The largest file that is read, in bytes: tokens, keys and pages are shorter.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What is served, still without the gate.
pub(crate) enum Kind {
    Native,
    Nginx,
    Proxy(UpstreamOptions),
}

/// All that a sidecar is told.
pub(crate) struct Options {
    pub(crate) kind: Kind,
    pub(crate) bind: SocketAddr,
    pub(crate) health_bind: SocketAddr,
    pub(crate) settings: Settings,
    pub(crate) identity: ClientOptions,
    pub(crate) changes: Changes,
    pub(crate) finder: Finder,
    pub(crate) migrations: Vec<Migration>,
    pub(crate) token: Option<SecretString>,
    pub(crate) connections: usize,
    pub(crate) log: LogFormat,
}

/// Collects what is wrong.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    fn unless(&mut self, holds: bool, text: &str) {
        if !holds {
            self.0.push(text.to_owned());
        }
    }
}

/// The options of `native` and `nginx`.
pub(crate) fn asked(serve: &Serve, kind: Kind) -> Result<Options, Vec<String>> {
    assemble(serve, kind, Wrong::default())
}

/// The options of `proxy`.
pub(crate) fn proxy(arguments: &Proxy) -> Result<Options, Vec<String>> {
    let mut wrong = Wrong::default();
    let max_request = arguments.serve.gate.max_request;
    let timeout = arguments.upstream_timeout.unwrap_or(max_request.mul_f64(0.9));
    wrong.unless(timeout < max_request, "--upstream-timeout must be shorter than --max-request");
    wrong.unless(
        arguments.connect_timeout < timeout,
        "--connect-timeout must be shorter than --upstream-timeout",
    );
    let uri = arguments.upstream.clone().into_parts();
    let plain = uri.path_and_query.is_none_or(|path| path == "/");
    wrong.unless(
        uri.scheme == Some(Scheme::HTTP) && plain,
        "--upstream must be http://HOST:PORT; TLS to the application is not supported",
    );
    let Some(authority) = uri.authority else {
        wrong.0.push("--upstream names no host".to_owned());
        return Err(wrong.0);
    };
    let upstream = UpstreamOptions {
        authority,
        connect_timeout: arguments.connect_timeout,
        timeout,
        max_body: arguments.max_body,
    };
    assemble(&arguments.serve, Kind::Proxy(upstream), wrong)
}

fn assemble(serve: &Serve, kind: Kind, mut wrong: Wrong) -> Result<Options, Vec<String>> {
    let token = wrong.take(secret("HANDOVER_GATE_TOKEN", serve.token_file.as_deref())).flatten();
    let asked = !matches!(kind, Kind::Proxy(_));
    wrong.unless(
        !asked || token.is_some() || serve.open,
        "there is no token: set HANDOVER_GATE_TOKEN or --token-file, or say --open",
    );
    wrong.unless(
        serve.health_bind.ip().is_loopback() || token.is_some() || serve.open,
        "--health-bind is no loopback address: metrics need a token (HANDOVER_GATE_TOKEN or --token-file), or --open",
    );
    let finder = finder(&serve.subject, &mut wrong);
    wrong.unless(
        matches!(kind, Kind::Native) || finder.finds(),
        "nothing says whose a request is: give --user-header, --user-path or --user-cookie",
    );
    let migrations: Vec<Migration> =
        serve.subject.migrations.iter().filter_map(|name| wrong.take(Migration::new(name.trim()))).collect();
    let settings = settings(&serve.gate, &mut wrong);
    let identity = identity(&serve.servers, &mut wrong);
    let changes = changes(&serve.servers, &mut wrong);
    match changes {
        Some(changes) if wrong.0.is_empty() => Ok(Options {
            kind,
            bind: serve.bind,
            health_bind: serve.health_bind,
            settings,
            identity,
            changes,
            finder,
            migrations,
            token,
            connections: serve.gate.max_connections.max(1),
            log: serve.log_format,
        }),
        _ => Err(wrong.0),
    }
}

fn finder(subject: &Subject, wrong: &mut Wrong) -> Finder {
    let paths = subject.user_paths.iter().filter_map(|text| wrong.take(Pattern::of_user(text))).collect();
    let nobody =
        subject.nobody_paths.iter().filter_map(|text| wrong.take(Pattern::of_nobody(text))).collect();
    Finder {
        nobody,
        header: subject.user_header.clone(),
        paths,
        cookie: subject.user_cookie.clone(),
        strict: subject.strict,
    }
}

fn settings(gate: &Gate, wrong: &mut Wrong) -> Settings {
    let mut settings = Settings::new("sidecar");
    settings.lease = gate.lease;
    settings.max_request = gate.max_request;
    settings.hold_for = gate.hold_for;
    settings.max_waiters_per_user = gate.max_waiters_per_user;
    settings.max_waiters = gate.max_waiters;
    settings.cached_users = gate.cached_users;
    settings.status_path.clone_from(&gate.status_path);
    settings.splash = gate.splash_file.as_deref().and_then(|path| wrong.take(read(path)));
    let listed = std::env::var("HANDOVER_GATE_PERMIT_KEYS").unwrap_or_default();
    let listed = listed.split(',').map(str::trim).filter(|key| !key.is_empty()).map(SecretString::from);
    settings.permit_keys = listed.collect();
    for path in &gate.permit_key_files {
        settings.permit_keys.extend(wrong.take(read(path)).map(|key| SecretString::from(key.trim())));
    }
    if let Err(error) = settings.validate() {
        wrong.0.push(error.to_string());
    }
    settings
}

fn identity(servers: &Servers, wrong: &mut Wrong) -> ClientOptions {
    let mut options = ClientOptions::new(servers.identity_url.as_str());
    let file = servers.identity_token_file.as_deref();
    options.token = wrong.take(secret("HANDOVER_GATE_IDENTITY_TOKEN", file)).flatten();
    options.ca_file.clone_from(&servers.identity_ca_file);
    options
}

fn changes(servers: &Servers, wrong: &mut Wrong) -> Option<Changes> {
    let url = match (&servers.redis_url, &servers.redis_url_file) {
        (Some(_), Some(_)) => Err("give --redis-url or --redis-url-file, not both".to_owned()),
        (Some(url), None) if has_password(url) && std::env::var("HANDOVER_GATE_REDIS_URL").is_err() => Err(
            "--redis-url holds a password, which others could read: use HANDOVER_GATE_REDIS_URL or a file"
                .to_owned(),
        ),
        (Some(url), None) => Ok(url.clone()),
        (None, Some(path)) => read(path).map(|text| text.trim().to_owned()),
        (None, None) => {
            Err("the Redis is missing: HANDOVER_GATE_REDIS_URL, --redis-url or --redis-url-file".to_owned())
        }
    };
    let mut changes = Changes::new(wrong.take(url)?.into());
    changes.prefix.clone_from(&servers.redis_prefix);
    changes.ca_file.clone_from(&servers.redis_ca_file);
    Some(changes)
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// A secret from that variable or that file; an empty one is none.
fn secret(variable: &str, file: Option<&Path>) -> Result<Option<SecretString>, String> {
    let given = std::env::var(variable).ok().filter(|text| !text.is_empty());
    let text = match (given, file) {
        (Some(_), Some(_)) => return Err(format!("give {variable} or its file, not both")),
        (Some(text), None) => text,
        (None, Some(path)) => read(path)?.trim().to_owned(),
        (None, None) => return Ok(None),
    };
    if text.is_empty() {
        Err(format!("the file in place of {variable} is empty"))
    } else {
        Ok(Some(text.into()))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // A device has no end.
    file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(format!("{}: it holds more than {LARGEST_FILE} bytes", path.display()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar::arguments::{Arguments, Command};
    use clap::Parser as _;

    fn options(extra: &[&str]) -> Result<Options, Vec<String>> {
        let mut arguments = vec![
            "handover-gate",
            "proxy",
            "--identity-url",
            "http://127.0.0.1:7400",
            "--migration",
            "invoices",
            "--redis-url",
            "redis://127.0.0.1:6379",
            "--upstream",
            "http://127.0.0.1:8000",
        ];
        arguments.extend(extra);
        let Command::Proxy(arguments) = Arguments::try_parse_from(arguments).unwrap().command else {
            panic!("it says proxy")
        };
        proxy(&arguments)
    }

    #[test]
    fn the_upstream_must_answer_before_the_permit_ends() {
        let Kind::Proxy(upstream) = options(&["--user-header", "x-user"]).ok().unwrap().kind else {
            panic!()
        };
        assert_eq!(upstream.timeout.as_secs(), 9);
        let wrong = options(&["--user-header", "x-user", "--upstream-timeout", "10s"]).err().unwrap();
        assert!(wrong[0].contains("shorter than --max-request"), "{wrong:?}");
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let wrong = options(&[
            "--user-path",
            "/users/",
            "--migration",
            "a b",
            "--health-bind",
            "0.0.0.0:1",
            "--lease",
            "1ms",
            "--splash-file",
            "/nonexistent/page.html",
        ]);
        assert_eq!(wrong.err().unwrap().len(), 6);
    }

    #[test]
    fn a_password_on_the_command_line_is_refused() {
        assert!(has_password("rediss://user:secret@host/1") && has_password("redis://:secret@host"));
        assert!(!has_password("redis://host:6379/0") && !has_password("redis://user@host:6379"));
    }
}
