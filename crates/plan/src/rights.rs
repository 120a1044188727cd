//! Which privileges a plan's SQL needs: for the roles that an operator makes, and for those who check them.
//!
//! The text is all that is looked at, so that it can be asked before any role exists: each `schema.name` in it
//! counts as a relation that is read, and more is needed of those that a statement changes. What is really a
//! column of an alias (`r.id`) is in the list too; whoever asks keeps the names that the catalogue knows.

use std::collections::{BTreeMap, BTreeSet};

use handover_postgres::QualifiedName;

use crate::plan::{Plan, TargetKind};
use crate::token::{Kind, Token, tokenize};

/// What a role may do to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Read its rows.
    Select,
    /// Add rows.
    Insert,
    /// Change rows.
    Update,
    /// Remove rows.
    Delete,
}

impl Privilege {
    /// As SQL spells it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Relations, and what is needed of each.
pub type Rights = BTreeMap<QualifiedName, BTreeSet<Privilege>>;

impl Plan {
    /// What its extracts, and the checks before them, need on the legacy side: reading, and nothing else.
    pub fn source_rights(&self) -> Rights {
        let mut rights = Rights::new();
        for entity in self.entities() {
            named(&entity.extract, &mut rights);
        }
        for table in self.legacy().iter().filter(|table| table.ignore_table.is_none()) {
            grant(&mut rights, table.table.clone(), Privilege::Select);
        }
        rights
    }

    /// What its loads, read-backs and removals need at the destination.
    pub fn destination_rights(&self) -> Rights {
        let mut rights = Rights::new();
        for entity in self.entities() {
            named(&entity.read_back, &mut rights);
            named(&entity.delete, &mut rights);
            match &entity.target {
                TargetKind::Load { sql } => named(sql, &mut rights),
                TargetKind::Table { table, .. } => {
                    grant(&mut rights, table.clone(), Privilege::Select);
                    grant(&mut rights, table.clone(), Privilege::Insert);
                }
            }
        }
        rights
    }

    /// What its reverse loads need on the legacy primary; only a rollback that carries changes back runs them.
    pub fn reverse_rights(&self) -> Rights {
        let mut rights = Rights::new();
        for reverse in self.entities().iter().filter_map(|entity| entity.reverse.as_deref()) {
            named(reverse, &mut rights);
        }
        rights
    }
}

fn grant(rights: &mut Rights, table: QualifiedName, privilege: Privilege) {
    rights.entry(table).or_default().insert(privilege);
}

/// Every relation that the text may name, and what the statements around it do to it.
fn named(sql: &str, rights: &mut Rights) {
    // A plan's SQL has been through the lexer when it was read.
    let Ok(tokens) = tokenize(sql) else { return };
    let tokens: Vec<Token<'_>> = tokens.into_iter().filter(|token| token.kind != Kind::Blank).collect();
    let mut inserted: Option<QualifiedName> = None;
    for at in 0..tokens.len() {
        if let (true, Some(table)) = (updates_on_conflict(&tokens[at..]), &inserted) {
            grant(rights, table.clone(), Privilege::Update);
        }
        let Some(table) = pair(&tokens, at) else { continue };
        grant(rights, table.clone(), Privilege::Select);
        let Some(change) = change(&tokens[..at]) else { continue };
        grant(rights, table.clone(), change);
        if change == Privilege::Insert {
            inserted = Some(table);
        }
    }
}

/// `schema.name`, where these tokens are its beginning.
fn pair(tokens: &[Token<'_>], at: usize) -> Option<QualifiedName> {
    let [schema, dot, name, ..] = tokens.get(at..)? else { return None };
    // The middle of `a.b.c` begins no name.
    let is_continued = at > 0 && tokens[at - 1].text == ".";
    if dot.text != "." || is_continued {
        return None;
    }
    Some(QualifiedName { schema: identifier(*schema)?, name: identifier(*name)? })
}

fn identifier(token: Token<'_>) -> Option<String> {
    match token.kind {
        Kind::Word => Some(token.text.to_lowercase()),
        Kind::Quoted => Some(token.text.strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\"")),
        _ => None,
    }
}

/// What a statement does to the table whose name comes next.
fn change(before: &[Token<'_>]) -> Option<Privilege> {
    let before = match before {
        [rest @ .., only] if only.is_word("ONLY") => rest,
        all => all,
    };
    match before {
        [.., insert, into] if insert.is_word("INSERT") && into.is_word("INTO") => Some(Privilege::Insert),
        [.., delete, from] if delete.is_word("DELETE") && from.is_word("FROM") => Some(Privilege::Delete),
        // `FOR UPDATE OF` and `DO UPDATE SET` name no table next.
        [.., update] if update.is_word("UPDATE") => Some(Privilege::Update),
        _ => None,
    }
}

fn updates_on_conflict(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [first, second, ..] if first.is_word("DO") && second.is_word("UPDATE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Vec<(String, Vec<Privilege>)> {
        let mut rights = Rights::new();
        named(sql, &mut rights);
        let name = |table: QualifiedName| format!("{}.{}", table.schema, table.name);
        rights.into_iter().map(|(table, rights)| (name(table), rights.into_iter().collect())).collect()
    }

    #[test]
    fn what_a_query_names_is_read() {
        use Privilege::Select;
        let sql = "SELECT 1 FROM shop.invoice JOIN \"Odd Shop\".\"a\"\"b\" ON true -- not.this\n WHERE x = 'nor.this'";
        let expected =
            [("Odd Shop.a\"b".to_owned(), vec![Select]), ("shop.invoice".to_owned(), vec![Select])];
        assert_eq!(of(sql), expected);
    }

    #[test]
    fn what_a_statement_changes_needs_more_than_reading() {
        use Privilege::{Delete, Insert, Select, Update};
        let expected = |right| [("a.b".to_owned(), vec![Select, right])];
        assert_eq!(of("insert into A.B VALUES (1)"), expected(Insert));
        assert_eq!(of("DELETE FROM ONLY a.b"), expected(Delete));
        assert_eq!(of("UPDATE a.b SET c = 1"), expected(Update));
        let upsert = of("INSERT INTO a.b SELECT 1 ON CONFLICT (c) DO UPDATE SET d = 2");
        assert_eq!(upsert, [("a.b".to_owned(), vec![Select, Insert, Update])]);
    }

    #[test]
    fn the_end_of_a_column_s_full_name_is_no_relation() {
        assert_eq!(of("SELECT shop.invoice.id"), [("shop.invoice".to_owned(), vec![Privilege::Select])]);
    }
}
