//! Loading from files and environments, as an operator would write them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handover_settings::{Format, Level, Server, Settings, SettingsError, UserKey};
use secrecy::ExposeSecret;
use tempfile::NamedTempFile;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("write it");
    file
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn from_file(text: &str) -> Result<Settings, SettingsError> {
    Settings::load_from(Some(file(text).path()), [])
}

fn from_environment(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load_from(None, environment(pairs))
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The only problem, as `field` and the whole line that an operator reads.
fn only_problem(result: Result<Settings, SettingsError>) -> (String, String) {
    let error = result.expect_err("a problem");
    assert_eq!(error.problems().len(), 1, "{error}");
    (error.problems()[0].field.clone(), error.problems()[0].to_string())
}

/// Names of all settings, from the structure itself.
fn all_fields() -> Vec<String> {
    let shown = format!("{:#?}", Settings::default());
    let mut section = String::new();
    let mut fields = Vec::new();
    for line in shown.lines() {
        let indent = line.len() - line.trim_start().len();
        let Some((name, _)) = line.trim().split_once(':') else { continue };
        match indent {
            4 => name.clone_into(&mut section),
            8 => fields.push(format!("{section}.{name}")),
            _ => {}
        }
    }
    fields
}

#[test]
fn the_shipped_file_equals_the_defaults() {
    let shipped = Settings::load_from(Some(&repository("config/handover.toml")), []).unwrap();
    // No secret is set in either, so that the redacted form shows every value.
    assert_eq!(format!("{shipped:#?}"), format!("{:#?}", Settings::default()));
}

#[test]
fn the_shipped_file_names_every_setting() {
    let text = std::fs::read_to_string(repository("config/handover.toml")).unwrap();
    let fields = all_fields();
    assert!(fields.len() > 40, "{fields:?}");
    for field in fields {
        let (section, key) = field.split_once('.').unwrap();
        let body = text.split(&format!("\n[{section}]\n")).nth(1).unwrap().split("\n[").next().unwrap();
        let named = body.lines().any(|line| {
            line.trim_start_matches("# ").split('=').next().is_some_and(|name| name.trim() == key)
        });
        assert!(named, "{field} is missing from config/handover.toml");
    }
}

#[test]
fn the_documentation_names_every_setting() {
    let text = std::fs::read_to_string(repository("docs/configuration.md")).unwrap();
    for field in all_fields() {
        assert!(text.contains(&format!("`{field}`")), "{field} is missing from docs/configuration.md");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let path = file("[pause]\nmax_paused = 10\nwindow = 300\n[log]\nformat = \"json\"\n");
    let variables = environment(&[
        ("HANDOVER_PAUSE__MAX_PAUSED", "20"),
        ("HANDOVER_VERIFY__BEFORE_COMMIT", "true"),
        ("HANDOVER_LOG__LEVEL", "debug"),
    ]);
    let settings = Settings::load_from(Some(path.path()), variables).unwrap();
    assert_eq!((settings.pause.max_paused, settings.pause.window), (20, 300));
    assert_eq!(settings.pause.max_pause, Duration::from_mins(1));
    assert!(settings.verify.before_commit);
    assert_eq!((settings.log.format, settings.log.level), (Format::Json, Level::Debug));
}

#[test]
fn a_secret_of_digits_stays_as_it_was_written() {
    for secret in ["0012", "1e5", "true", "  x"] {
        let settings = from_environment(&[("HANDOVER_WORKER__TOKEN", secret)]).unwrap();
        assert_eq!(settings.worker.token.unwrap().expose_secret(), secret);
    }
}

#[test]
fn a_secret_can_come_from_a_file_that_the_environment_names() {
    let secret = file("postgres://u:0012@legacy/shop\n");
    let path = secret.path().to_str().unwrap();
    let settings = from_environment(&[("HANDOVER_LEGACY__PRIMARY_URL_FILE", path)]).unwrap();
    let url = settings.url(Server::LegacyPrimary).unwrap();
    assert_eq!(url.expose_secret(), "postgres://u:0012@legacy/shop");
}

#[test]
fn a_secret_file_that_is_absent_or_given_twice_is_an_error() {
    let (field, text) =
        only_problem(from_environment(&[("HANDOVER_REDIS__URL_FILE", "/nonexistent/handover")]));
    assert_eq!(field, "redis.url");
    assert!(text.contains("HANDOVER_REDIS__URL_FILE"), "{text}");

    let twice = [("HANDOVER_WORKER__TOKEN", "a"), ("HANDOVER_WORKER__TOKEN_FILE", "/dev/null")];
    let (field, text) = only_problem(from_environment(&twice));
    assert_eq!(field, "worker.token");
    assert!(text.contains("both set"), "{text}");
}

#[test]
fn the_setting_that_ends_in_file_is_a_setting() {
    let pairs = [("HANDOVER_REDIS__CA_FILE", "/ca.pem"), ("HANDOVER_REDIS__URL", "rediss://redis:6379")];
    let settings = from_environment(&pairs).unwrap();
    assert_eq!(settings.redis.ca_file.as_deref(), Some(Path::new("/ca.pem")));
}

#[test]
fn secrets_are_refused_in_the_file() {
    for (text, field) in [
        ("[worker]\ntoken = \"abc\"\n", "worker.token"),
        ("[legacy]\nprimary_url = \"postgres://u:hunter2@host/db\"\n", "legacy.primary_url"),
        ("[destination]\nurl = \"host=db password=hunter2\"\n", "destination.url"),
    ] {
        let (named, text) = only_problem(from_file(text));
        assert_eq!(named, field);
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("_FILE"), "{text}");
    }
    let settings = from_file("[legacy]\nprimary_url = \"postgres://u@host/db\"\n").unwrap();
    assert!(settings.url(Server::LegacyPrimary).is_ok());
}

#[test]
fn secrets_do_not_show_in_debug_or_in_errors() {
    let pairs = [
        ("HANDOVER_DESTINATION__URL", "postgres://u:hunter2@host/db"),
        ("HANDOVER_WORKER__TOKEN", "hunter2"),
    ];
    let shown = format!("{:?}", from_environment(&pairs).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");

    let (field, text) =
        only_problem(from_environment(&[("HANDOVER_IDENTITY__URL", "mysql://u:hunter2@host")]));
    assert_eq!(field, "identity.url");
    assert!(!text.contains("hunter2"), "{text}");

    let error = from_file("[legacy]\nprimary_url = \"postgres://u:hunter2@host\n").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn every_bad_value_names_its_field() {
    for (field, value) in [
        ("pause.max_paused", "0"),
        ("pause.max_paused", "-1"),
        ("pause.max_paused", "2.7"),
        ("pause.max_paused", "true"),
        ("pause.max_paused", "many"),
        ("pause.window", "64"),
        ("pause.max_pause", "25h"),
        ("pause.drain", "60"),
        ("pause.drain", "60s"),
        ("copy.replica_wait", "60s"),
        ("verify.before_commit", "perhaps"),
        ("verify.recheck_source", "2"),
        ("worker.concurrency", "0"),
        ("worker.batch", "1001"),
        ("worker.lease", "2s"),
        ("worker.lease", "1m"),
        ("worker.shutdown", "0s"),
        ("worker.idle_wait", "15s"),
        ("worker.upkeep", "30s"),
        ("worker.max_tries", "0"),
        ("worker.max_recoveries", "0"),
        ("worker.backoff_base", "11s"),
        ("worker.backoff_cap", "60s"),
        ("worker.http_bind", "localhost"),
        ("worker.http_bind", "0.0.0.0:9000"),
        ("worker.token", " "),
        ("worker.token", "two\nlines"),
        ("identity.http_bind", "0.0.0.0:7400"),
        ("identity.token", " "),
        ("identity.token", "grün"),
        ("identity.user_key", "bigint"),
        ("identity.sessions", "0"),
        ("identity.max_clock_skew", "5s"),
        ("reconcile.interval", "6s"),
        ("reconcile.requeue_after", "60s"),
        ("reconcile.heartbeat", "5s"),
        ("reconcile.sample", "0s"),
        ("reconcile.leader_retry", "0s"),
        ("reconcile.leader_lease", "999ms"),
        ("reconcile.leader_lease", "60s"),
        ("breaker.min_attempts", "0"),
        ("breaker.failure_rate", "1.5"),
        ("breaker.failure_rate", "NaN"),
        ("breaker.failure_rate", "20%"),
        ("breaker.max_mismatches", "-1"),
        ("postgres.statement_timeout", "60s"),
        ("postgres.lock_timeout", "21s"),
        ("postgres.idle_in_transaction_timeout", "2m"),
        ("postgres.connect_timeout", "1m"),
        ("redis.prefix", "two words"),
        ("redis.url", "localhost:6379"),
        ("redis.ca_file", "/ca.pem"),
        ("log.format", "xml"),
        ("log.level", "loud"),
    ] {
        let name = format!("HANDOVER_{}", field.replace('.', "__").to_uppercase());
        let mut pairs = vec![(name.as_str(), value)];
        if field == "redis.ca_file" {
            pairs.push(("HANDOVER_REDIS__URL", "redis://redis"));
        }
        let error = from_environment(&pairs).expect_err(&format!("{field} = {value}"));
        let fields: Vec<_> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
        assert!(fields.contains(&field), "{field} = {value}: {error}");
    }
}

#[test]
fn a_number_in_the_file_is_neither_rounded_nor_guessed() {
    for value in ["2.7", "true", "[1]", "99999999999"] {
        let (field, _) = only_problem(from_file(&format!("[pause]\nmax_paused = {value}\n")));
        assert_eq!(field, "pause.max_paused");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = from_file(
        "[pause]\nmax_paused = 0\nmax_pause = \"soon\"\nnonsense = 1\n[worker]\nbatch = 0\n[surprise]\nx = 1\n",
    )
    .unwrap_err();
    let fields: Vec<_> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    for field in ["pause.max_paused", "pause.max_pause", "pause.nonsense", "worker.batch", "surprise"] {
        assert!(fields.contains(&field), "{field}: {error}");
    }
}

#[test]
fn an_unknown_key_in_the_environment_is_refused_by_name() {
    let (field, _) = only_problem(from_environment(&[("HANDOVER_PAUSE__MAX_PAUSD", "5")]));
    assert_eq!(field, "pause.max_pausd");
    let (field, _) = only_problem(from_environment(&[("HANDOVER_PUASE__MAX_PAUSED", "5")]));
    assert_eq!(field, "puase");
}

#[test]
fn variables_of_others_and_empty_ones_are_left_alone() {
    let pairs =
        [("HANDOVER_REDIS_PORT", "tcp://10.0.0.1:6379"), ("HANDOVER_PAUSE__WINDOW", ""), ("PATH", "/bin")];
    assert_eq!(from_environment(&pairs).unwrap().pause.window, Settings::default().pause.window);
}

#[test]
fn a_port_that_others_can_reach_needs_a_token_or_the_word_open() {
    let bind = ("HANDOVER_WORKER__HTTP_BIND", "0.0.0.0:9000");
    assert!(from_environment(&[bind]).is_err());
    assert!(from_environment(&[bind, ("HANDOVER_WORKER__TOKEN", "secret")]).is_ok());
    assert!(from_environment(&[bind, ("HANDOVER_WORKER__OPEN", "true")]).is_ok());
    assert!(from_environment(&[("HANDOVER_WORKER__HTTP_BIND", "[::1]:0")]).is_ok());
}

#[test]
fn identitys_service_needs_a_token_or_the_word_open_and_the_type_of_keys() {
    let error = Settings::default().require_identity_service().unwrap_err();
    let fields: Vec<_> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["identity.user_key", "identity.token"]);
    let key = ("HANDOVER_IDENTITY__USER_KEY", "int8");
    let settings = from_environment(&[key, ("HANDOVER_IDENTITY__TOKEN", "0012")]).unwrap();
    assert_eq!(settings.identity.user_key, Some(UserKey::Int8));
    assert!(settings.require_identity_service().is_ok());
    let settings = from_environment(&[key, ("HANDOVER_IDENTITY__OPEN", "true")]).unwrap();
    assert!(settings.require_identity_service().is_ok());
    let (field, _) = only_problem(from_file("[identity]\ntoken = \"abc\"\n"));
    assert_eq!(field, "identity.token");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let missing = Path::new("/nonexistent/handover.toml");
    assert!(matches!(Settings::load_from(Some(missing), []), Err(SettingsError::Unreadable { .. })));
    let named = from_environment(&[("HANDOVER_CONFIG", "/nonexistent/handover.toml")]);
    assert!(matches!(named, Err(SettingsError::Unreadable { .. })));
}

#[test]
fn missing_servers_are_all_named_with_their_variables() {
    let error = Settings::default().require(&Server::ALL).unwrap_err().to_string();
    for server in Server::ALL {
        assert!(error.contains(server.field()), "{error}");
    }
    assert!(error.contains("HANDOVER_LEGACY__REPLICA_URL_FILE"), "{error}");
}
