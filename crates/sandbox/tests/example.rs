//! Claims about the worked example's data and plans, on real servers.

use handover_sandbox::example::{self, Counts, Shape};
use handover_sandbox::{Install, Options, Sandbox, Server};
use std::path::PathBuf;
use tokio_postgres::{Client, NoTls};

/// Entity, its canonical columns, and SQL that does by hand what the plan's fills do: canonical rows are in a
/// table named as the entity, whose first column is the user.
const ENTITIES: [(&str, &str, &str); 3] = [
    ("invoice-reminders", "reminder", LOAD_REMINDERS),
    ("invoice-reminders", "recipient", LOAD_RECIPIENTS),
    ("invoice-settings", "invoice_settings", LOAD_SETTINGS),
];

const LOAD_REMINDERS: &str = "
    INSERT INTO reminders.reminder (id, owner_id, invoice_id, legacy_id, kind, channel, schedule, subject, body,
                                    enabled, amount_cap, origin, created_at, modified_at)
    SELECT md5(legacy_id::text)::uuid, owner_id, invoice_id, legacy_id,
           (ARRAY['before_due', 'on_due', 'after_due'])[kind + 1]::reminders.reminder_kind,
           (ARRAY['email', 'sms', 'letter'])[channel]::reminders.channel,
           jsonb_build_object('days', days_offset, 'at', send_at, 'zone', zone),
           subject, body, enabled, amount_cap, 'legacy', created_at, modified_at
      FROM canonical.reminder";

const LOAD_RECIPIENTS: &str = "
    INSERT INTO reminders.recipient (reminder_id, legacy_id, email, tags)
    SELECT md5(reminder::text)::uuid, legacy_id, email, tags FROM canonical.recipient";

const LOAD_SETTINGS: &str = "
    INSERT INTO settings.invoice_settings (owner_id, legacy_id, numbering, paper, tax_mode, currency, default_rate,
           late_fee, logo_scale, show_logo, attach_pdf, delivery, footer, signature, preferences, modified_at)
    SELECT user_id, legacy_id,
           (ARRAY['yearly', 'continuous', 'monthly'])[numbering + 1]::settings.numbering,
           (ARRAY['a4', 'letter'])[paper + 1]::settings.paper,
           (ARRAY['net', 'gross', 'exempt'])[tax_mode]::settings.tax_mode,
           currency, default_rate, late_fee, logo_scale, show_logo, attach_pdf,
           jsonb_build_object('days', due_days, 'at', send_time, 'zone', zone),
           footer, signature, preferences, modified_at
      FROM canonical.invoice_settings";

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect");
    tokio::spawn(connection);
    client
}

async fn start() -> Sandbox {
    let options = Options { install: Install::Never, replica: false, ..Options::default() };
    Sandbox::start(options).await.expect("start")
}

/// A database with both schemas, so that one query can compare them.
async fn both_schemas(sandbox: &Sandbox, name: &str) -> (String, Client) {
    let url = sandbox.create_database(Server::Legacy, name).await.expect("create");
    example::install(&url, &url).await.expect("install");
    let client = connect(&url).await;
    (url, client)
}

/// A plan's SQL for these users.
fn sql(plan: &str, entity: &str, kind: &str, users: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config/plans").join(plan);
    let text = std::fs::read_to_string(folder.join(format!("{entity}.{kind}.sql"))).expect("the plan's SQL");
    assert!(text.contains(":users"), "{entity}.{kind}.sql is for everybody");
    text.replace(":users", users)
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// Rows that only one of the two queries returns, as text: SQL's `=` would not see 1.5 become 1.50.
async fn differences(client: &Client, one: &str, other: &str) -> i64 {
    let text = |sql: &str| format!("SELECT q::text FROM ({sql}) q");
    let both = format!(
        "SELECT count(*) FROM (({a} EXCEPT ALL {b}) UNION ALL ({b} EXCEPT ALL {a})) d",
        a = text(one),
        b = text(other)
    );
    number(client, &both).await
}

const EVERYBODY: &str = "ARRAY(SELECT id FROM shop.auth_user)";

async fn load(client: &Client) {
    client.batch_execute("CREATE SCHEMA canonical").await.expect("schema");
    for (plan, entity, load) in ENTITIES {
        let extract = sql(plan, entity, "extract", EVERYBODY);
        client
            .batch_execute(&format!("CREATE TABLE canonical.{entity} AS {extract}"))
            .await
            .expect("extract");
        client.batch_execute(load).await.expect("load");
    }
}

#[tokio::test]
async fn read_back_inverts_extract_and_delete_removes_all_and_reverse_restores() {
    let sandbox = start().await;
    let (url, client) = both_schemas(&sandbox, "inverse").await;
    let counts = example::generate(&url, 600, 42, Shape::default()).await.expect("generate");
    load(&client).await;
    let kept = "SELECT count(*) FROM reminders.reminder";
    assert_eq!(number(&client, kept).await as u64, counts.reminders - counts.deleted_reminders);
    assert_eq!(
        number(&client, "SELECT count(*) FROM settings.invoice_settings").await as u64,
        counts.settings
    );
    for (plan, entity, _) in ENTITIES {
        let canonical = format!("SELECT * FROM canonical.{entity}");
        let columns = columns(&client, &canonical).await;
        let read_back = sql(plan, entity, "read_back", EVERYBODY);
        // The user's column may have another name, and derived columns follow.
        let read_back = format!("SELECT q.{} FROM ({read_back}) q", columns.join(", q."));
        let read_back = read_back.replace("q.user_id", "q.owner_id");
        assert_eq!(differences(&client, &canonical, &read_back).await, 0, "{entity}");
    }
    reverse(&client).await;
    delete(&client).await;
    sandbox.stop().await;
}

async fn columns(client: &Client, query: &str) -> Vec<String> {
    let prepared = client.prepare(query).await.expect("prepare");
    prepared.columns().iter().map(|column| column.name().to_owned()).collect()
}

/// Wrecks legacy's rows, then carries the canonical rows back: the extract must return them again.
async fn reverse(client: &Client) {
    let wreck = "
        UPDATE shop.invoice_reminder SET subject = 'changed', kind = 0, deleted_at = now() WHERE id % 3 = 0;
        INSERT INTO shop.invoice_reminder (invoice_id, kind, days_offset, zone, subject, body, created_at, modified_at)
        SELECT invoice_id, 0, 0, 'UTC', '', '', now(), now() FROM shop.invoice_reminder WHERE id % 5 = 0;
        DELETE FROM shop.reminder_recipient WHERE id % 4 = 0;
        UPDATE shop.reminder_recipient SET tags = '{wrong}' WHERE id % 4 = 1;
        UPDATE shop.invoice_settings SET footer = 'changed', late_fee = 7 WHERE id % 2 = 0;
        DELETE FROM shop.invoice_settings WHERE id % 5 = 0";
    client.batch_execute(wreck).await.expect("wreck");
    for (plan, entity, _) in ENTITIES {
        let staged = format!(
            "CREATE TEMPORARY TABLE {entity} AS SELECT * FROM canonical.{entity};
             ALTER TABLE pg_temp.{entity} RENAME COLUMN {user} TO user_key",
            user = if entity == "invoice_settings" { "user_id" } else { "owner_id" },
        );
        client.batch_execute(&staged).await.expect("stage");
        client.batch_execute(&sql(plan, entity, "reverse", EVERYBODY)).await.expect("reverse");
    }
    for (plan, entity, _) in ENTITIES {
        let extract = sql(plan, entity, "extract", EVERYBODY);
        let canonical = format!("SELECT * FROM canonical.{entity}");
        assert_eq!(differences(client, &canonical, &extract).await, 0, "{entity} after the reverse load");
    }
}

/// One user's rows go and nobody else's; then everybody's. Children first, as the engine does it.
async fn delete(client: &Client) {
    let all = "SELECT count(*) FROM reminders.reminder";
    let own = "SELECT count(*) FROM reminders.reminder WHERE owner_id = 7";
    let (before, of_user) = (number(client, all).await, number(client, own).await);
    assert!(of_user > 0);
    for users in ["ARRAY[7]::int8[]", EVERYBODY] {
        for (plan, entity, _) in ENTITIES.iter().rev() {
            client.batch_execute(&sql(plan, entity, "delete", users)).await.expect("delete");
        }
        if users != EVERYBODY {
            assert_eq!(number(client, all).await, before - of_user);
        }
    }
    let left = "SELECT (SELECT count(*) FROM reminders.reminder) + (SELECT count(*) FROM reminders.recipient)
                     + (SELECT count(*) FROM settings.invoice_settings)";
    assert_eq!(number(client, left).await, 0);
}

#[tokio::test]
async fn queries_return_types_without_modifiers_and_reach_their_users_by_index() {
    let sandbox = start().await;
    let (url, client) = both_schemas(&sandbox, "shape").await;
    example::generate(&url, 3_000, 1, Shape::default()).await.expect("generate");
    load(&client).await;
    client.batch_execute("ANALYZE; SET handover.users = '{11,12}'").await.expect("analyze");
    for (plan, entity, _) in ENTITIES {
        for kind in ["extract", "read_back"] {
            let query = sql(plan, entity, kind, "current_setting('handover.users')::int8[]");
            let prepared = client.prepare(&query).await.expect("prepare");
            for column in prepared.columns() {
                assert_eq!(column.type_modifier(), -1, "{entity}.{kind}: {}", column.name());
            }
            let rows = client.query(&format!("EXPLAIN {query}"), &[]).await.expect("explain");
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            assert!(!plan.join("\n").contains("Seq Scan"), "{entity}.{kind}:\n{}", plan.join("\n"));
        }
    }
    sandbox.stop().await;
}

/// All rows of all tables as one number, and how many there are.
async fn generated(sandbox: &Sandbox, name: &str, seed: u64, shape: Shape) -> (Counts, Vec<String>) {
    let (url, client) = both_schemas(sandbox, name).await;
    let counts = example::generate(&url, 1_000, seed, shape).await.expect("generate");
    let mut sums = Vec::new();
    for table in ["auth_user", "invoice", "invoice_reminder", "reminder_recipient", "invoice_settings"] {
        let sum = format!("SELECT sum(hashtext(t::text))::text FROM shop.{table} t");
        sums.push(client.query_one(&sum, &[]).await.expect("sum").get(0));
    }
    (counts, sums)
}

#[tokio::test]
async fn the_same_seed_gives_the_same_rows_and_another_seed_gives_others() {
    let sandbox = start().await;
    let one = generated(&sandbox, "one", 42, Shape::default()).await;
    let same = generated(&sandbox, "same", 42, Shape::default()).await;
    let other = generated(&sandbox, "other", 43, Shape::default()).await;
    assert_eq!(one, same);
    for (index, (one, other)) in one.1.iter().zip(&other.1).enumerate() {
        assert_ne!(one, other, "table {index}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn most_users_have_about_twenty_reminders_some_none_and_few_very_many() {
    let sandbox = start().await;
    let (url, client) = both_schemas(&sandbox, "skew").await;
    let counts = example::generate(&url, 2_000, 42, Shape::default()).await.expect("generate");
    eprintln!("{counts:?}");
    client
        .batch_execute(
            "CREATE TABLE many AS SELECT u.id, count(r.id) AS n FROM shop.auth_user u
           LEFT JOIN shop.invoice i ON i.owner_id = u.id
           LEFT JOIN shop.invoice_reminder r ON r.invoice_id = i.id AND r.deleted_at IS NULL GROUP BY u.id",
        )
        .await
        .expect("count");
    let usual = number(&client, "SELECT count(*) FROM many WHERE n BETWEEN 10 AND 32").await;
    let none = number(&client, "SELECT count(*) FROM many WHERE n = 0").await;
    let most = number(&client, "SELECT max(n) FROM many").await;
    assert!(usual > 1_500 && (20..200).contains(&none) && most > 2_500, "{usual} {none} {most}");
    let rows = counts.reminders + counts.recipients + counts.settings;
    assert!((45_000..65_000).contains(&rows), "{rows} rows");
    assert!(counts.deleted_reminders > 500);
    assert_eq!(example::user_keys(&url).await.expect("keys").len(), 2_000);
    every_case_occurs(&client).await;
    foreign_keys_hold(&client).await;
    sandbox.stop().await;
}

/// What the plans have to cope with is in the data.
async fn every_case_occurs(client: &Client) {
    for (table, case) in [
        ("invoice_reminder", "enabled IS NULL"),
        ("invoice_reminder", "enabled = false"),
        ("invoice_reminder", "send_at IS NULL"),
        ("invoice_reminder", "channel IS NULL"),
        ("invoice_reminder", "channel = 3"),
        ("invoice_reminder", "kind = 2"),
        ("invoice_reminder", "amount_cap IS NULL"),
        ("invoice_reminder", "subject = ''"),
        ("invoice_reminder", "subject LIKE '%💸%'"),
        ("invoice_reminder", "body LIKE E'%\\r\\n%' AND body LIKE '%€%'"),
        ("invoice_reminder", "body LIKE '%\"%' AND body LIKE '%''%'"),
        ("reminder_recipient", "tags IS NULL"),
        ("reminder_recipient", "array_position(tags, NULL) IS NOT NULL"),
        ("reminder_recipient", "tags = '{}'"),
        ("invoice_settings", "paper IS NULL"),
        ("invoice_settings", "show_logo IS NULL"),
        ("invoice_settings", "scale(late_fee) = 1"),
        ("invoice_settings", "late_fee::text = '1.50'"),
        ("invoice_settings", "logo_scale = 1e-300"),
        ("invoice_settings", "signature IS NULL"),
    ] {
        let found = number(client, &format!("SELECT count(*) FROM shop.{table} WHERE {case}")).await;
        assert!(found > 0, "no row of {table} has {case}");
    }
}

/// They were not checked while the rows were written.
async fn foreign_keys_hold(client: &Client) {
    let rows = client
        .query(
            "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE contype = 'f' AND connamespace = 'shop'::regnamespace",
            &[],
        )
        .await
        .expect("constraints");
    assert!(rows.len() >= 6);
    for row in rows {
        let (table, name, definition): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let again =
            format!("ALTER TABLE {table} DROP CONSTRAINT {name}; ALTER TABLE {table} ADD {definition}");
        client.batch_execute(&again).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

#[tokio::test]
async fn a_bench_gets_exactly_the_asked_number_of_reminders_for_every_user() {
    let sandbox = start().await;
    for each in [0_u32, 1, 20] {
        let (url, client) = both_schemas(&sandbox, &format!("each{each}")).await;
        let counts =
            example::generate(&url, 100, 7, Shape { rows_per_user: Some(each) }).await.expect("generate");
        assert_eq!((counts.reminders, counts.deleted_reminders), (u64::from(each) * 100, 0));
        let uneven = format!(
            "SELECT count(*) FROM (SELECT count(*) AS n FROM shop.invoice_reminder r
               JOIN shop.invoice i ON i.id = r.invoice_id GROUP BY i.owner_id) q WHERE n <> {each}"
        );
        assert_eq!(number(&client, &uneven).await, 0);
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn new_rows_do_not_collide_with_generated_ones() {
    let sandbox = start().await;
    let (url, client) = both_schemas(&sandbox, "sequences").await;
    example::generate(&url, 10, 1, Shape::default()).await.expect("generate");
    let insert =
        "INSERT INTO shop.invoice (owner_id, number, customer_name, status, total, issued_on, created_at)
                  VALUES (1, 'n', 'c', 0, 0, now(), now()) RETURNING id";
    assert!(number(&client, insert).await > 1);
    sandbox.stop().await;
}
