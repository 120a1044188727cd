//! The check against real servers: each case breaks one thing and expects exactly what follows from it.

mod coverage;
mod destination;
mod indexes;
mod reach;
mod servers;
mod statements;
mod tutorial;

pub(crate) use self::statements::LOAD;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use handover_plan::{Code, Finding, Plan, Severity, check};
use handover_postgres::{Connection, Database};
use handover_sandbox::{Options, Sandbox, Server};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::common::{Edit, edited, line};

const PLAN: &str = "plan.toml";
const LEGACY: &str = include_str!("../blog/legacy.sql");
const DESTINATION: &str = include_str!("../blog/destination.sql");

/// What a case expects: severity, kind, file, a part of the line that is shown, and a part of the message.
type Expected<'c> = (Severity, Code, &'c str, &'c str, &'c str);

/// One thing that is broken, and what the check must say of it.
#[derive(Default)]
struct Case<'c> {
    edits: &'c [Edit<'c>],
    /// Run at legacy after its schema was made.
    legacy: &'c str,
    /// Run at the destination after its schema was made.
    destination: &'c str,
    expected: &'c [Expected<'c>],
}

/// The servers, for all tests that run at the same time: the last of them ends them.
static SERVERS: Mutex<Weak<Sandbox>> = Mutex::const_new(Weak::new());
/// The number of the next pair of databases.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Servers, on which each test has databases of its own.
struct World {
    sandbox: Arc<Sandbox>,
}

impl World {
    async fn start() -> Self {
        let mut servers = SERVERS.lock().await;
        if let Some(sandbox) = servers.upgrade() {
            return Self { sandbox };
        }
        let options = Options { replica: false, ..Options::default() };
        let sandbox = Arc::new(Sandbox::start(options).await.unwrap());
        *servers = Arc::downgrade(&sandbox);
        Self { sandbox }
    }

    async fn database(&self, server: Server, name: &str, schema: &str) -> Connection {
        let url = self.sandbox.create_database(server, name).await.unwrap();
        let session = connect(&url).await;
        session.batch_execute(schema).await.unwrap();
        session
    }

    /// The databases of a case, as the blog has them and then as the case wants them.
    async fn databases(&self, case: &Case<'_>) -> (Connection, Connection) {
        let name = format!("case_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let source = self.database(Server::Legacy, &name, LEGACY).await;
        let target = self.database(Server::Destination, &name, DESTINATION).await;
        source.batch_execute(case.legacy).await.unwrap();
        target.batch_execute(case.destination).await.unwrap();
        (source, target)
    }

    async fn expect_exactly(&self, cases: &[Case<'_>]) {
        let (source, target) = self.databases(&Case::default()).await;
        for case in cases {
            // A new database for each case would take most of the tests' time.
            for (session, schema, more) in
                [(&source, LEGACY, case.legacy), (&target, DESTINATION, case.destination)]
            {
                session.batch_execute("DROP SCHEMA IF EXISTS blog, stats, press CASCADE").await.unwrap();
                session.batch_execute(schema).await.unwrap();
                session.batch_execute(more).await.unwrap();
            }
            let plan = Plan::from_files(edited(case.edits)).unwrap();
            let found = check(&plan, &source, &target).await.unwrap();
            compare(case, &found);
        }
    }
}

async fn connect(url: &str) -> Connection {
    Database::new("test", &SecretString::from(url.to_owned())).unwrap().connect().await.unwrap()
}

fn compare(case: &Case<'_>, found: &[Finding]) {
    let what = format!("{:?} {} {}", case.edits, case.legacy, case.destination);
    let listed: Vec<String> = found.iter().map(ToString::to_string).collect();
    let listed = listed.join("\n");
    assert_eq!(found.len(), case.expected.len(), "{what}\n{listed}");
    let files = edited(case.edits);
    for (severity, code, file, line_part, what_part) in case.expected {
        let is_it = |finding: &&Finding| {
            let shown = line(files.get(&finding.file).map_or("", String::as_str), finding.line);
            finding.severity == *severity
                && finding.code == *code
                && finding.file == *file
                && shown.contains(line_part)
                && finding.what.contains(what_part)
        };
        let count = found.iter().filter(is_it).count();
        assert_eq!(count, 1, "{what}\nexpected {code} {file} {line_part:?} {what_part:?} among\n{listed}");
    }
    assert!(found.iter().all(|finding| !finding.remedy.is_empty()));
}

#[tokio::test]
async fn the_blog_plan_is_right_as_it_stands() {
    World::start().await.expect_exactly(&[Case::default()]).await;
}
