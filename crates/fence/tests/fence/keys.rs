//! Keys other than numbers, keys spelled otherwise in the table, and names that need quoting.

use std::collections::BTreeMap;

use handover_fence::{Error, PAUSED, Role, install, status};
use handover_plan::Plan;

use crate::support::{Stage, code};

/// A plan of notes and their attachments, with a user column and keys of the given types.
fn notes(user_key: &str) -> Plan {
    let plan = format!(
        r#"
format = 1
name = "notes"
user_key = "{user_key}"

[legacy."we\"ird.no'te"]
user = "own\"er"

[legacy."we\"ird.attach$fence$ment"]
via = {{ "no te" = "we\"ird.no'te.i d" }}

[[entity]]
name = "note"
key = ["id"]
columns = ["id int8", "body text"]
extract = "e.sql"
read_back = "r.sql"
delete = "d.sql"
into = "app.note"

[entity.fill]
id = {{ column = "id" }}
body = {{ column = "body" }}
owner = {{ user = true }}
"#
    );
    let query = "SELECT owner, id, body FROM app.note WHERE owner = ANY (:users)";
    let files = [
        ("plan.toml", plan.as_str()),
        ("e.sql", query),
        ("r.sql", query),
        ("d.sql", "DELETE FROM app.note WHERE owner = ANY (:users)"),
    ];
    let files: BTreeMap<String, String> =
        files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    Plan::from_files(files).expect("a valid plan")
}

async fn stage(column: &str, owners: [&str; 2]) -> Stage {
    let stage = Stage::empty().await;
    let client = stage.connect().await;
    let schema = format!(
        "CREATE SCHEMA \"we\"\"ird\";
         CREATE TABLE \"we\"\"ird\".\"no'te\"
             (\"i d\" serial PRIMARY KEY, \"own\"\"er\" {column}, body text);
         CREATE TABLE \"we\"\"ird\".\"attach$fence$ment\" (\"no te\" bigint, file text);
         INSERT INTO \"we\"\"ird\".\"no'te\" (\"own\"\"er\") VALUES ('{}'), ('{}');
         INSERT INTO \"we\"\"ird\".\"attach$fence$ment\" VALUES (1, ''), (2, '')",
        owners[0], owners[1]
    );
    client.batch_execute(&schema).await.expect("the schema");
    stage
}

/// The second owner is paused under `key`; the first writes on.
async fn only_the_second_is_refused(column: &str, user_key: &str, owners: [&str; 2], key: &str) {
    let stage = stage(column, owners).await;
    let plan = notes(user_key);
    let mut connection = stage.connect().await;
    install(&mut connection, &plan).await.expect("installed");
    let seen = status(&mut connection, &plan).await.expect("a status");
    assert!(seen.tables.iter().all(|table| table.role == Role::Moves));
    stage.pause("notes", &[(key, 1)]).await;
    for (number, expected) in [(1, "ok"), (2, PAUSED)] {
        for sql in [
            format!("UPDATE \"we\"\"ird\".\"no'te\" SET body = 'x' WHERE \"i d\" = {number}"),
            format!("INSERT INTO \"we\"\"ird\".\"attach$fence$ment\" VALUES ({number}, 'x')"),
        ] {
            assert_eq!(code(&connection, &sql).await, expected, "{column}, {user_key}: {sql}");
        }
    }
    // Nobody's row, and a row that hangs from nothing.
    for sql in [
        "INSERT INTO \"we\"\"ird\".\"no'te\" (body) VALUES ('x')",
        "INSERT INTO \"we\"\"ird\".\"attach$fence$ment\" VALUES (NULL, 'x'), (77, 'x')",
        "DELETE FROM \"we\"\"ird\".\"attach$fence$ment\" WHERE \"no te\" IS NULL OR \"no te\" = 77",
    ] {
        assert_eq!(code(&connection, sql).await, "ok", "{sql}");
    }
}

const UUIDS: [&str; 2] = ["0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11", "5D1F3B52-0A43-4C39-8B3A-6C1D7E0F9A20"];

#[tokio::test]
async fn uuid_keys_are_fenced() {
    let key = UUIDS[1].to_lowercase();
    only_the_second_is_refused("uuid", "uuid", UUIDS, &key).await;
    only_the_second_is_refused("varchar(40)", "uuid", UUIDS, &key).await;
    only_the_second_is_refused("text", "uuid", ["no uuid at all", UUIDS[1]], &key).await;
}

#[tokio::test]
async fn text_keys_are_fenced_to_the_byte_whatever_the_columns_collation() {
    for column in ["text", "varchar(30)", "char(20)", "text COLLATE \"C.utf8\"", "text COLLATE \"POSIX\""] {
        only_the_second_is_refused(column, "text", ["a, \"b\" NULL", "A, \"b\" NULL"], "A, \"b\" NULL").await;
    }
    only_the_second_is_refused("text", "text", ["é", "e\u{301}"], "e\u{301}").await;
}

#[tokio::test]
async fn numbers_are_fenced_however_the_column_spells_them() {
    for column in ["int", "bigint", "numeric(12, 2)"] {
        only_the_second_is_refused(column, "int8", ["41", "42"], "42").await;
    }
    only_the_second_is_refused("varchar(10)", "int8", ["x42", "0042"], "42").await;
}

#[tokio::test]
async fn a_column_that_cannot_hold_the_key_is_an_error_of_installation() {
    let stage = stage("boolean", ["true", "false"]).await;
    let mut connection = stage.connect().await;
    let refused = install(&mut connection, &notes("int8")).await.unwrap_err();
    assert!(matches!(&refused, Error::Table { .. }), "{refused}");
    assert_eq!(
        refused.to_string(),
        "the database fence cannot guard we\"ird.no'te: its user column is bool, and keys are int8; name the \
         column that holds the key"
    );
}
