//! What follows from which error: the table in `docs/recovery.md`, read row by row and tried on a real server.

use handover_postgres::Database;
use handover_sandbox::{Options, Sandbox};

use super::*;

const PAGE: &str = include_str!("../../../../docs/recovery.md");

fn word(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Retry => "retry",
        Disposition::Data => "park the user",
        Disposition::TakeBack => "park all",
    }
}

/// The cells of each row of the table that begins with that heading.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What is between backticks in a cell.
fn codes(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

/// An error of each variant that is not a server's.
fn samples() -> Vec<Error> {
    let text = || "x".to_owned();
    let position = || Error::ReplicaBehind { position: text(), waited_ms: 1 };
    let claim = Claim { user: text(), version: 1 };
    vec![
        Error::Tracking(handover_tracking::Error::NotInstalled),
        Error::Plan { migration: text(), text: text() },
        Error::Fence(handover_fence::Error::Request("x")),
        Error::Replica(text()),
        position(),
        Error::Unfenced { migration: text(), side: "legacy" },
        Error::FenceUnseen { waited_ms: 1 },
        Error::Outrun,
        Error::Occupied { entity: text() },
        Error::Remains { entity: text() },
        Error::NotOurs,
        Error::Unequal,
        Error::OneWay { entity: text() },
        Error::NotCarried,
        Error::Crowded { claim },
        Error::Swallowed(text()),
    ]
}

#[test]
fn the_documentation_says_what_follows_from_each_error_of_ours() {
    let rows = table("| error | kind |");
    for error in samples() {
        let debug = format!("{error:?}");
        let name = debug.split([' ', '(', '{']).next().unwrap_or_default();
        let row = rows.iter().find(|row| codes(row[0]).any(|code| code == name));
        let row = row.unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(codes(row[1]).next(), Some(error.kind()), "{name}");
        assert_eq!(row[2], word(error.disposition()), "{name}");
        assert!(!row[3].is_empty(), "{name}: no remedy");
    }
}

#[tokio::test]
async fn the_documentation_says_what_follows_from_each_sqlstate() {
    let sandbox = Sandbox::start(Options { replica: false, ..Options::default() }).await.unwrap();
    let database = Database::new("destination", &sandbox.destination_url().into()).unwrap();
    let session = database.connect().await.unwrap();
    let rows = table("| SQLSTATE |");
    assert!(rows.len() >= 8, "{rows:?}");
    for row in rows {
        for code in codes(row[0]) {
            // A class stands for all of its codes: one that no other row names.
            let code = if code.len() == 2 { format!("{code}ZZ9") } else { code.to_owned() };
            let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$");
            let error = session.batch_execute(&raise).await.expect_err("it was raised");
            let error = Error::from(error);
            assert_eq!(word(error.disposition()), row[2], "{code}");
            assert!(!row[3].is_empty(), "{code}: no remedy");
        }
    }
    sandbox.stop().await;
}
