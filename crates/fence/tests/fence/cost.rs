//! What the fence costs a write, for docs/fence.md: the same load by `pgbench` on two databases, one of them
//! fenced, turn and turn about; and the processor time of the server's own process for the same statements, which
//! other work on the machine disturbs less. A measurement, not a test; it is run by name.

use std::io::Write as _;
use std::process::Command;

use handover_fence::install;
use handover_sandbox::example::{Shape, generate};

use crate::support::{REMINDERS, SETTINGS, Stage, plan};

const USERS: u64 = 20_000;
const ROUNDS: usize = 5;
const SECONDS: &str = "2";
/// Statements of one round of the measurement of processor time.
const STATEMENTS: u64 = 4_000;

/// Names and scripts; `@` rows of each table are drawn from.
const LOADS: [(&str, &str); 5] = [
    (
        "insert, by way of a parent",
        "\\set i random(1, @)\nINSERT INTO shop.invoice_reminder (invoice_id, kind, days_offset, zone, subject, \
         body, created_at, modified_at) SELECT id, 1, 0, 'UTC', '', '', now(), now() FROM shop.invoice WHERE id = \
         (SELECT min(id) FROM shop.invoice WHERE id >= :i);",
    ),
    (
        "update, own user column",
        "\\set i random(1, @)\nUPDATE shop.invoice_settings SET footer = 'x' WHERE user_id = :i;",
    ),
    (
        "update, two parents up",
        "\\set i random(1, @)\nUPDATE shop.reminder_recipient SET email = 'x' WHERE id = \
         (SELECT min(id) FROM shop.reminder_recipient WHERE id >= :i);",
    ),
    (
        "update of a column that stays behind, path table",
        "\\set i random(1, @)\nUPDATE shop.invoice SET status = 2 WHERE id = \
         (SELECT min(id) FROM shop.invoice WHERE id >= :i);",
    ),
    ("ten updates of one user in a transaction", "\\set i random(1, @)\nBEGIN;\nREPEAT\nCOMMIT;"),
];

#[tokio::test]
#[ignore = "a measurement of minutes; PGBENCH names the program"]
async fn cost() {
    let (bare, fenced) = (prepare(false).await, prepare(true).await);
    let mut out = std::io::stdout();
    for (name, script) in LOADS {
        let update = "UPDATE shop.invoice_settings SET footer = 'x' WHERE user_id = :i;\n";
        let script = script.replace("REPEAT\n", &update.repeat(10)).replace('@', &USERS.to_string());
        for clients in ["1", "8"] {
            let (mut without, mut with) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                without.push(pgbench(&bare, &script, clients));
                with.push(pgbench(&fenced, &script, clients));
            }
            let (without, with) = (median(without), median(with));
            writeln!(
                out,
                "{name} | {clients} | {without:.0} | {with:.0} | {:.1} % | {:.1} µs",
                100.0 * (1.0 - with / without),
                1e6 * (1.0 / with - 1.0 / without)
            )
            .unwrap();
        }
    }
    for (name, script) in LOADS.iter().filter(|(_, script)| !script.contains("BEGIN")) {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            without.push(processor_time(&bare, script).await);
            with.push(processor_time(&fenced, script).await);
        }
        let (without, with) = (median(without), median(with));
        writeln!(out, "{name} | processor time | {without:.1} µs | {with:.1} µs | {:.1} µs", with - without)
            .unwrap();
    }
    for sql in
        ["UPDATE shop.invoice_settings SET footer = 'y'", "UPDATE shop.reminder_recipient SET email = 'y'"]
    {
        let (bare, fenced) = (bulk(&bare, sql).await, bulk(&fenced, sql).await);
        writeln!(out, "{sql} | all rows at once, a row | {bare:.1} µs | {fenced:.1} µs").unwrap();
    }
}

/// Microseconds of processor time that the server's process needs for one statement.
async fn processor_time(stage: &Stage, script: &str) -> f64 {
    let connection = stage.connect().await;
    let sql = script.split_once('\n').expect("a statement").1.replace(":i", "$1");
    let statement =
        connection.prepare_typed(&sql, &[tokio_postgres::types::Type::INT8]).await.expect("prepared");
    let (mut number, mut began) = (1, 0.0);
    for run in 0..STATEMENTS + 100 {
        if run == 100 {
            began = spent(&connection).await;
        }
        // A walk over all users that does not go from neighbour to neighbour.
        number = (number + 7919) % USERS as i64;
        connection.execute(&statement, &[&number]).await.expect("written");
    }
    (spent(&connection).await - began) / STATEMENTS as f64
}

/// Microseconds that a session's process has been running on a processor; Linux.
async fn spent(connection: &handover_postgres::Connection) -> f64 {
    let pid: i32 = connection.query_one("SELECT pg_backend_pid()", &[]).await.expect("a look").get(0);
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the server is on this machine");
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    nanoseconds.expect("a number") / 1e3
}

/// Microseconds of processor time for each row of one statement over a whole table.
async fn bulk(stage: &Stage, sql: &str) -> f64 {
    let connection = stage.connect().await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = spent(&connection).await;
        let rows = connection.execute(sql, &[]).await.expect("written");
        rounds.push((spent(&connection).await - began) / rows as f64);
    }
    median(rounds)
}

async fn prepare(is_fenced: bool) -> Stage {
    let stage = Stage::empty().await;
    let mut connection = stage.connect().await;
    connection.batch_execute(handover_sandbox::example::LEGACY_SCHEMA).await.expect("the measurement's own");
    generate(&stage.url, USERS, 1, Shape { rows_per_user: Some(3) }).await.expect("the measurement's own");
    if is_fenced {
        for name in [REMINDERS, SETTINGS] {
            install(&mut connection, &plan(name)).await.expect("the measurement's own");
            // As many users have moved already, so that the look is one into a table of some size.
            let sql = "INSERT INTO handover_fence.fenced (user_key, migration, version, state, drained)
                       SELECT n::text, $1, 1, 'moved', true FROM generate_series(1000001, 1200000) n";
            connection.execute(sql, &[&name]).await.expect("the measurement's own");
        }
        connection
            .batch_execute("VACUUM ANALYZE handover_fence.fenced")
            .await
            .expect("the measurement's own");
    }
    stage
}

/// Transactions a second.
fn pgbench(stage: &Stage, script: &str, clients: &str) -> f64 {
    let mut file = std::env::temp_dir();
    file.push(format!("{}.pgbench", stage.name));
    std::fs::write(&file, script).expect("the measurement's own");
    let program = std::env::var("PGBENCH").unwrap_or_else(|_| "pgbench".to_owned());
    let output = Command::new(program)
        .args(["-n", "-M", "prepared", "-T", SECONDS, "-c", clients, "-j", "1", "-f"])
        .arg(&file)
        .arg(&stage.url)
        .output()
        .expect("pgbench is installed; PGBENCH names it");
    std::fs::remove_file(&file).expect("the measurement's own");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("tps = "));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    line.split_whitespace().nth(2).expect("the measurement's own").parse().expect("the measurement's own")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
