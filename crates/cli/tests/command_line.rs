//! The program as it is started: help, usage errors, exit codes, completions, offline checks, and that the
//! documentation knows every command. Nothing here needs a server; what does is tested end to end elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The program in an empty folder and an environment without settings.
fn handover(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handover"));
    command.args(arguments).env_clear().current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    handover(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The subcommands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = section.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let names = lines.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Every command and subcommand with its help, from the program downwards.
fn tree() -> Vec<(Vec<String>, String)> {
    let (mut found, mut open) = (Vec::new(), vec![Vec::new()]);
    while let Some(path) = open.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = run(&arguments);
        assert_eq!(code(&output), 0, "{arguments:?}");
        let help = text(&output.stdout);
        open.extend(listed(&help).into_iter().map(|name| [path.clone(), vec![name]].concat()));
        found.push((path, help));
    }
    found
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let tree = tree();
    assert!(tree.len() > 30, "only {} commands were found", tree.len());
    for (path, help) in tree {
        assert!(help.contains("\nExample"), "`handover {} --help` has no example", path.join(" "));
    }
}

#[test]
fn the_documentation_knows_every_command() {
    let docs = std::fs::read_to_string(root().join("docs/cli.md")).unwrap();
    for (path, _) in tree() {
        let command = format!("handover {}", path.join(" "));
        assert!(docs.contains(command.trim_end()), "docs/cli.md does not name `{command}`");
    }
}

#[test]
fn what_cannot_be_understood_exits_with_2() {
    let lines: [&[&str]; 9] = [
        &[],
        &["frobnicate"],
        &["launch"],
        &["launch", "pilot", "--limit", "0"],
        &["rollback", "pilot", "--all", "42"],
        &["dead", "retry", "nowhere"],
        &["completions", "tcsh"],
        &["plan", "check", "--offline", "no-such-folder"],
        &["status", "--config", "no-such-file.toml"],
    ];
    for line in lines {
        let output = run(line);
        assert_eq!(code(&output), 2, "{line:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{line:?} writes to standard output");
    }
}

#[test]
fn all_missing_settings_are_named_at_once() {
    let output = run(&["init"]);
    assert_eq!(code(&output), 2);
    let error = text(&output.stderr);
    for variable in ["HANDOVER_LEGACY__PRIMARY_URL", "HANDOVER_DESTINATION__URL", "HANDOVER_IDENTITY__URL"] {
        assert!(error.contains(variable), "{error}");
    }
}

#[test]
fn a_command_without_users_exits_with_2_before_it_connects() {
    for line in [&["cohort", "add", "pilot"], &["cohort", "remove", "pilot"]] {
        let mut command = handover(line);
        command.env("HANDOVER_DESTINATION__URL", "postgres://127.0.0.1:1/x");
        command.env("HANDOVER_IDENTITY__URL", "postgres://127.0.0.1:1/x");
        let output = command.output().unwrap();
        assert_eq!(code(&output), 2, "{line:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("nobody was named"));
    }
}

#[test]
fn a_server_that_does_not_answer_exits_with_6_and_is_named_without_its_password() {
    let mut command = handover(&["status"]);
    command.env("HANDOVER_DESTINATION__URL", "postgres://me:s3cret@127.0.0.1:1/shop");
    let output = command.output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(code(&output), 6, "{error}");
    assert!(error.contains("127.0.0.1:1/shop, as HANDOVER_DESTINATION__URL says"), "{error}");
    assert!(!error.contains("s3cret") && !error.contains('\u{1b}'), "{error}");
    let output =
        handover(&["queues"]).env("HANDOVER_REDIS__URL", "redis://:s3cret@127.0.0.1:1").output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(code(&output), 6, "{error}");
    assert!(
        error.contains("127.0.0.1:1, as HANDOVER_REDIS__URL says") && !error.contains("s3cret"),
        "{error}"
    );
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}");
        let script = text(&output.stdout);
        assert!(script.contains("rebuild-mirror") && script.contains("verify"), "{shell} is not told all");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = handover(&["completions", "bash"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More than a pipe holds is written, so that the program finds it closed.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr).as_str()), (0, ""));
}

#[test]
fn both_example_plans_are_well_formed() {
    for name in ["invoice-reminders", "invoice-settings"] {
        let folder = root().join("config/plans").join(name);
        let output = run(&["plan", "check", "--offline", folder.to_str().unwrap()]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("is well formed"));
    }
}

/// A copy of an example plan with a line of nonsense on top of its `plan.toml`.
fn broken_plan() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(root().join("config/plans/invoice-settings")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("plan.toml");
    let plan = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("nonsense = 1\n{plan}")).unwrap();
    folder
}

#[test]
fn a_broken_plan_exits_with_3_and_names_file_and_line() {
    let plan = broken_plan();
    let folder = plan.path().to_str().unwrap();
    for line in [&["plan", "check", "--offline", folder][..], &["plan", "show", folder]] {
        let output = run(line);
        let error = text(&output.stderr);
        assert_eq!(code(&output), 3, "{line:?}: {error}");
        assert!(error.contains(&format!("{folder}/plan.toml:1:1: error:")), "{line:?}: {error}");
        assert!(error.contains("remedy:"), "{line:?}: {error}");
    }
}

#[test]
fn findings_are_one_json_object_a_plan() {
    let plan = broken_plan();
    let output = run(&["plan", "check", "--offline", "--json", plan.path().to_str().unwrap()]);
    assert_eq!(code(&output), 3);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&value["ok"], &value["offline"]), (&false.into(), &true.into()));
    assert_eq!(
        (&value["findings"][0]["file"], &value["findings"][0]["line"]),
        (&"plan.toml".into(), &1.into())
    );
}
