//! The report of what differs.

use anyhow::Result;
use handover_engine::{Outcome, StageName};
use handover_sandbox::Server;
use handover_tracking::Kind;

use crate::world::{Setup, World, run};

#[tokio::test(flavor = "multi_thread")]
async fn each_row_that_differs_is_named_once_with_its_fields() -> Result<()> {
    let world = World::new(Setup { users: 1, rows: 40, ..Setup::default() }).await?;
    world.execute(Server::Legacy, "DELETE FROM shop.reminder_recipient").await?;
    world.caught_up().await?;
    world.launched(1).await?;
    let jobs = world.drawn(Kind::Move).await?;
    world.through(&[StageName::Pause, StageName::Copy], &jobs).await?;
    let ids = world.client(Server::Destination).await?;
    let ids: Vec<i64> = ids
        .query("SELECT legacy_id FROM reminders.reminder ORDER BY 1 LIMIT 3", &[])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let change = format!(
        "UPDATE reminders.reminder SET subject = subject || '!', body = '' WHERE legacy_id = {};
         DELETE FROM reminders.reminder WHERE legacy_id = {};
         UPDATE reminders.reminder SET legacy_id = 999000000 WHERE legacy_id = {}",
        ids[0], ids[1], ids[2]
    );
    world.execute(Server::Destination, &change).await?;

    let outcomes = run(&world.engine, StageName::Verify, &jobs).await;
    assert!(matches!(outcomes[0], Outcome::Park { .. }), "{outcomes:?}");
    let reason = world.attempts("1").await?.remove(0).reason.unwrap_or_default();
    let differences = &reason["differences"];
    assert_eq!(differences["count"], 4, "{reason}");
    let mut kinds: Vec<String> = differences["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| format!("{} {} {}", row["key"], row["kind"], row["fields"]))
        .collect();
    kinds.sort();
    let mut expected = [
        format!("\"legacy_id={}\" \"differs\" [\"subject\",\"body\"]", ids[0]),
        format!("\"legacy_id={}\" \"missing at the destination\" null", ids[1]),
        format!("\"legacy_id={}\" \"missing at the destination\" null", ids[2]),
        "\"legacy_id=999000000\" \"only at the destination\" null".to_owned(),
    ];
    expected.sort();
    assert_eq!(kinds, expected);
    Ok(())
}
