//! Progress bars: one a stage, with rate and time left. Where there is no terminal, a line every few seconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use handover_tracking::{Status, StatusCounts};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// The stages' bars.
pub(crate) struct Bars {
    all: MultiProgress,
    stages: [ProgressBar; 4],
    plain: bool,
    quiet: bool,
    last_line: Mutex<Option<Instant>>,
    below: Mutex<Option<(ProgressBar, String)>>,
}

impl Bars {
    /// Bars on standard error; `quiet` shows nothing but plain lines where there is no terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let plain = !console::user_attended_stderr();
        let stages = ["pause", "copy", "verify", "complete"]
            .map(|stage| all.add(ProgressBar::new(0)).with_prefix(stage).with_style(style()));
        Self { all, stages, plain, quiet, last_line: Mutex::new(None), below: Mutex::default() }
    }

    /// Moves the bars.
    pub(crate) fn show(&self, statuses: &[Status]) {
        let users = sum(statuses);
        if self.plain {
            return self.line(&users, statuses);
        }
        let total = users.total() - users.not_started;
        let done = users.completed + users.failed + users.rolled_back + users.skipped + users.rolling_back;
        let proven = done + users.completing + users.failing;
        let copied = proven + users.verifying;
        let paused = copied + users.copying;
        let inside = [users.pausing, users.copying, users.verifying, users.completing];
        for ((bar, passed), inside) in self.stages.iter().zip([paused, copied, proven, done]).zip(inside) {
            bar.set_length(total.max(0) as u64);
            bar.set_position(passed.max(0) as u64);
            bar.set_message(format!("{inside} in it"));
        }
    }

    /// A line under the bars, or at the end of the plain one.
    pub(crate) fn below(&self, text: String) {
        let mut below = self.below.lock().unwrap_or_else(PoisonError::into_inner);
        let (bar, kept) = below.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            (self.all.add(ProgressBar::new(0)).with_style(style), String::new())
        });
        bar.set_message(text.clone());
        *kept = text;
    }

    fn line(&self, users: &StatusCounts, statuses: &[Status]) {
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if self.quiet || last.is_some_and(|at| at.elapsed() < LINE_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        let rate: f64 = statuses.iter().map(|status| status.users_per_second).sum();
        let below = self.below.lock().unwrap_or_else(PoisonError::into_inner);
        let below = below.as_ref().map(|(_, text)| format!("; {}", text.trim_start()));
        output::say(&format!(
            "{} queued, {} paused, {} completed, {} failed, {} rolled back; {rate:.0} users/s{}",
            users.queued,
            users.paused(),
            users.completed,
            users.failed,
            users.rolled_back,
            below.unwrap_or_default()
        ));
    }

    /// Takes the bars away; what is printed next stands in their place.
    pub(crate) fn clear(&self) {
        // Each by itself: one that is not finished is drawn once more when it is dropped.
        self.stages.iter().for_each(ProgressBar::finish_and_clear);
        if let Some((bar, _)) = &*self.below.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.finish_and_clear();
        }
        // A terminal that cannot be cleared shows the bars for longer.
        let _ = self.all.clear();
    }
}

/// A bar as wide as the terminal leaves room for, with users passed, rate, time left and users inside.
pub(crate) fn style() -> ProgressStyle {
    let template = "{prefix:>9} {wide_bar:.cyan/dim} {pos:>7}/{len} {rate:>8} {eta:>4} {msg}";
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // A bar without its rate is no reason to stop.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", rate)
}

fn sum(statuses: &[Status]) -> StatusCounts {
    let mut all = StatusCounts::default();
    for status in statuses {
        let users = &status.users;
        all.not_started += users.not_started;
        all.queued += users.queued;
        all.pausing += users.pausing;
        all.copying += users.copying;
        all.verifying += users.verifying;
        all.completing += users.completing;
        all.completed += users.completed;
        all.failing += users.failing;
        all.failed += users.failed;
        all.rolling_back += users.rolling_back;
        all.rolled_back += users.rolled_back;
        all.skipped += users.skipped;
    }
    all
}
