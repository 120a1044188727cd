//! Armed faults: real processes are killed, stopped and failed at their points, and tests hold and mutate their own.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use handover_fault::{Injected, Mutant, Scope, mutated, point};

/// Cargo builds a package's examples before it runs the package's tests.
fn program() -> Command {
    let mut program = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    program.push("examples/crash");
    Command::new(program)
}

fn crash(faults: &str, mutants: &str) -> Output {
    program().env("HANDOVER_FAULT", faults).env("HANDOVER_MUTANT", mutants).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_process_is_killed_at_the_ordered_time_of_passing() {
    let output = crash("crash.second=kill@2", "");
    assert_eq!(output.status.signal(), Some(9));
    assert_eq!(said(&output), "before 1 false\nafter 1\nbefore 2 false\n");
}

#[test]
fn a_process_fails_or_stalls_where_it_is_told_to() {
    let output = crash("crash.first=error@3", "");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).ends_with("before 3 false\n"), "{}", said(&output));

    let before = Instant::now();
    let output = crash("crash.first=stall:150ms@1;crash.second=stall:150ms@1", "no-lease");
    assert!(output.status.success() && before.elapsed() >= Duration::from_millis(300));
    assert!(said(&output).ends_with("before 3 true\nafter 3\n"), "{}", said(&output));
}

#[test]
fn a_strike_is_on_record_before_it_strikes() {
    let path = std::env::temp_dir().join(format!("handover-strikes-{}", std::process::id()));
    let mut command = program();
    command.env("HANDOVER_FAULT", "crash.first=stall:1ms@1;crash.second=kill@2");
    let status = command.env("HANDOVER_FAULT_STRIKES", &path).output().unwrap().status;
    assert_eq!(status.signal(), Some(9));
    let record = std::fs::read_to_string(&path).unwrap();
    let strikes: Vec<&str> = record.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(strikes, ["crash.first=stall:1ms", "crash.second=kill"]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_schedule_or_mutant_that_cannot_be_read_is_no_run_without_faults() {
    assert!(!crash("crash.first=explode", "").status.success());
    assert!(!crash("", "no-lunch").status.success());
}

#[tokio::test]
async fn a_scope_mutates_and_its_end_heals() {
    let scope = Scope::enter().await;
    scope.mutate(Mutant::NoDrain);
    scope.mutate(Mutant::NoLease);
    scope.heal(Mutant::NoLease);
    assert!(mutated(Mutant::NoDrain) && !mutated(Mutant::NoLease));
    drop(scope);
    let _next = Scope::enter().await;
    assert!(!mutated(Mutant::NoDrain));
}

#[tokio::test]
async fn a_held_point_tells_that_it_is_reached_and_goes_on_when_released() {
    let scope = Scope::enter().await;
    let hold = scope.hold("held");
    let passing = tokio::spawn(point("held"));
    let passing_too = tokio::spawn(point("held"));
    hold.reached_times(2).await;
    assert!(!passing.is_finished() && hold.times() == 2);
    assert_eq!(point("elsewhere").await, Ok::<(), Injected>(()));
    hold.release();
    assert_eq!(passing.await.unwrap(), Ok(()));
    assert_eq!(passing_too.await.unwrap(), Ok(()));
    assert_eq!(point("held").await, Ok(()));
}

#[tokio::test]
async fn a_scope_that_ends_lets_all_go() {
    let scope = Scope::enter().await;
    let hold = scope.hold("forgotten");
    let passing = tokio::spawn(point("forgotten"));
    hold.reached().await;
    drop(scope);
    assert_eq!(passing.await.unwrap(), Ok(()));
    drop(hold);
}
