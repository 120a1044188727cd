//! Installs server programs with the system's package manager, having asked on a terminal, or having said
//! what is done. It never touches a server that runs already, and starts none.

use crate::{Error, Install};
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;

pub(crate) const POSTGRES: &str = "PostgreSQL 14 or newer (initdb, postgres, pg_ctl)";
pub(crate) const REDIS: &str = "redis-server 6.2 or newer (or valkey-server)";
pub(crate) const NOT_FOUND_AFTERWARDS: &str = "it was installed, but is in none of the usual places: set PG_BIN to \
     the folder of initdb, and PATH for redis-server";

/// A package manager: its program, and the shell commands that install each server.
struct Manager {
    program: &'static str,
    prepare: &'static str,
    install: &'static str,
    postgres: &'static str,
    redis: &'static str,
    needs_root: bool,
}

const MANAGERS: [Manager; 4] = [
    Manager {
        program: "apt-get",
        // Debian would start a cluster on port 5432: it is told not to before the package arrives.
        prepare: "mkdir -p /etc/postgresql-common/createcluster.d && \
                  echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/handover.conf && \
                  apt-get -q update",
        install: "DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
                  apt-get -q install -y --no-install-recommends -o DPkg::Lock::Timeout=300",
        postgres: "postgresql",
        redis: "redis-server",
        needs_root: true,
    },
    Manager {
        program: "dnf",
        prepare: "true",
        install: "dnf -q install -y",
        postgres: "postgresql-server",
        redis: "'(redis or valkey)'",
        needs_root: true,
    },
    Manager {
        program: "apk",
        prepare: "true",
        install: "apk add --no-cache",
        postgres: "postgresql",
        redis: "redis",
        needs_root: true,
    },
    Manager {
        program: "brew",
        prepare: "true",
        install: "brew install",
        postgres: "postgresql@17",
        redis: "redis",
        needs_root: false,
    },
];

/// Installs what is missing, or says exactly what to install.
pub(crate) fn install(postgres: bool, redis: bool, how: Install) -> Result<(), Error> {
    let program = if postgres { POSTGRES } else { REDIS };
    let missing = |remedy: String| Error::Missing { program, remedy };
    let Some(manager) = MANAGERS.iter().find(|manager| on_path(manager.program)) else {
        return Err(missing(format!(
            "install {POSTGRES} and {REDIS}, and set PG_BIN to the folder of initdb"
        )));
    };
    let script = script(manager, postgres, redis);
    if how == Install::Never {
        return Err(missing(format!("run as root: {script}")));
    }
    let command = privileged(manager, &script).ok_or_else(|| missing(format!("run as root: {script}")))?;
    if !agreed(how, &script) {
        return Err(missing(format!("not installed, as you chose; run as root: {script}")));
    }
    run(command)
}

/// Makes sure that something else is there that a test of the worked example needs: a web server, another language's
/// library. Installs a package where it is not; the name is Debian's, and other systems are tried with the same one.
/// Blocks while the package manager works.
pub fn ensure_package(
    what: &'static str,
    package: &str,
    is_there: impl Fn() -> bool,
    how: Install,
) -> Result<(), Error> {
    if is_there() {
        return Ok(());
    }
    let missing = |remedy: String| Error::Missing { program: what, remedy };
    let Some(manager) = MANAGERS.iter().find(|manager| on_path(manager.program)) else {
        return Err(missing(format!("install the package {package}")));
    };
    let script = format!("{} && {} {package}", manager.prepare, manager.install);
    let command = privileged(manager, &script).filter(|_| how != Install::Never && agreed(how, &script));
    run(command.ok_or_else(|| missing(format!("run as root: {script}")))?)?;
    if is_there() {
        Ok(())
    } else {
        Err(missing(format!("the package {package} was installed, and brought no {what}")))
    }
}

fn script(manager: &Manager, postgres: bool, redis: bool) -> String {
    let mut script = format!("{} && {}", manager.prepare, manager.install);
    for (wanted, package) in [(postgres, manager.postgres), (redis, manager.redis)] {
        if wanted {
            script.push(' ');
            script.push_str(package);
        }
    }
    script.trim_start_matches("true && ").to_owned()
}

/// The command with the rights that it needs: as root, by `sudo`, or none where there is no way.
fn privileged(manager: &Manager, script: &str) -> Option<Command> {
    let root = nix::unistd::Uid::effective().is_root();
    let mut command = if root || !manager.needs_root {
        Command::new("sh")
    } else if on_path("sudo") {
        let mut sudo = Command::new("sudo");
        if !std::io::stdin().is_terminal() {
            // Nobody could type a password: fail at once instead of waiting for one.
            sudo.arg("-n");
        }
        sudo.arg("sh");
        sudo
    } else {
        return None;
    };
    command.args(["-c", script]);
    Some(command)
}

/// Asks on a terminal; elsewhere says what is done.
fn agreed(how: Install, script: &str) -> bool {
    let mut stderr = std::io::stderr();
    // A closed standard error is no reason to stop.
    let _ =
        writeln!(stderr, "handover needs programs that are not installed. This installs them:\n  {script}");
    if how == Install::Yes || !std::io::stdin().is_terminal() || !stderr.is_terminal() {
        return true;
    }
    let _ = write!(stderr, "Install now? [Y/n] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok_and(|length| length > 0) && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes")
}

/// Runs with its output on standard error: standard output may be somebody's JSON.
fn run(mut command: Command) -> Result<(), Error> {
    let failed = |output: String| Error::Command { program: "the package manager".to_owned(), output };
    let status = command.stdout(std::io::stderr()).status().map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(format!("{status}; its own messages are above"))) }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/bin", "/sbin", "/opt/homebrew/bin"].map(PathBuf::from));
    folders.iter().any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_named() {
        let apt = &MANAGERS[0];
        assert!(script(apt, true, false).ends_with(" postgresql"));
        assert!(script(apt, false, true).ends_with(" redis-server"));
        assert!(script(apt, true, true).contains("create_main_cluster = false"));
        assert_eq!(script(&MANAGERS[2], true, true), "apk add --no-cache postgresql redis");
    }

    #[test]
    fn never_installing_says_what_to_run_instead() {
        let error = install(true, true, Install::Never).expect_err("must not install");
        assert!(error.to_string().contains("install"), "{error}");
    }
}
