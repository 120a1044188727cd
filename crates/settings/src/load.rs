//! From the sources to sections: defaults, then the file, then the environment.
//!
//! `try_parsing` of the `config` crate stays off: it would turn a password `0012` into the number 12.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};
use serde::de::DeserializeOwned;

use crate::servers::variable;
use crate::{Problem, Settings, SettingsError};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "config/handover.toml";
/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;
/// The variable that names a file.
const FILE_VARIABLE: &str = "HANDOVER_CONFIG";
/// Settings whose values are never shown, and which `…_FILE` variables can fill.
const SECRETS: [&str; 7] = [
    "legacy.primary_url",
    "legacy.replica_url",
    "destination.url",
    "identity.url",
    "identity.token",
    "redis.url",
    "worker.token",
];

type Table = HashMap<String, Value>;

impl Settings {
    /// Loads settings: the defaults, then `file` (else the file that `HANDOVER_CONFIG` names, else
    /// `config/handover.toml` if it is there), then the variables `HANDOVER_SECTION__KEY`.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HANDOVER_"));
        let mut environment = Vec::new();
        let mut problems = Vec::new();
        for (name, value) in ours {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => environment.push((name, value)),
                Err(_) => problems.push(Problem::new(name, "is not UTF-8", "set it to text")),
            }
        }
        if !problems.is_empty() {
            return Err(SettingsError::Invalid(problems));
        }
        let fallback = Path::new(DEFAULT_FILE);
        let named = environment.iter().any(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
        let file = file.or_else(|| (!named && fallback.is_file()).then_some(fallback));
        Self::load_from(file, environment)
    }

    /// The same from a given environment, and without looking for a file that nobody named.
    pub fn load_from(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let environment: HashMap<_, _> =
            environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let named = environment.get(FILE_VARIABLE).map(PathBuf::from);
        let file = file.map(Path::to_path_buf).or(named);
        let mut problems = Vec::new();
        let variables = resolve_secret_files(environment, &mut problems);
        let tree = merge(file.as_deref(), variables)?;
        let settings = assemble(tree, &mut problems);
        settings.validate(&mut problems);
        if problems.is_empty() { Ok(settings) } else { Err(SettingsError::Invalid(problems)) }
    }
}

/// The text of a file, unless there is more of it than any settings or secret have: a device has no end.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other(format!("it holds more than {LARGEST_FILE} bytes")));
    }
    Ok(text)
}

/// Keeps the variables that name a setting, with the content of files put in place of `…_FILE`.
///
/// A variable without `__` is not ours: Kubernetes sets `HANDOVER_REDIS_PORT` for a service of that name.
fn resolve_secret_files(
    environment: HashMap<String, String>,
    problems: &mut Vec<Problem>,
) -> HashMap<String, String> {
    let mut variables: HashMap<_, _> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with("HANDOVER_") && name.contains("__"))
        .collect();
    for field in SECRETS {
        let name = variable(field);
        let Some(path) = variables.remove(&format!("{name}_FILE")) else { continue };
        if variables.contains_key(&name) {
            problems.push(Problem::new(
                field,
                format!("{name} and {name}_FILE are both set"),
                "set one of them",
            ));
            continue;
        }
        match read(Path::new(&path)) {
            Ok(text) => {
                // Editors and `echo` end a file with a line break that belongs to no secret.
                variables.insert(name, text.trim_end_matches(['\r', '\n']).to_owned());
            }
            Err(error) => {
                let constraint = format!("the file {path} that {name}_FILE names cannot be read: {error}");
                problems.push(Problem::new(field, constraint, "name a file that this user may read"));
            }
        }
    }
    variables
}

fn merge(file: Option<&Path>, variables: HashMap<String, String>) -> Result<Table, SettingsError> {
    let mut builder = Config::builder();
    if let Some(path) = file {
        let text =
            read(path).map_err(|source| SettingsError::Unreadable { path: path.to_path_buf(), source })?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let environment =
        Environment::with_prefix("HANDOVER").prefix_separator("_").separator("__").source(Some(variables));
    let config = builder.add_source(environment).build().map_err(|error| malformed(file, &error))?;
    Ok(config.cache.into_table().unwrap_or_default())
}

/// The parser's message without the lines in which it quotes the file: one of them may hold a password.
fn malformed(file: Option<&Path>, error: &ConfigError) -> SettingsError {
    let text = error.to_string();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains('|')).map(str::trim).collect();
    let place = file.map(|path| format!("{}: ", path.display())).unwrap_or_default();
    SettingsError::Malformed(format!("{place}{}", kept.join(", ")))
}

fn assemble(mut tree: Table, problems: &mut Vec<Problem>) -> Settings {
    let settings = Settings {
        legacy: section("legacy", &mut tree, problems),
        destination: section("destination", &mut tree, problems),
        identity: section("identity", &mut tree, problems),
        redis: section("redis", &mut tree, problems),
        plans: section("plans", &mut tree, problems),
        pause: section("pause", &mut tree, problems),
        fence: section("fence", &mut tree, problems),
        copy: section("copy", &mut tree, problems),
        verify: section("verify", &mut tree, problems),
        worker: section("worker", &mut tree, problems),
        reconcile: section("reconcile", &mut tree, problems),
        breaker: section("breaker", &mut tree, problems),
        postgres: section("postgres", &mut tree, problems),
        log: section("log", &mut tree, problems),
    };
    let mut unknown: Vec<String> = tree.into_keys().collect();
    unknown.sort();
    problems.extend(unknown.into_iter().map(|name| {
        Problem::new(name, "is not a section", "remove it; config/handover.toml lists the sections")
    }));
    settings
}

/// Reads one section key by key, so that one wrong key does not hide the next one's error.
fn section<T: DeserializeOwned + Default>(name: &str, tree: &mut Table, problems: &mut Vec<Problem>) -> T {
    let Some(value) = tree.remove(name) else { return T::default() };
    let Ok(table) = value.into_table() else {
        problems.push(Problem::new(name, "is not a section", format!("write its keys under [{name}]")));
        return T::default();
    };
    let mut keys: Vec<_> = table.into_iter().collect();
    keys.sort_by(|left, right| left.0.cmp(&right.0));
    let mut good = Table::new();
    for (key, value) in keys {
        let field = format!("{name}.{key}");
        let single = Value::new(None, ValueKind::Table([(key.clone(), value.clone())].into()));
        match single.try_deserialize::<T>() {
            Ok(_) => {
                problems.extend(secret_in_file(&field, &value));
                good.insert(key, value);
            }
            Err(error) => problems.push(refused(&field, &error)),
        }
    }
    Value::new(None, ValueKind::Table(good)).try_deserialize().unwrap_or_default()
}

/// A secret belongs into the environment: settings files are committed, copied and shown.
fn secret_in_file(field: &str, value: &Value) -> Option<Problem> {
    let from_environment = value.origin() == Some("the environment");
    if from_environment || !SECRETS.contains(&field) {
        return None;
    }
    let text = value.clone().into_string().unwrap_or_default();
    if field.ends_with("url") && !holds_password(&text) {
        return None;
    }
    let name = variable(field);
    Some(Problem::new(field, "holds a secret in a file", format!("set {name} or {name}_FILE instead")))
}

/// Whether a connection URL (or a libpq keyword string) carries a password.
fn holds_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
    let in_authority = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    in_authority || url.contains("password")
}

fn refused(field: &str, error: &ConfigError) -> Problem {
    let text = error.to_string();
    if text.contains("unknown field") {
        return Problem::new(
            field,
            "is not a setting",
            "remove it, or correct its name: docs/configuration.md lists all",
        );
    }
    if SECRETS.contains(&field) {
        return Problem::new(field, "is not a text", "write one text");
    }
    let remedy = if text.contains("time unit") || text.contains("duration") {
        "write a duration with its unit, such as \"20s\" or \"250ms\""
    } else {
        "docs/configuration.md shows what it takes"
    };
    Problem::new(field, text, remedy)
}
