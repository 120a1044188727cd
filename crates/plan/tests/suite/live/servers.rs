//! What the check needs of servers and roles, and what it leaves behind: nothing.

use handover_plan::Severity::Error;
use handover_plan::{Code, Plan, Severity, check};
use handover_sandbox::{Options, Sandbox, Server, example};

use super::{Case, PLAN, World, compare, connect};
use crate::common::blog;

#[tokio::test]
async fn a_standby_is_refused_for_coverage_and_checked_for_the_rest() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let primary = connect(&sandbox.legacy_url()).await;
    primary.batch_execute(super::LEGACY).await.unwrap();
    let replica = connect(&sandbox.replica_url()).await;
    let position: String = primary.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
    while !replica.query_one(&replayed, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
    let target = connect(&sandbox.destination_url()).await;
    target.batch_execute(super::DESTINATION).await.unwrap();
    let plan = Plan::from_files(blog()).unwrap();
    let case = Case {
        expected: &[(Error, Code::CannotCheck, PLAN, "name", "legacy is a standby")],
        ..Case::default()
    };
    compare(&case, &check(&plan, &replica, &target).await.unwrap());
    sandbox.stop().await;
}

#[tokio::test]
async fn missing_privileges_are_told() {
    let world = World::start().await;
    let (source, target) = world.databases(&Case::default()).await;
    let plan = Plan::from_files(blog()).unwrap();
    for (session, schema) in [(&source, "blog"), (&target, "press")] {
        let sql = format!(
            "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA {schema} TO reader; \
             GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {schema} TO reader"
        );
        session.batch_execute(&sql).await.unwrap();
        // Own catalogue entries are seen under any role; what may be done is the role's.
        session.batch_execute("SET SESSION AUTHORIZATION reader").await.unwrap();
    }
    compare(&Case::default(), &check(&plan, &source, &target).await.unwrap());

    let steps: [(&str, &str, Case<'_>); 4] = [
        (
            "REVOKE SELECT ON blog.comment FROM reader",
            "REVOKE INSERT ON press.reply FROM reader",
            Case {
                expected: &[
                    (
                        Error,
                        Code::NoPrivilege,
                        "reply.extract.sql",
                        "SELECT",
                        "permission denied for table comment",
                    ),
                    (Error, Code::NoPrivilege, PLAN, "press.reply", "may not INSERT"),
                ],
                ..Case::default()
            },
        ),
        (
            "GRANT SELECT ON blog.comment TO reader; ALTER TABLE blog.comment ENABLE ROW LEVEL SECURITY",
            "GRANT INSERT ON press.reply TO reader; ALTER TABLE press.article ENABLE ROW LEVEL SECURITY; \
             ALTER TABLE press.article FORCE ROW LEVEL SECURITY",
            Case {
                expected: &[
                    (Error, Code::NoPrivilege, "reply.extract.sql", "SELECT", "row-level security"),
                    (Error, Code::NoPrivilege, "article.read_back.sql", "SELECT", "row-level security"),
                    (Error, Code::NoPrivilege, "article.delete.sql", "DELETE", "row-level security"),
                    (Error, Code::NoPrivilege, "reply.read_back.sql", "SELECT", "row-level security"),
                    (Error, Code::NoPrivilege, "reply.delete.sql", "DELETE", "row-level security"),
                    (Error, Code::NoPrivilege, PLAN, "press.article", "row policies of press.article"),
                ],
                ..Case::default()
            },
        ),
        (
            "ALTER TABLE blog.comment DISABLE ROW LEVEL SECURITY; DO $$ BEGIN \
             EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$",
            "ALTER TABLE press.article DISABLE ROW LEVEL SECURITY",
            Case {
                expected: &[(
                    Error,
                    Code::CannotCheck,
                    PLAN,
                    "name",
                    "may not create temporary views at legacy",
                )],
                ..Case::default()
            },
        ),
        (
            "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO reader', current_database()); END $$",
            "DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$",
            Case {
                expected: &[(
                    Error,
                    Code::CannotCheck,
                    PLAN,
                    "name",
                    "temporary tables and views at the destination",
                )],
                ..Case::default()
            },
        ),
    ];
    for (legacy, destination, case) in steps {
        for (session, sql) in [(&source, legacy), (&target, destination)] {
            session.batch_execute("RESET SESSION AUTHORIZATION").await.unwrap();
            session.batch_execute(sql).await.unwrap();
            session.batch_execute("SET SESSION AUTHORIZATION reader").await.unwrap();
        }
        compare(&case, &check(&plan, &source, &target).await.unwrap());
    }
}

#[tokio::test]
async fn a_check_leaves_nothing_behind() {
    let world = World::start().await;
    let (source, target) = world.databases(&Case::default()).await;
    let plan = Plan::from_files(blog()).unwrap();
    let count = "SELECT (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_proc) + (SELECT count(*) FROM pg_type)";
    let settings = "SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings \
                    WHERE name LIKE 'enable%' OR name IN ('search_path', 'row_security', 'lock_timeout')";
    let mut before = Vec::new();
    for session in [&source, &target] {
        let objects: i64 = session.query_one(count, &[]).await.unwrap().get(0);
        before.push((objects, session.query_one(settings, &[]).await.unwrap().get::<_, String>(0)));
    }
    check(&plan, &source, &target).await.unwrap();
    for (session, (objects, set)) in [&source, &target].into_iter().zip(before) {
        assert_eq!(session.query_one(count, &[]).await.unwrap().get::<_, i64>(0), objects);
        assert_eq!(session.query_one(settings, &[]).await.unwrap().get::<_, String>(0), set);
        let users = "SELECT coalesce(current_setting('handover.users', true), '')";
        assert_eq!(session.query_one(users, &[]).await.unwrap().get::<_, String>(0), "");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_and_not_a_finding() {
    let world = World::start().await;
    let (source, target) = world.databases(&Case::default()).await;
    let pid: i32 = target.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let other = connect(world.sandbox.url(Server::Destination)).await;
    let gone = other.query_one("SELECT pg_terminate_backend($1, 5000)", &[&pid]).await.unwrap();
    assert!(gone.get::<_, bool>(0));
    let plan = Plan::from_files(blog()).unwrap();
    let error = check(&plan, &source, &target).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // The other server's session is usable again.
    assert!(source.query_one("SELECT 1", &[]).await.is_ok());
}

#[tokio::test]
async fn the_worked_examples_pass() {
    let world = World::start().await;
    let source = world.database(Server::Legacy, "example", example::LEGACY_SCHEMA).await;
    let target = world.database(Server::Destination, "example", example::DESTINATION_SCHEMA).await;
    for name in ["invoice-reminders", "invoice-settings"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/plans").join(name);
        let plan = Plan::load(&folder).unwrap();
        let found = check(&plan, &source, &target).await.unwrap();
        let errors: Vec<_> =
            found.iter().filter(|f| f.severity == Severity::Error).map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{name}: {}", errors.join("\n"));
    }
}
