//! The command line.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use handover_engine::StageName;

use crate::commands::demo::DemoArgs;
use crate::users::UserArgs;

/// Moves users from a legacy Postgres system to a new one, a user at a time, while everybody else keeps working
#[derive(Parser, Debug)]
#[command(name = "handover", version, propagate_version = true, max_term_width = 110)]
#[command(
    after_help = "Example:\n  handover cohort create pilot --migration invoice-reminders\n  handover cohort add pilot \
--file users.txt\n  handover launch pilot --limit 50\n  handover status pilot --watch\n\n\
Exit codes: 0 done, 1 failed, 2 bad usage or settings, 3 findings or users who failed, 4 not found, \
5 refused or not confirmed, 6 a server cannot be reached, 130 interrupted.\n\
Settings: config/handover.toml, then HANDOVER_SECTION__KEY from the environment (docs/configuration.md).\n\
Every command with its output and its JSON: docs/cli.md."
)]
pub(crate) struct Args {
    /// Settings file, in place of the one that HANDOVER_CONFIG names
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print results as JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Answer yes to every question
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Color {
    pub(crate) fn forced(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Create or update the schemas in the destination and in Identity's database, and register the plans
    #[command(
        after_help = "Example:\n  handover init\n\nRepeating it is harmless. A plan that has changed on disk is \
checked and registered anew; attempts in progress keep the plan they began with.\n\nWith --print-roles nothing is \
done but to print, as SQL, the roles that handover needs:\n  handover init --print-roles > roles.sql"
    )]
    Init(InitArgs),
    /// Examine settings, servers, roles and gates, and tell what is unsafe and how to mend it
    #[command(
        after_help = "Examples:\n  handover doctor\n  handover doctor --json | jq 'select(.level != \"ok\")'\n\nIt \
changes nothing. Exits with 3 where there are errors; warnings are none."
    )]
    Doctor,
    /// Check and show plans
    #[command(subcommand, after_help = "Example:\n  handover plan check")]
    Plan(PlanCommand),
    /// Make cohorts and choose their users
    #[command(subcommand, after_help = "Example:\n  handover cohort add pilot --file users.txt")]
    Cohort(CohortCommand),
    /// Start a cohort's users on their way
    #[command(
        after_help = "Examples:\n  handover launch pilot --limit 50\n  handover launch pilot --watch\n\nLaunching \
again does nothing to users who were launched before. A plan on disk that is not the registered one is warned of."
    )]
    Launch(LaunchArgs),
    /// Show how far cohorts have come
    #[command(
        after_help = "Examples:\n  handover status\n  handover status pilot --watch\n  handover status pilot --json \
| jq .users.completed\n\nWith --watch it ends once nobody is queued or on the way, with 3 where users have failed."
    )]
    Status(StatusArgs),
    /// Begin nobody new of a cohort; users on their way finish
    #[command(after_help = "Example:\n  handover hold pilot --reason \"invoices look odd\"")]
    Hold(HoldArgs),
    /// Let a held cohort go on
    #[command(after_help = "Example:\n  handover release pilot")]
    Release(CohortArg),
    /// Take a cohort's queued users back to where they were; users on their way finish
    #[command(
        after_help = "Example:\n  handover cancel pilot --yes\n\nRollbacks that were asked for and have not begun are \
forgotten too."
    )]
    Cancel(CohortArg),
    /// Queue a cohort's failed users again
    #[command(
        after_help = "Examples:\n  handover retry pilot\n  handover retry pilot 42 43\n  handover retry pilot --rolled-back"
    )]
    Retry(RetryArgs),
    /// Take completed users back to legacy, if neither side has changed since, or with their changes
    #[command(
        after_help = "Examples:\n  handover rollback pilot 42 43\n  handover rollback pilot --file users.txt\n  \
handover rollback pilot --all --yes --watch\n  handover rollback pilot 42 --carry-back\n\n\
It asks first; where no terminal can answer, --yes must."
    )]
    Rollback(RollbackArgs),
    /// Look at one user
    #[command(subcommand, after_help = "Example:\n  handover user show 42")]
    User(UserCommand),
    /// Show what the queues hold and who works on them
    #[command(after_help = "Example:\n  handover queues")]
    Queues,
    /// Look at, retry or drop jobs that were given up
    #[command(subcommand, after_help = "Example:\n  handover dead list")]
    Dead(DeadCommand),
    /// Install, remove or show the database fence, which refuses writes behind a pause
    #[command(subcommand, after_help = "Example:\n  handover fence install invoice-reminders")]
    Fence(FenceCommand),
    /// Ask Identity, enter sign-ups, rebuild or verify the mirror
    #[command(subcommand, after_help = "Example:\n  handover identity get 42")]
    Identity(IdentityCommand),
    /// Look for writes that escaped to legacy after users had moved
    #[command(
        after_help = "Examples:\n  handover audit pilot\n  handover audit pilot --sample 500 --json\n\n\
It hashes the legacy rows of completed users once more; they must be as they were when each moved. Exits with 3 where they \
are not, with the rows named. To be run some time after a cohort has moved, and again."
    )]
    Audit(AuditArgs),
    /// Print the SQL by which users' digests can be recomputed in psql, without handover
    #[command(
        after_help = "Example:\n  handover audit-sql invoice-reminders 42 --side source | psql \"$REPLICA_URL\"\n\n\
What it prints holds the attempt's secret key: pipe it, and do not keep it."
    )]
    AuditSql(AuditSqlArgs),
    /// Print a shell completion script
    #[command(after_help = "Example:\n  handover completions bash > /etc/bash_completion.d/handover")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Move users of a worked example on private throw-away servers, and show it
    #[command(
        after_help = "Examples:\n  handover demo\n  handover demo --users 20000\n  handover demo --users 200 --keep"
    )]
    Demo(DemoArgs),
}

#[derive(ClapArgs, Debug)]
pub(crate) struct InitArgs {
    /// Register the plans without checking them against the databases
    #[arg(long)]
    pub(crate) no_check: bool,
    /// Print the SQL that makes the roles which handover needs, and do nothing
    #[arg(long, conflicts_with = "no_check")]
    pub(crate) print_roles: bool,
    /// The role's name in that SQL
    #[arg(long, requires = "print_roles", default_value = "handover", value_name = "NAME")]
    pub(crate) role: String,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CohortArg {
    /// The cohort's name
    pub(crate) cohort: String,
}

#[derive(Subcommand, Debug)]
pub(crate) enum PlanCommand {
    /// Prove a plan against the live databases
    #[command(
        after_help = "Examples:\n  handover plan check config/plans/invoice-reminders\n  handover plan check   \
(every plan in the plans folder)\n\nExits with 3 where there are errors."
    )]
    Check {
        /// The plan's folder; every plan in the plans folder where none is given
        folder: Option<PathBuf>,
        /// Only read the files; connect to nothing
        #[arg(long)]
        offline: bool,
    },
    /// Show what a plan moves
    #[command(after_help = "Example:\n  handover plan show config/plans/invoice-reminders")]
    Show {
        /// The plan's folder
        folder: PathBuf,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum CohortCommand {
    /// Make an empty cohort
    #[command(after_help = "Example:\n  handover cohort create pilot --migration invoice-reminders")]
    Create {
        /// Its name, unique in the installation
        cohort: String,
        /// The migration that its users pass through
        #[arg(long, short)]
        migration: String,
    },
    /// Add users to a cohort
    #[command(
        after_help = "Examples:\n  handover cohort add pilot 42 43\n  handover cohort add pilot --file users.txt\n  \
psql -Atc 'select id from users' | handover cohort add pilot --file -\n\nA file is added whole or not at all. \
Repeated users, users of another cohort and users born on the new system are reported and left out."
    )]
    Add {
        /// The cohort's name
        cohort: String,
        #[command(flatten)]
        users: UserArgs,
    },
    /// Remove users who were never launched
    #[command(after_help = "Example:\n  handover cohort remove pilot 42")]
    Remove {
        /// The cohort's name
        cohort: String,
        #[command(flatten)]
        users: UserArgs,
    },
    /// List the cohorts
    #[command(after_help = "Example:\n  handover cohort list")]
    List,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct LaunchArgs {
    /// The cohort's name
    pub(crate) cohort: String,
    /// Only so many users more, in the order they were added
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) limit: Option<i64>,
    /// Go on as `status --watch`
    #[arg(long, short)]
    pub(crate) watch: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct StatusArgs {
    /// The cohort's name; all cohorts where none is given
    pub(crate) cohort: Option<String>,
    /// Go on until everybody who was launched is done
    #[arg(long, short)]
    pub(crate) watch: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct HoldArgs {
    /// The cohort's name
    pub(crate) cohort: String,
    /// Why, for those who look at the status
    #[arg(long, default_value = "held by an operator")]
    pub(crate) reason: String,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RetryArgs {
    /// The cohort's name
    pub(crate) cohort: String,
    #[command(flatten)]
    pub(crate) users: UserArgs,
    /// Those who were rolled back, in place of those who failed
    #[arg(long)]
    pub(crate) rolled_back: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RollbackArgs {
    /// The cohort's name
    pub(crate) cohort: String,
    #[command(flatten)]
    pub(crate) users: UserArgs,
    /// Every completed user of the cohort
    #[arg(long, conflicts_with_all = ["users", "file"])]
    pub(crate) all: bool,
    /// Write what has changed on the new system back to legacy, by the plan's reverse load
    #[arg(long)]
    pub(crate) carry_back: bool,
    /// Wait until it is done, and tell who was refused
    #[arg(long, short)]
    pub(crate) watch: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum UserCommand {
    /// Show a user's state and attempts, in tracking and in Identity
    #[command(after_help = "Example:\n  handover user show 42")]
    Show {
        /// The user
        user: String,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum DeadCommand {
    /// List jobs that were given up, with their errors
    #[command(after_help = "Examples:\n  handover dead list\n  handover dead list copy --json")]
    List {
        /// The stage; all where none is given
        #[arg(value_parser = stage())]
        stage: Option<StageName>,
        /// How many of each stage
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Send the users of given-up jobs on their way again
    #[command(after_help = "Example:\n  handover dead retry copy")]
    Retry {
        /// The stage
        #[arg(value_parser = stage())]
        stage: StageName,
    },
    /// Forget given-up jobs; their users stay as they are
    #[command(after_help = "Example:\n  handover dead drop copy --yes")]
    Drop {
        /// The stage
        #[arg(value_parser = stage())]
        stage: StageName,
    },
}

/// Lists the stages in help and completions.
fn stage() -> impl TypedValueParser<Value = StageName> {
    PossibleValuesParser::new(StageName::ALL.map(StageName::as_str))
        .try_map(|word| word.parse::<StageName>().map_err(Unknown))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unknown(String);

#[derive(Subcommand, Debug)]
pub(crate) enum FenceCommand {
    /// Put the triggers on legacy's and the destination's tables, or bring them up to date
    #[command(after_help = "Examples:\n  handover fence install invoice-reminders\n  \
HANDOVER_LEGACY__PRIMARY_URL=postgres://owner@legacy/shop \\\n    \
handover fence install invoice-reminders --workers handover\n\n\
The role must own the plan's tables on both sides and may have to create the schema handover_fence there.\n\
The role that reads at the replica is granted what it needs; where that is not allowed, the statement is \
printed and the exit code is 3.\n\
Repeating it is harmless; run it again whenever the plan or a table has changed.")]
    Install {
        /// The migration
        migration: String,
        /// The workers' role, where it is another than this one: it is granted what pausing needs
        #[arg(long, value_name = "ROLE")]
        workers: Option<String>,
    },
    /// Take the triggers away; refused while users are paused
    #[command(after_help = "Example:\n  handover fence remove invoice-reminders --yes\n\n\
Switch fence.database off in all workers first. Users who have moved lose the protection.")]
    Remove {
        /// The migration
        migration: String,
    },
    /// Show whether the fence stands whole, and who is behind it
    #[command(
        after_help = "Example:\n  handover fence status invoice-reminders\n\nExits with 3 where it is incomplete, or absent although the \
stages use it."
    )]
    Status {
        /// The migration
        migration: String,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum IdentityCommand {
    /// Show where a user lives, from the truth and from the mirror
    #[command(after_help = "Example:\n  handover identity get 42")]
    Get {
        /// The user
        user: String,
    },
    /// Enter a sign-up that is born on the new system
    #[command(
        after_help = "Examples:\n  handover identity enroll 90001\n  handover identity enroll 90001 --migration invoice-reminders"
    )]
    Enroll {
        /// The user
        user: String,
        /// The migrations; every registered one where none is given
        #[arg(long, short)]
        migration: Vec<String>,
    },
    /// Write every user's state to the mirror again
    #[command(after_help = "Example:\n  handover identity rebuild-mirror")]
    RebuildMirror,
    /// Compare the mirror with the truth
    #[command(
        after_help = "Examples:\n  handover identity verify-mirror\n  handover identity verify-mirror --repair\n\n\
Exits with 3 where they differ and nothing was repaired. A missing field is harmless: it means \"ask Identity\"."
    )]
    VerifyMirror {
        /// Write what the truth says over every field that differs
        #[arg(long)]
        repair: bool,
    },
}

#[derive(ClapArgs, Debug)]
pub(crate) struct AuditArgs {
    /// The cohort's name
    pub(crate) cohort: String,
    /// Audit so many users, drawn at random, in place of all
    #[arg(long, value_name = "USERS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample: Option<u32>,
    /// Print the values of fields that differ. They may be personal
    #[arg(long)]
    pub(crate) values: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct AuditSqlArgs {
    /// The migration
    pub(crate) migration: String,
    /// The user
    pub(crate) user: String,
    /// Which database the SQL is for
    #[arg(long, value_enum)]
    pub(crate) side: Side,
}

/// Which side an audit query is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Side {
    /// The legacy replica, or its primary.
    Source,
    /// The new system.
    Destination,
}
