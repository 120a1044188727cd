//! Servers that the tests share, a database for each test, and the worked example's legacy schema in it with
//! a few users: user N has invoice N, reminder N, recipient N and settings N.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use handover_fence::{Raise, UserVersion, install, raise};
use handover_plan::Plan;
use handover_postgres::{Connection, Database};
use handover_sandbox::{Options, Sandbox, Server, example};
use secrecy::SecretString;
use tokio::sync::Mutex;

/// The servers live as long as any test holds them, and end with the last one: a static is never dropped.
static SHARED: Mutex<Weak<Sandbox>> = Mutex::const_new(Weak::new());

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) const REMINDERS: &str = "invoice-reminders";
pub(crate) const SETTINGS: &str = "invoice-settings";

/// Long enough on a busy machine; no test that passes waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn sandbox() -> Arc<Sandbox> {
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(Sandbox::start(Options::default()).await.expect("the test's servers start"));
    *shared = Arc::downgrade(&started);
    started
}

/// One test's legacy database.
pub(crate) struct Stage {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Stage {
    /// An empty database.
    pub(crate) async fn empty() -> Self {
        let sandbox = sandbox().await;
        let name = format!("fence_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = sandbox.create_database(Server::Legacy, &name).await.expect("a database");
        Self { sandbox, url, name }
    }

    /// The example with users 1 to 6, and the fence of the reminders installed.
    pub(crate) async fn fenced() -> Self {
        let stage = Self::example().await;
        install(&mut stage.connect().await, &plan(REMINDERS)).await.expect("the fence is installed");
        stage
    }

    /// The example with users 1 to 6.
    pub(crate) async fn example() -> Self {
        let stage = Self::empty().await;
        let client = stage.connect().await;
        client.batch_execute(example::LEGACY_SCHEMA).await.expect("the example's schema");
        client.batch_execute(FEW_USERS).await.expect("a few users");
        stage
    }

    pub(crate) async fn connect(&self) -> Connection {
        connect(&self.url).await
    }

    /// Fences users at once, where nobody writes.
    pub(crate) async fn pause(&self, migration: &str, users: &[(&str, i64)]) {
        let users = users_of(users);
        let raised = raise(&mut self.connect().await, migration, &users, PATIENCE).await.expect("raised");
        assert_eq!(raised, vec![Raise::Raised; users.len()]);
    }

    /// Fences users at once, and settles them.
    pub(crate) async fn moved(&self, migration: &str, users: &[(&str, i64)]) {
        self.pause(migration, users).await;
        let mut connection = self.connect().await;
        handover_fence::settle(&mut connection, migration, &users_of(users)).await.expect("settled");
    }
}

pub(crate) async fn connect(url: &str) -> Connection {
    let database = Database::new("legacy primary", &SecretString::from(url.to_owned())).expect("the URL");
    database.connect().await.expect("the server answers")
}

pub(crate) fn users_of(users: &[(&str, i64)]) -> Vec<UserVersion> {
    users.iter().map(|(user, version)| ((*user).to_owned(), *version)).collect()
}

/// One of the example's plans.
pub(crate) fn plan(name: &str) -> Plan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/plans").join(name);
    Plan::load(&folder).expect("the example's plan")
}

/// The SQLSTATE and the text with which a statement failed.
pub(crate) async fn refusal(connection: &Connection, sql: &str) -> (String, String) {
    match connection.batch_execute(sql).await {
        Ok(()) => panic!("let through: {sql}"),
        Err(error) => {
            let error = error.as_db_error().expect("the server's answer");
            (error.code().code().to_owned(), error.message().to_owned())
        }
    }
}

/// The SQLSTATE with which a statement failed, or `ok`.
pub(crate) async fn code(connection: &Connection, sql: &str) -> String {
    match connection.batch_execute(sql).await {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

/// Waits until a user's fence row is there, drained or not.
pub(crate) async fn row_of(stage: &Stage, user: &str) {
    let connection = stage.connect().await;
    let sql = "SELECT EXISTS (SELECT FROM handover_fence.fenced WHERE user_key = $1)";
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while !connection.query_one(sql, &[&user]).await.expect("a look").get::<_, bool>(0) {
        looks.tick().await;
    }
}

/// Raises in the background.
pub(crate) async fn raising(
    stage: &Stage,
    users: &[(&str, i64)],
    patience: Duration,
) -> tokio::task::JoinHandle<Vec<Raise>> {
    let (mut connection, users) = (stage.connect().await, users_of(users));
    tokio::spawn(async move { raise(&mut connection, REMINDERS, &users, patience).await.expect("raised") })
}

pub(crate) const FEW_USERS: &str = "
    INSERT INTO shop.auth_user (password, is_superuser, username, email, is_active, date_joined)
        SELECT '', false, 'u' || n, '', true, '2020-01-01' FROM generate_series(1, 6) n;
    INSERT INTO shop.invoice (owner_id, number, customer_name, status, total, issued_on, created_at)
        SELECT n, n, '', 1, 1, '2020-01-01', '2020-01-01' FROM generate_series(1, 6) n;
    INSERT INTO shop.invoice_reminder
            (invoice_id, kind, days_offset, zone, subject, body, created_at, modified_at)
        SELECT n, 1, 0, 'UTC', '', '', '2020-01-01', '2020-01-01' FROM generate_series(1, 6) n;
    INSERT INTO shop.reminder_recipient (reminder_id, email) SELECT n, '' FROM generate_series(1, 6) n;
    INSERT INTO shop.invoice_settings (user_id, numbering, tax_mode, currency, logo_scale, attach_pdf, due_days,
            send_time, zone, footer, preferences, modified_at)
        SELECT n, 0, 1, 'EUR', 1, true, 1, '08:00', 'UTC', '', '{}', '2020-01-01' FROM generate_series(1, 6) n;
";

/// A reminder for the invoice of that number.
pub(crate) fn new_reminder(invoice: i64) -> String {
    format!(
        "INSERT INTO shop.invoice_reminder
             (invoice_id, kind, days_offset, zone, subject, body, created_at, modified_at)
         VALUES ({invoice}, 1, 0, 'UTC', 'new', '', now(), now())"
    )
}

/// An invoice of that user, with an id where one is given.
pub(crate) fn new_invoice(id: &str, owner: i64) -> String {
    format!(
        "INSERT INTO shop.invoice (id, owner_id, number, customer_name, status, total, issued_on, created_at)
         VALUES ({id}, {owner}, '', '', 1, 1, '2020-01-01', now())"
    )
}
