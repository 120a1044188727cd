//! The generated SQL of one guarded table: its trigger functions and its triggers.
//!
//! A row trigger runs AFTER each row, so that it judges what is in the table, whatever other triggers made of
//! it; and is a row trigger, since the apply process of logical replication fires no other kind.

use std::fmt::Write as _;

use handover_postgres::{QualifiedName, quote_ident, quote_literal};
use sha2::{Digest, Sha256};

use crate::catalogue::Stored;
use crate::guard::{Columns, Guard, Link, Role};
use crate::{LOCK_CLASS, NOBODY, spelling};

/// The names under which one guard's parts stand in the database.
pub(crate) struct Names {
    pub(crate) row_function: QualifiedName,
    pub(crate) truncate_function: QualifiedName,
    pub(crate) row_trigger: String,
    pub(crate) truncate_trigger: String,
}

impl Names {
    /// Names that fit into 63 bytes, whatever the migration and the table are called.
    pub(crate) fn of(migration: &str, table: &QualifiedName) -> Self {
        let migration_tag = tag(&[migration]);
        let table_tag = tag(&[migration, &table.schema, &table.name]);
        let function = |kind: &str| QualifiedName {
            schema: "handover_fence".to_owned(),
            name: format!("{kind}_{table_tag}"),
        };
        Self {
            row_function: function("row"),
            truncate_function: function("truncate"),
            row_trigger: format!("handover_fence_row_{migration_tag}"),
            truncate_trigger: format!("handover_fence_truncate_{migration_tag}"),
        }
    }
}

fn tag(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(&hasher.finalize()[..6])
}

impl Guard {
    pub(crate) fn names(&self) -> Names {
        Names::of(&self.migration, &self.table)
    }

    /// A hash of all that is generated for this table: another one means that the plan or the program changed.
    pub(crate) fn definition(&self) -> String {
        hex::encode(&Sha256::digest(self.functions().as_bytes())[..16])
    }

    /// The statements that create or replace both functions. They run with the rights of the role that
    /// installs the fence: the application's roles need none on the fence's tables or on parent tables.
    ///
    /// A `SET search_path` would double the cost of a call, so every name, type and operator in them is qualified
    /// instead: the caller's search path must not choose what runs with another's rights. That rules out
    /// `IS DISTINCT FROM` and `IN`, which take their operator from the search path.
    pub(crate) fn functions(&self) -> String {
        let names = self.names();
        let declare = |name: &QualifiedName, body: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER \
                 AS {};\n\
                 REVOKE ALL ON FUNCTION {name}() FROM PUBLIC;\n",
                quote_literal(body)
            )
        };
        declare(&names.row_function, &self.row_body())
            + &declare(&names.truncate_function, &self.truncate_body())
    }

    fn truncate_body(&self) -> String {
        let migration = quote_literal(&self.migration);
        format!(
            "BEGIN\n PERFORM handover_fence.refuse_truncate({migration}, TG_TABLE_SCHEMA, TG_TABLE_NAME);\n \
             RETURN NULL;\nEND"
        )
    }

    fn row_body(&self) -> String {
        let mut body = String::from(
            "#variable_conflict use_variable\n\
             DECLARE v_new pg_catalog.text; v_old pg_catalog.text; v_held pg_catalog.text; \
             v_state pg_catalog.text;\nBEGIN\n",
        );
        if self.role == Role::Path {
            let unchanged = same(self.structural.iter());
            let _ = writeln!(body, "IF {} AND {unchanged} THEN RETURN NULL; END IF;", operation("UPDATE"));
        }
        let _ = writeln!(body, "IF NOT {} THEN\n{}END IF;", operation("DELETE"), self.check("NEW"));
        let (kept, update) = (same(self.reach_columns().iter()), operation("UPDATE"));
        let _ = writeln!(
            body,
            "IF {update} AND {kept} THEN v_old := v_new;\nELSIF NOT {} THEN\n{}END IF;",
            operation("INSERT"),
            self.check("OLD")
        );
        if !self.children.is_empty() {
            let (migration, nobody) = (quote_literal(&self.migration), quote_literal(NOBODY));
            let _ = writeln!(
                body,
                "IF {update} AND coalesce(v_old, {nobody}) OPERATOR(pg_catalog.<>) coalesce(v_new, {nobody}) THEN\n \
                 INSERT INTO handover_fence.crossing (migration, old_key, new_key) \
                 VALUES ({migration}, coalesce(v_old, {nobody}), coalesce(v_new, {nobody}));\nEND IF;"
            );
        }
        body.push_str("RETURN NULL;\nEND");
        body
    }

    /// The columns of this table that lead to its user.
    fn reach_columns(&self) -> Columns {
        match self.links.first() {
            Some(link) => link.pairs.iter().map(|pair| pair.here.clone()).collect(),
            None => [self.user.clone()].into(),
        }
    }

    /// The check of one of the two rows.
    fn check(&self, row: &str) -> String {
        if self.links.is_empty() { self.check_own(row) } else { self.check_way(row) }
    }

    /// The row itself holds the key: lock, then look. What this transaction has looked up under a lock that it
    /// still holds needs no second look: no pause is over before this transaction is.
    fn check_own(&self, row: &str) -> String {
        let variable = variable(row);
        let key = spelling::of_user(&at(row, &self.user.0), &self.user.1, self.key).unwrap_or_default();
        let (migration, held) = (quote_literal(&self.migration), self.held());
        format!(
            "{variable} := {key};\n\
             IF {variable} IS NOT NULL AND \
             (pg_catalog.current_setting({held}, true) OPERATOR(pg_catalog.=) {variable}) IS NOT TRUE THEN\n \
             PERFORM pg_catalog.pg_advisory_xact_lock_shared({LOCK_CLASS}, handover_fence.bucket({variable}));\n \
             SELECT f.state INTO v_state FROM handover_fence.fenced f \
             WHERE f.user_key OPERATOR(pg_catalog.=) {variable} COLLATE pg_catalog.\"C\" \
             AND f.migration OPERATOR(pg_catalog.=) {migration};\n \
             IF FOUND THEN\n{refusal} ELSE\n  \
             IF {old_snapshot} AND handover_fence.behind() THEN \
             PERFORM handover_fence.probe({variable}, {migration}); END IF;\n  \
             PERFORM pg_catalog.set_config({held}, {variable}, true);\n END IF;\nEND IF;\n",
            refusal = self.refusal(row),
            old_snapshot = OLD_SNAPSHOT,
        )
    }

    /// The row reaches its user through others: looked up, locked, and looked up again until the user found is
    /// one whose lock was held before the look. An old snapshot may take a parent for another user's than it is
    /// now: FOR SHARE fails where the parent has changed since, and keeps it as it is. `!` is a row that reaches
    /// nobody yet, such as a child that is written before its parent.
    fn check_way(&self, row: &str) -> String {
        let variable = variable(row);
        let (migration, held, nobody) = (quote_literal(&self.migration), self.held(), quote_literal(NOBODY));
        let (way, condition) = self.way(row);
        let last = format!("p{}", self.links.len());
        let key = spelling::of_user(&at(&last, &self.user.0), &self.user.1, self.key).unwrap_or_default();
        let given = self.links[0].pairs.iter().map(|pair| format!("{} IS NOT NULL", at(row, &pair.here.0)));
        let given = given.collect::<Vec<_>>().join(" AND ");
        // A deleted row whose parent is gone, where the server vouches for parents: this very transaction
        // deleted the parent, whose own trigger does the checking.
        let is_cascade = row == "OLD" && self.links.iter().all(|link| link.is_enforced);
        let cascade = if is_cascade {
            format!("  IF NOT FOUND AND {} THEN RETURN NULL; END IF;\n", operation("DELETE"))
        } else {
            String::new()
        };
        format!(
            "IF {given} THEN\n v_held := pg_catalog.current_setting({held}, true);\n LOOP\n  \
             SELECT {key}, f.state INTO {variable}, v_state FROM {way} LEFT JOIN handover_fence.fenced f \
             ON f.user_key OPERATOR(pg_catalog.=) {key} AND f.migration OPERATOR(pg_catalog.=) {migration} WHERE {condition};\n{cascade}  \
             {variable} := coalesce({variable}, {nobody});\n  \
             EXIT WHEN {variable} OPERATOR(pg_catalog.=) v_held;\n  \
             PERFORM pg_catalog.pg_advisory_xact_lock_shared({LOCK_CLASS}, handover_fence.bucket({variable}));\n  \
             v_held := {variable};\n END LOOP;\n \
             IF {variable} OPERATOR(pg_catalog.=) pg_catalog.current_setting({held}, true) THEN\n  \
             IF {old_snapshot} AND {variable} OPERATOR(pg_catalog.<>) {nobody} AND handover_fence.behind() THEN \
             PERFORM 1 FROM {way} WHERE {condition} FOR SHARE; END IF;\n \
             ELSIF v_state IS NOT NULL THEN\n{refusal} ELSE\n  \
             IF {old_snapshot} AND handover_fence.behind() THEN\n   \
             IF {variable} OPERATOR(pg_catalog.=) {nobody} THEN PERFORM handover_fence.stale(); END IF;\n   \
             PERFORM handover_fence.probe({variable}, {migration});\n   \
             PERFORM 1 FROM {way} WHERE {condition} FOR SHARE;\n  END IF;\n  \
             PERFORM pg_catalog.set_config({held}, {variable}, true);\n END IF;\nEND IF;\n",
            refusal = self.refusal(row),
            old_snapshot = OLD_SNAPSHOT,
        )
    }

    /// The joined tables from the nearest parent up, and what ties them to the row.
    fn way(&self, row: &str) -> (String, String) {
        let mut from = String::new();
        let mut condition = String::new();
        for (index, link) in self.links.iter().enumerate() {
            let alias = format!("p{}", index + 1);
            if index == 0 {
                let _ = write!(from, "{} {alias}", link.parent);
                condition = tie(link, row, &alias);
            } else {
                let below = format!("p{index}");
                let _ = write!(from, " JOIN {} {alias} ON {}", link.parent, tie(link, &below, &alias));
            }
        }
        (from, condition)
    }

    /// Raises, where a fenced user's row of this table may not be written so.
    fn refusal(&self, row: &str) -> String {
        let migration = quote_literal(&self.migration);
        let carried = format!(
            "((v_state OPERATOR(pg_catalog.=) 'returning' AND \
             pg_catalog.current_setting('handover_fence.carry', true) OPERATOR(pg_catalog.=) {migration}) IS TRUE)"
        );
        let refused = match self.role {
            Role::Moves => format!("NOT {carried}"),
            Role::Path => format!(
                "NOT {carried} AND (v_state OPERATOR(pg_catalog.<>) 'moved' OR {}{})",
                operation("UPDATE"),
                if row == "NEW" { self.has_children() } else { String::new() }
            ),
        };
        format!(
            "  IF {refused} THEN PERFORM handover_fence.refuse({variable}, {migration}, v_state, \
             TG_TABLE_SCHEMA, TG_TABLE_NAME); END IF;\n",
            variable = variable(row),
        )
    }

    /// A new row of a path that finds its children there already: they were written first, unseen.
    fn has_children(&self) -> String {
        let mut sql = String::new();
        for (child, pairs) in &self.children {
            let ties: Vec<String> = pairs
                .iter()
                .map(|pair| {
                    let (here, there) = (at("c", &pair.here.0), at("NEW", &pair.there.0));
                    spelling::equal((&here, &pair.here.1), (&there, &pair.there.1))
                })
                .collect();
            let _ = write!(sql, " OR EXISTS (SELECT FROM {child} c WHERE {})", ties.join(" AND "));
        }
        sql
    }

    /// The setting, as a literal, in which a transaction notes the user whose lock it holds and whom it found
    /// unfenced. It is local to the transaction, and goes with a savepoint as the lock does.
    fn held(&self) -> String {
        quote_literal(&format!("handover_fence.held_{}", tag(&[&self.migration])))
    }
}

/// Under these levels a query does not see what was committed since the transaction began.
const OLD_SNAPSHOT: &str = "(pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'repeatable read' \
     OR pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'serializable')";

/// Whether that is what was done to the row.
fn operation(name: &str) -> String {
    format!("(TG_OP OPERATOR(pg_catalog.=) '{name}')")
}

fn variable(row: &str) -> &'static str {
    if row == "NEW" { "v_new" } else { "v_old" }
}

fn at(row: &str, column: &str) -> String {
    format!("{row}.{}", quote_ident(column))
}

fn tie(link: &Link, below: &str, above: &str) -> String {
    let ties: Vec<String> = link
        .pairs
        .iter()
        .map(|pair| {
            let (here, there) = (at(below, &pair.here.0), at(above, &pair.there.0));
            spelling::equal((&there, &pair.there.1), (&here, &pair.here.1))
        })
        .collect();
    ties.join(" AND ")
}

/// Whether an update left these columns as they were.
fn same<'c>(columns: impl Iterator<Item = (&'c String, &'c Stored)>) -> String {
    let same = columns.map(|(column, stored)| {
        let (old, new) = (at("OLD", column), at("NEW", column));
        let equal = spelling::equal((&old, stored), (&new, stored));
        format!("(({equal}) IS TRUE OR ({old} IS NULL AND {new} IS NULL))")
    });
    format!("({})", same.collect::<Vec<_>>().join(" AND "))
}
