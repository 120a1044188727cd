//! The few arguments that each worker takes. All else is settings.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};

/// Arguments of every worker program.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// Settings file; without it the one that HANDOVER_CONFIG names, or ./config/handover.toml if present.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Check the settings and the connections to all servers, say what was found, and exit.
    #[arg(long)]
    pub(crate) check: bool,
}

const AFTER_HELP: &str = "\
Every setting can be given by environment: [worker] concurrency is HANDOVER_WORKER__CONCURRENCY.
SIGTERM or SIGINT drains and exits with 0; a second one exits at once (143 or 130).
Other exit codes: 2 usage, 69 a server is unavailable (--check), 70 internal, 78 settings.

Example:
  HANDOVER_WORKER__CONCURRENCY=8 ";

impl Arguments {
    /// Parses the process' arguments; ends the process on `--help`, `--version` and wrong usage.
    pub(crate) fn parse_for(program: &'static str, about: &'static str) -> Self {
        let command = Self::command()
            .name(program)
            .bin_name(program)
            .about(about)
            .after_help(format!("{AFTER_HELP}{program} --config config/handover.toml"));
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_file_and_a_check_can_be_asked_for() {
        let arguments =
            Arguments::try_parse_from(["handover-copy", "--config", "a.toml", "--check"]).unwrap();
        assert_eq!(arguments.config, Some(PathBuf::from("a.toml")));
        assert!(arguments.check);
    }
}
