//! Whether the users' rows are found by an index: the planner is asked, with everything else switched off.
//!
//! A bitmap scan is the one scan that cannot do without an index condition. With all other scans and all joins but
//! the nested loop disabled, a table that is still read in another way has no index that could serve. So neither
//! costs nor statistics decide, and an empty table tells as much as a full one.

use std::collections::BTreeSet;

use handover_postgres::{Error, QualifiedName};
use serde_json::Value;

use super::session::{Refusal, Session};

const ONLY_BITMAPS: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
    SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off; SET LOCAL enable_nestloop = on; \
    SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = on; \
    SET LOCAL max_parallel_workers_per_gather = 0";

/// The tables that the statement reads without an index condition.
pub(super) async fn unindexed(
    session: &Session<'_>,
    sql: &str,
) -> Result<Result<BTreeSet<QualifiedName>, Refusal>, Error> {
    session.client().batch_execute(ONLY_BITMAPS).await?;
    let explain = format!("EXPLAIN (VERBOSE, FORMAT JSON)\n{sql}");
    let rows = match session.attempt(session.client().query(&explain, &[])).await? {
        Ok(rows) => rows,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut found = BTreeSet::new();
    for row in rows {
        let plan: Value = row.get(0);
        walk(&plan, &mut found);
    }
    Ok(Ok(found))
}

/// Visits every node of the plan.
fn walk(value: &Value, found: &mut BTreeSet<QualifiedName>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
        Value::Object(node) => {
            if is_unconditional_scan(value)
                && let (Some(schema), Some(name)) = (
                    node.get("Schema").and_then(Value::as_str),
                    node.get("Relation Name").and_then(Value::as_str),
                )
            {
                found.insert(QualifiedName { schema: schema.to_owned(), name: name.to_owned() });
            }
            node.values().for_each(|value| walk(value, found));
        }
        _ => {}
    }
}

fn is_unconditional_scan(node: &Value) -> bool {
    match node.get("Node Type").and_then(Value::as_str) {
        Some("Seq Scan" | "Sample Scan") => true,
        Some("Index Scan" | "Index Only Scan") => node.get("Index Cond").is_none(),
        Some("Bitmap Heap Scan") => !has_condition(node),
        _ => false,
    }
}

/// Whether the node or one below it searches an index.
fn has_condition(node: &Value) -> bool {
    node.get("Index Cond").is_some()
        || node.get("Plans").and_then(Value::as_array).is_some_and(|plans| plans.iter().any(has_condition))
}
