//! One client: chooses, asks, and notes what it was told.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::book::{Expected, Listed};
use crate::client::{Ask, Body, Told};
use crate::number::Mark;
use crate::record::{self, Kind, Outcome, Record, Side};

use super::{Shared, Temper};

/// Numbers of one client: so many requests it may make.
const NUMBERS: u64 = 10_000_000;

/// One client at work.
pub(super) struct Player {
    shared: Arc<Shared>,
    client: u32,
    every: Duration,
    sign_ups: bool,
    rng: fastrand::Rng,
    asked: u64,
}

impl Player {
    /// A client who asks every so many seconds.
    pub(super) fn new(shared: Arc<Shared>, client: u32, every: f64, sign_ups: bool) -> Self {
        let seed = shared.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(client);
        let rng = fastrand::Rng::with_seed(seed);
        Self { shared, client, every: Duration::from_secs_f64(every), sign_ups, rng, asked: 0 }
    }

    /// Asks until the traffic is over.
    pub(super) async fn play(mut self) {
        // Spread, so that the clients do not all ask at once.
        let first = tokio::time::Instant::now() + self.every.mul_f64(self.rng.f64());
        let mut ticks = tokio::time::interval_at(first, self.every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = self.shared.over.clone();
        while over.run_until_cancelled(ticks.tick()).await.is_some() {
            self.once().await;
        }
    }

    /// One request. What is drawn does not depend on what was answered: the seed fixes it.
    async fn once(&mut self) {
        let (user, kind, web) = (self.rng.u64(..), self.rng.u32(..100), self.rng.u8(..3) == 0);
        let (choice, target, due) = (self.rng.u64(..), self.rng.u64(..), self.rng.u64(200..6_000));
        self.asked += 1;
        let Some(url) = self.shared.targets.pick(target) else { return };
        let Some(user) = self.user(user) else { return };
        let mut record = self.record(user, web);
        record.kind = self.kind(user, kind);
        match record.kind {
            Kind::Create if choice.is_multiple_of(3) => record.due_in_ms = Some(due),
            Kind::Note | Kind::Delete => {
                let chosen = self.shared.book.reminder(user, choice);
                (record.reminder, record.made_by) = (chosen.map(|it| it.0), chosen.and_then(|it| it.1));
                if record.reminder.is_none() {
                    record.kind = Kind::ReadReminders;
                }
            }
            Kind::SignUp => record.user = 0,
            _ => {}
        }
        // What browsers have no form for is asked by a script.
        record.web &= matches!(record.kind, Kind::Create | Kind::Footer | Kind::ReadReminders);
        self.ask(&url, record).await;
    }

    fn user(&self, choice: u64) -> Option<i64> {
        let favoured = self.shared.favoured.read().unwrap_or_else(PoisonError::into_inner);
        let all = self.shared.users.read().unwrap_or_else(PoisonError::into_inner);
        let users = if choice.is_multiple_of(3) && !favoured.is_empty() { favoured } else { all };
        let nth = (choice / 3).checked_rem(users.len() as u64)?;
        users.get(nth as usize).copied()
    }

    fn kind(&self, user: i64, choice: u32) -> Kind {
        let writes = Temper::of(user, self.shared.seed).writes(self.shared.began.elapsed());
        match choice {
            0 if self.sign_ups => Kind::SignUp,
            _ if !writes && choice < 70 => Kind::ReadReminders,
            _ if !writes => Kind::ReadSettings,
            0..22 => Kind::Create,
            22..52 => Kind::Note,
            52..57 => Kind::Delete,
            57..70 => Kind::Footer,
            70..90 => Kind::ReadReminders,
            _ => Kind::ReadSettings,
        }
    }

    fn record(&self, user: i64, web: bool) -> Record {
        Record {
            client: self.client,
            number: u64::from(self.client) * NUMBERS + self.asked,
            user,
            kind: Kind::ReadReminders,
            web,
            reminder: None,
            made_by: None,
            due_in_ms: None,
            sent: 0,
            answered: 0,
            status: None,
            outcome: Outcome::NotSent,
            served_by: None,
            missed: Vec::new(),
        }
    }

    async fn ask(&self, url: &str, mut record: Record) {
        let book = &self.shared.book;
        let ask = ask(&record);
        let expected =
            if record.kind == Kind::ReadReminders { book.expected(record.user) } else { Expected::default() };
        book.sending(&record);
        record.sent = record::now();
        let told = self.shared.http.ask(url, &ask).await;
        record.answered = record::now().max(record.sent);
        record.outcome = told.outcome;
        record.status = told.status;
        record.served_by = served_by(&record, &told);
        if record.outcome == Outcome::Acknowledged && !record.web {
            self.read(&mut record, &told, &expected);
        }
        book.answered(&mut record);
        self.shared.tally.add(&record);
        if let Err(error) = self.shared.history.append(&record) {
            // A run whose history has a hole cannot be judged: it must not go on.
            self.shared.over.cancel();
            eprintln!("the history cannot be written: {error}");
        }
    }

    /// Reads an answer in JSON: what was made, and whether it shows what it must.
    fn read(&self, record: &mut Record, told: &Told, expected: &Expected) {
        let Ok(mut body) = serde_json::from_slice::<Value>(&told.body) else { return };
        match record.kind {
            Kind::Create => record.reminder = body["id"].as_i64(),
            Kind::SignUp => {
                record.user = body["user"].as_i64().unwrap_or(0);
                if record.user > 0 {
                    self.shared.users.write().unwrap_or_else(PoisonError::into_inner).push(record.user);
                }
            }
            Kind::ReadReminders => {
                let list: Result<Vec<Listed>, _> = serde_json::from_value(body["reminders"].take());
                if let Ok(list) = list {
                    record.missed = self.shared.book.listed(record.user, expected, &list);
                }
            }
            Kind::ReadSettings => {
                let footer = body["footer"].as_str().unwrap_or_default();
                let value = Mark::Footer.find(footer).first().copied();
                if !self.shared.book.footer_may_be(record.user, value, record.sent, record.answered) {
                    record.missed.push(value.unwrap_or(0));
                }
            }
            Kind::Note | Kind::Delete | Kind::Footer => {}
        }
    }
}

/// The side that served; without the header, what the JSON body says.
fn served_by(record: &Record, told: &Told) -> Option<Side> {
    let part = record.kind.migration()?.trim_start_matches("invoice-");
    told.served_by(part).or_else(|| {
        let body: Value = serde_json::from_slice(&told.body).ok()?;
        serde_json::from_value(body.get("served_by")?.clone()).ok()
    })
}

/// The request that a record is of.
fn ask(record: &Record) -> Ask {
    let (user, number) = (record.user, record.number);
    let made = Mark::Made.text(number);
    let reminder = record.reminder.unwrap_or_default();
    let (method, path, body) = match (record.kind, record.web) {
        (Kind::Create, false) => {
            let mut body =
                json!({ "subject": format!("Reminder {made}"), "body": format!("Dear customer {made}") });
            if let Some(due) = record.due_in_ms {
                body["due_in_ms"] = due.into();
            }
            if number.is_multiple_of(4) {
                body["recipients"] = json!([format!("customer.{number}@example.com")]);
            }
            (Method::POST, format!("/api/users/{user}/reminders"), Body::Json(body))
        }
        (Kind::Create, true) => {
            let mut fields =
                vec![("subject", format!("Reminder {made}")), ("body", format!("Dear customer {made}"))];
            fields.extend(record.due_in_ms.map(|due| ("due_in_seconds", (due / 1_000).to_string())));
            (Method::POST, format!("/users/{user}/reminders"), Body::Form(fields))
        }
        (Kind::Note, _) => {
            let body = json!({ "note": format!("Note {}", Mark::Note.text(number)) });
            (Method::POST, format!("/api/users/{user}/reminders/{reminder}/notes"), Body::Json(body))
        }
        (Kind::Delete, _) => {
            (Method::DELETE, format!("/api/users/{user}/reminders/{reminder}"), Body::Nothing)
        }
        (Kind::Footer, false) => {
            let body = json!({ "footer": format!("Footer {}", Mark::Footer.text(number)) });
            (Method::PUT, format!("/api/users/{user}/settings"), Body::Json(body))
        }
        (Kind::Footer, true) => {
            let fields = vec![("footer", format!("Footer {}", Mark::Footer.text(number)))];
            (Method::POST, format!("/users/{user}/settings"), Body::Form(fields))
        }
        (Kind::SignUp, _) => {
            let body = json!({ "name": format!("New {}", Mark::User.text(number)) });
            (Method::POST, "/api/users".to_owned(), Body::Json(body))
        }
        (Kind::ReadReminders, false) => (Method::GET, format!("/api/users/{user}/reminders"), Body::Nothing),
        (Kind::ReadReminders, true) => (Method::GET, format!("/users/{user}"), Body::Nothing),
        (Kind::ReadSettings, _) => (Method::GET, format!("/api/users/{user}/settings"), Body::Nothing),
    };
    Ask { method, path, body, web: record.web }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_carries_its_number_and_a_reminder_carries_it_twice() {
        let mut record = Record {
            client: 1,
            number: 10_000_004,
            user: 5,
            kind: Kind::Create,
            web: false,
            reminder: None,
            made_by: None,
            due_in_ms: Some(300),
            sent: 0,
            answered: 0,
            status: None,
            outcome: Outcome::NotSent,
            served_by: None,
            missed: Vec::new(),
        };
        let Ask { path, body: Body::Json(body), .. } = ask(&record) else { panic!("JSON") };
        assert_eq!(path, "/api/users/5/reminders");
        assert_eq!(Mark::Made.find(body["subject"].as_str().unwrap()), [10_000_004]);
        assert_eq!(Mark::Made.find(body["body"].as_str().unwrap()), [10_000_004]);
        assert_eq!(body["due_in_ms"], 300);
        (record.kind, record.reminder) = (Kind::Note, Some(9));
        let Ask { path, .. } = ask(&record);
        assert_eq!(path, "/api/users/5/reminders/9/notes");
    }
}
