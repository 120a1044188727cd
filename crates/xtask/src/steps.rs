//! Named, timed steps: all are run, and the failures are listed at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What a step that did not fail came to.
pub(crate) enum Outcome {
    /// It held.
    Passed,
    /// It was not run, for this reason.
    Skipped(String),
}

/// The steps done so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    result: Result<Outcome>,
}

impl Steps {
    /// Runs one step. A failure is kept for the end, so that one run shows all of them.
    pub(crate) fn run(&mut self, name: &'static str, work: impl FnOnce() -> Result<Outcome>) {
        eprintln!("── {name}");
        let began = Instant::now();
        let result = work();
        let step = Step { name, took: began.elapsed(), result };
        eprintln!("{}", step.line());
        self.done.push(step);
    }

    /// Lists every step with its time, then says whether all of them held.
    pub(crate) fn finish(self) -> ExitCode {
        eprintln!("──");
        for step in &self.done {
            eprintln!("{}", step.line());
        }
        let failed: Vec<_> =
            self.done.iter().filter(|step| step.result.is_err()).map(|step| step.name).collect();
        if failed.is_empty() {
            return ExitCode::SUCCESS;
        }
        eprintln!("{} of {} steps failed: {}", failed.len(), self.done.len(), failed.join(", "));
        ExitCode::FAILURE
    }
}

impl Step {
    fn line(&self) -> String {
        let seconds = self.took.as_secs_f64();
        match &self.result {
            Ok(Outcome::Passed) => format!("   ok      {seconds:7.1} s  {}", self.name),
            Ok(Outcome::Skipped(why)) => format!("   SKIPPED {seconds:7.1} s  {}: {why}", self.name),
            Err(error) => format!("   FAILED  {seconds:7.1} s  {}: {error:#}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_runs_though_one_before_it_failed() {
        let mut steps = Steps::default();
        let mut later = false;
        steps.run("first", || anyhow::bail!("broken"));
        steps.run("second", || {
            later = true;
            Ok(Outcome::Passed)
        });
        assert!(later);
        assert_eq!(steps.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn a_skipped_step_says_why_and_does_not_fail() {
        let mut steps = Steps::default();
        steps.run("only", || Ok(Outcome::Skipped("no network".into())));
        assert!(steps.done[0].line().ends_with("only: no network"));
        assert_eq!(steps.finish(), ExitCode::SUCCESS);
    }
}
