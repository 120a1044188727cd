//! What an examination finds.

use handover_settings::Server;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Works, and may come to hurt.
    Warning,
    /// Unsafe, or cannot work.
    Error,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) server: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    pub(super) remedy: Option<String>,
}

/// All that was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn all(&self) -> &[Finding] {
        &self.0
    }

    pub(super) fn of(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    pub(super) fn ok(&mut self, check: &'static str, server: Server, found: impl Into<String>) {
        self.add(check, server, Level::Ok, found.into(), None);
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        server: Server,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check, server, Level::Warning, found.into(), Some(remedy.into()));
    }

    pub(super) fn error(
        &mut self,
        check: &'static str,
        server: Server,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check, server, Level::Error, found.into(), Some(remedy.into()));
    }

    /// `good` where it holds; else `bad` at that level with what to do.
    pub(super) fn holds(
        &mut self,
        (check, server): (&'static str, Server),
        holds: bool,
        good: impl Into<String>,
        (level, bad, remedy): (Level, impl Into<String>, impl Into<String>),
    ) {
        if holds {
            self.ok(check, server, good);
        } else {
            self.add(check, server, level, bad.into(), Some(remedy.into()));
        }
    }

    fn add(
        &mut self,
        check: &'static str,
        server: Server,
        level: Level,
        found: String,
        remedy: Option<String>,
    ) {
        self.0.push(Finding { check, server: name(server), level, found, remedy });
    }
}

fn name(server: Server) -> &'static str {
    match server {
        Server::LegacyPrimary => "legacy primary",
        Server::LegacyReplica => "legacy replica",
        Server::Destination => "destination",
        Server::Identity => "identity",
        Server::Redis => "redis",
    }
}
