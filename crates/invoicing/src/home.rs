//! Where a user lives, in one feature: the one place at which the two sides meet.

use std::time::Duration;

use handover_gate::{Decision, JobGuard, Pass, Side};

use crate::app::App;
use crate::failure::Failure;
use crate::model::{NewReminder, Reminder, Settings, SettingsChange};
use crate::transaction::Transaction;
use crate::{legacy, new};

/// The gate's leave to work for a user: a request's decision, a job's guard, or a pass.
pub trait Leave {
    /// The side that serves the user in that migration.
    fn side(&self, migration: &str) -> Side;
    /// For how much longer.
    fn remaining(&self) -> Duration;
}

macro_rules! leave {
    ($($gate:ty),+) => {$(
        impl Leave for $gate {
            fn side(&self, migration: &str) -> Side {
                self.side(migration)
            }

            fn remaining(&self) -> Duration {
                self.remaining()
            }
        }
    )+};
}
leave!(Decision, JobGuard, Pass);

/// A transaction at a user's home, for as long as the leave lasts.
pub struct Home {
    side: Side,
    transaction: Transaction,
}

impl Home {
    /// The user's home in that migration, by the gate's decision.
    pub async fn open(app: &App, leave: &impl Leave, migration: &str) -> Result<Self, Failure> {
        let side = leave.side(migration);
        let pool = match side {
            Side::Legacy => &app.legacy,
            Side::New => &app.new,
        };
        Ok(Self { side, transaction: Transaction::begin(pool, leave).await? })
    }

    /// Where it is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Commits what was written here. Nothing was, if this is not called or fails (but for [`Failure::Unknown`]).
    pub async fn commit(self) -> Result<(), Failure> {
        self.transaction.commit().await
    }
}

/// Both sides have each of these functions, over their own tables.
macro_rules! on_both_sides {
    ($($(#[$doc:meta])* $name:ident($($value:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Home {$(
            $(#[$doc])*
            pub async fn $name(&mut self, $($value: $type),*) -> Result<$result, Failure> {
                match self.side {
                    Side::Legacy => legacy::$name(&mut self.transaction, $($value),*).await,
                    Side::New => new::$name(&mut self.transaction, $($value),*).await,
                }
            }
        )+}
    };
}

on_both_sides! {
    /// All reminders of a user, oldest first.
    reminders(user: i64) -> Vec<Reminder>;
    /// Adds a reminder about one of the user's invoices; its id.
    add_reminder(user: i64, invoice: i64, asked: &NewReminder) -> i64;
    /// Appends a line to a reminder's text.
    add_note(user: i64, reminder: i64, note: &str) -> ();
    /// Removes a reminder, as this side does it.
    remove_reminder(user: i64, reminder: i64) -> ();
    /// Sends the user's due reminders, each once: notes that it is sent, and switches it off. Their ids.
    send_due(user: i64, stale_after: Duration) -> Vec<i64>;
    /// The user's settings, where there are any.
    settings(user: i64) -> Option<Settings>;
    /// Changes the user's settings, or makes them.
    change_settings(user: i64, change: &SettingsChange) -> ();
}
