//! The tutorial's plan moves rows: what its queries and fills make of legacy reads back as it was.
//!
//! The engine is not in this: rows are passed on by hand.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, TryStreamExt as _};
use handover_canonical::copy::{Decoder, HEADER, TRAILER, Tuple};
use handover_plan::{Entity, Plan, TargetKind, describe_targets};
use handover_postgres::Connection;
use handover_transform::{Scratch, Transform};

use super::{Case, World};
use crate::common::blog;

/// Two members, of whom the second is not moved. Their posts have everything that the plan handles: no body, no tag, no
/// moment of publication, a comment by nobody, and a deleted post with a comment.
const ROWS: &str = "
    INSERT INTO blog.member VALUES (1, 'ann', now()), (2, 'ben', now());
    INSERT INTO blog.post VALUES
        (10, 1, 'a', 'Äpfel', NULL, 1, 'about \"apples\"', false, '2024-05-01 08:00', 3, false),
        (11, 1, 'b', 'Birnen', 'text', 0, NULL, true, NULL, NULL, false),
        (12, 1, 'c', 'gone', 'text', 2, NULL, true, NULL, NULL, true),
        (20, 2, 'd', 'other', 'text', 2, NULL, true, NULL, NULL, false);
    INSERT INTO blog.tag VALUES (1, 'zoo'), (2, 'Ähre'), (3, 'apple');
    INSERT INTO blog.post_tag VALUES (10, 1), (10, 2), (10, 3), (20, 1);
    INSERT INTO blog.comment VALUES
        (100, 10, NULL, 'first', '2024-05-01 08:00+02', 0.5), (101, 11, 'cid', '', now(), NULL),
        (102, 12, 'dan', 'lost', now(), NULL), (200, 20, 'eve', 'x', now(), NULL);";

async fn rows(session: &Connection, query: &str) -> Vec<Tuple> {
    let copy = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
    let chunks: Vec<Bytes> = session.copy_out(&copy).await.unwrap().try_collect().await.unwrap();
    let mut decoder = Decoder::new();
    let mut rows = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        while let Some(row) = decoder.next().unwrap() {
            rows.push(row);
        }
    }
    decoder.finish().unwrap();
    rows
}

/// The canonical rows as they are hashed, with their user, in an order of their own.
fn canonical(entity: &Entity, rows: &[Tuple]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let width = entity.layout.columns().len();
    let mut list: Vec<_> = rows
        .iter()
        .map(|row| {
            let canonical = entity.layout.normalise(row.run(1..1 + width)).unwrap();
            (row.field(0).unwrap().to_vec(), canonical.into_owned())
        })
        .collect();
    list.sort();
    list
}

async fn load(plan: &Plan, entity: &Entity, rows: &[Tuple], target: &Connection) -> Transform {
    let TargetKind::Table { table, fill } = &entity.target else { panic!("into") };
    let targets = describe_targets(target, entity).await.unwrap();
    let columns: Vec<_> = targets.into_iter().zip(fill.iter().map(|(_, fill)| fill.clone())).collect();
    let transform = Transform::compile(&entity.layout, &plan.user_key().wire_type(), &columns).unwrap();
    let mut wire = BytesMut::from(HEADER.as_slice());
    let mut scratch = Scratch::default();
    for row in rows {
        transform.encode_row(row.field(0).unwrap(), row.after(1), &[], &mut scratch, &mut wire).unwrap();
    }
    wire.extend_from_slice(&TRAILER);
    let copy = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", transform.columns().join(", "));
    let mut sink = Box::pin(target.copy_in(&copy).await.unwrap());
    sink.send(wire.freeze()).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), rows.len() as u64);
    transform
}

#[tokio::test]
async fn what_the_tutorial_moves_reads_back_as_it_was() {
    let world = World::start().await;
    let (source, target) = world.databases(&Case { legacy: ROWS, ..Case::default() }).await;
    let plan = Plan::from_files(blog()).unwrap();
    for session in [&source, &target] {
        let users = plan.user_key().array_literal(["1"]);
        session.execute("SELECT set_config('handover.users', $1, false)", &[&users]).await.unwrap();
    }
    for entity in plan.entities() {
        assert!(rows(&target, &entity.read_back).await.is_empty(), "nothing is there before");
        let from = rows(&source, &entity.extract).await;
        assert_eq!(from.len(), 2, "{}: deleted rows and the other member's stay", entity.name);
        let transform = load(&plan, entity, &from, &target).await;
        let back = rows(&target, &entity.read_back).await;
        assert_eq!(canonical(entity, &from), canonical(entity, &back), "{}", entity.name);
        for row in &back {
            for (nth, derived) in entity.derived.iter().enumerate() {
                let fields: Vec<_> = row.fields().skip(1).take(entity.layout.columns().len()).collect();
                let computed =
                    transform.encode_derived(&derived.name, row.field(0).unwrap(), &fields).unwrap();
                assert_eq!(computed.as_deref(), row.field(1 + fields.len() + nth));
            }
        }
    }
    for entity in plan.entities().iter().rev() {
        target.batch_execute(&entity.delete).await.unwrap();
        assert!(rows(&target, &entity.read_back).await.is_empty());
    }
}
