//! Settings that cannot be used, by environment and by file, through an operator's command and a worker.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::row::{Row, Section, row};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: u16,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        let code = output.status.code().and_then(|code| u16::try_from(code).ok()).unwrap_or(u16::MAX);
        Self { code, err: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Whether it ended as the row says, in good order.
    pub(crate) fn check<I>(&self, row: &Row<I>) -> Result<()> {
        ensure!(self.code == row.code, "exit code {} in place of {}: {:.600}", self.code, row.code, self.err);
        ensure!(self.err.contains(row.says), "does not say `{}`: {:.600}", row.says, self.err);
        ensure!(!self.err.contains("panicked"), "{:.600}", self.err);
        Ok(())
    }
}

/// Runs a program without settings but for these, to its end.
pub(crate) fn run(program: &str, arguments: &[&str], environment: &[(&str, OsString)]) -> Result<Ended> {
    let mut command = Command::new(handover_tests::program(program)?);
    command.env_clear().env("NO_COLOR", "1").args(arguments).current_dir("/");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Ok(Ended::of(&command.output().with_context(|| format!("{program} did not start"))?))
}

/// A variable, or a whole file.
enum Given {
    Variable(&'static str, Vec<u8>),
    File(Vec<u8>),
}

use Given::{File, Variable};

/// A password that no message may hold.
const SECRET: &str = "hunter2";

fn rows() -> Vec<Row<Given>> {
    [variables(), files()].into_iter().flatten().collect()
}

fn variables() -> Vec<Row<Given>> {
    let of = |name, value: &str| Variable(name, value.as_bytes().to_vec());
    let url = "HANDOVER_DESTINATION__URL";
    let long = "9".repeat(100_000);
    vec![
        row("a text for a number", of("HANDOVER_PAUSE__MAX_PAUSED", "many"), 2, "pause.max_paused"),
        row("a number below zero", of("HANDOVER_PAUSE__MAX_PAUSED", "-1"), 2, "pause.max_paused"),
        row("a number of 100 000 digits", of("HANDOVER_PAUSE__MAX_PAUSED", &long), 2, "pause.max_paused"),
        row("Arabic digits", of("HANDOVER_PAUSE__MAX_PAUSED", "٤٢"), 2, "pause.max_paused"),
        row("a time without a unit", of("HANDOVER_PAUSE__DRAIN", "60"), 2, "pause.drain"),
        row("a time of a thousand years", of("HANDOVER_PAUSE__MAX_PAUSE", "1000years"), 2, "pause.max_pause"),
        row(
            "a value that is not UTF-8",
            Variable("HANDOVER_LOG__LEVEL", b"\xff\xfe".to_vec()),
            2,
            "is not UTF-8",
        ),
        row("a setting that does not exist", of("HANDOVER_PAUSE__MAX_PASED", "1"), 2, "max_pased"),
        row("a section in a section", of("HANDOVER_PAUSE__MAX__PAUSED", "1"), 2, "pause.max"),
        row("a URL of another kind", of(url, "mysql://u:hunter2@h/d"), 2, "must begin with one of"),
        row("a URL with an impossible port", of(url, "postgres://u:hunter2@h:99999/d"), 2, "cannot be read"),
        row(
            "a URL with a control character",
            of(url, "postgres://u:hunter2@h:1\u{1}/d"),
            2,
            "cannot be read",
        ),
        row("a token with a line break", of("HANDOVER_WORKER__TOKEN", "hunter2\nx: y"), 2, "visible ASCII"),
        row("a token that no header can hold", of("HANDOVER_WORKER__TOKEN", "hunter2é"), 2, "visible ASCII"),
        row("a prefix with a blank", of("HANDOVER_REDIS__PREFIX", "a b"), 2, "redis.prefix"),
        row(
            "a prefix with a right-to-left override",
            of("HANDOVER_REDIS__PREFIX", "a\u{202e}b"),
            2,
            "redis.prefix",
        ),
        row("a file that is not there", of("HANDOVER_CONFIG", "/no/such/file"), 2, "/no/such/file"),
        row("a folder for a file", of("HANDOVER_CONFIG", "/tmp"), 2, "/tmp"),
        row(
            "a secret's file that is not there",
            of("HANDOVER_WORKER__TOKEN_FILE", "/no/such/file"),
            2,
            "worker.token",
        ),
        row("a secret's file without end", of("HANDOVER_WORKER__TOKEN_FILE", "/dev/zero"), 2, "worker.token"),
    ]
}

fn files() -> Vec<Row<Given>> {
    let of = |text: &str| File(text.as_bytes().to_vec());
    vec![
        row("a file with a NUL", of("[pause]\nmax_paused = 1\0"), 2, "not well formed"),
        row("a file that is not UTF-8", File(b"[pause]\n# \xff\n".to_vec()), 2, "UTF-8"),
        row("a file that is no TOML", of("pause: {max_paused: 1}"), 2, "not well formed"),
        row("a key that does not exist", of("[pause]\nmax_pased = 1"), 2, "max_pased"),
        row("a key twice", of("[pause]\nmax_paused = 1\nmax_paused = 2"), 2, "not well formed"),
        row(
            "100 000 arrays in each other",
            File([b"x = ".as_slice(), &b"[".repeat(100_000)].concat()),
            2,
            "not well formed",
        ),
        row(
            "a key of 50 000 parts",
            File([b"a.".repeat(50_000).as_slice(), b"a = 1"].concat()),
            2,
            "not well formed",
        ),
        row("a secret", of("[worker]\ntoken = \"hunter2\""), 2, "worker.token"),
    ]
}

pub(crate) fn section() -> Section {
    let about = "By environment or as the file that `--config` names; `handover status` ends with the code below, and a worker \
                 (`handover-pause --check`) says the same and ends with 78. No server is asked. A value that may be a secret is \
                 never shown.";
    Section::of("Settings", about, "exit code", &rows())
}

#[test]
fn settings_that_cannot_be_used_are_named_and_no_server_is_asked() -> Result<()> {
    for row in rows() {
        let mut file = tempfile::NamedTempFile::new()?;
        let nobody = OsString::from("postgres://u@127.0.0.1:1/d");
        let mut environment = vec![("HANDOVER_DESTINATION__URL", nobody)];
        match &row.input {
            Variable(name, value) => {
                environment.retain(|(other, _)| other != name);
                environment.push((name, OsString::from_vec(value.clone())));
            }
            File(content) => {
                file.write_all(content)?;
                environment.push(("HANDOVER_CONFIG", file.path().into()));
            }
        }
        let ended = run("handover", &["status"], &environment)?;
        ended.check(&row).with_context(|| row.what)?;
        ensure!(!ended.err.contains(SECRET), "{}: {}", row.what, ended.err);
        ensure!(ended.err.len() < 4_000, "{}: the input is thrown back, {} bytes", row.what, ended.err.len());
        let worker = run("handover-pause", &["--check"], &environment)?;
        ensure!(worker.code == 78 && !worker.err.contains(SECRET), "{}: {worker:?}", row.what);
        ensure!(!worker.err.contains("panicked"), "{}: {worker:?}", row.what);
    }
    Ok(())
}
