//! What the fence costs a write, for docs/fence.md: the same load by `pgbench` on two databases, one of them
//! fenced, turn and turn about. A measurement, not a test; it is run by name.

use std::io::Write as _;
use std::process::Command;

use handover_fence::install;
use handover_sandbox::example::{Shape, generate};

use crate::support::{REMINDERS, SETTINGS, Stage, plan};

const USERS: u64 = 20_000;
const ROUNDS: usize = 5;
const SECONDS: &str = "4";

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
    for sql in
        ["UPDATE shop.invoice_settings SET footer = 'y'", "UPDATE shop.reminder_recipient SET email = 'y'"]
    {
        let connection = fenced.connect().await;
        let rows = connection.query(&format!("EXPLAIN (ANALYZE, TIMING OFF) {sql}"), &[]).await.unwrap();
        for row in rows {
            writeln!(out, "{}", row.get::<_, &str>(0)).unwrap();
        }
    }
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
