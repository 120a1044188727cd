//! SQL files: what each may hold, and how `:users` becomes something that COPY can run.
//!
//! The compiled text has exactly the file's lines, so that a line that the server complains of is the file's.
//! Whether names and types exist is not decided here.

use handover_postgres::QualifiedName;

use crate::KeyType;
use crate::suggest::nearest;
use crate::token::{Kind, Token, tokenize};

/// What a file is for, and so what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `extract` and `read_back`: one query over `:users`, put inside a COPY.
    Query,
    /// `delete`: statements each of which names `:users`.
    Delete,
    /// `load` and `reverse`: statements over the temporary table of canonical rows.
    Load,
}

/// A problem at a byte of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) at: usize,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl Problem {
    fn new(at: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at, what: what.into(), remedy: remedy.into() }
    }
}

/// The words with which a statement may begin. Everything else (TRUNCATE, COMMIT, DDL, …) is not a plan's to do.
const QUERIES: &[&str] = &["SELECT", "WITH", "VALUES", "TABLE"];
const CHANGES: &[&str] = &["DELETE", "INSERT", "UPDATE", "MERGE", "WITH", "SELECT"];

/// The SQL that stands for `:users`: an array that the caller sets by a bound parameter of `set_config`.
/// In parentheses, since a subscript that follows `int8[]` would be read as part of the type.
fn users_expression(key: KeyType) -> String {
    format!("(current_setting('handover.users')::{}[])", key.sql())
}

/// The text with `:users` replaced, and without what follows the last statement.
pub(crate) fn compile(sql: &str, role: Role, key: KeyType, entity: &str) -> Result<String, Vec<Problem>> {
    let tokens = tokenize(sql)
        .map_err(|open| vec![Problem::new(open.at, format!("the {} does not end", open.what), "close it")])?;
    let mut problems = check_tokens(&tokens);
    check_statements(&split(&tokens), role, entity, &mut problems);
    if problems.is_empty() { Ok(replace(&tokens, key)) } else { Err(problems) }
}

/// The statements of compiled SQL, each with the byte at which it begins.
pub(crate) fn statements(sql: &str) -> Vec<(usize, &str)> {
    let tokens = tokenize(sql).unwrap_or_default();
    split(&tokens)
        .iter()
        .filter_map(|statement| {
            let (first, last) = (statement.first()?, statement.last()?);
            Some((first.at, &sql[first.at..last.end()]))
        })
        .collect()
}

/// The column, in the file as it was written, of a column of the compiled text.
pub(crate) fn original_column(compiled: &str, line: u32, column: u32, key: KeyType) -> u32 {
    let users = users_expression(key);
    let line = compiled.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
    let before: String = line.chars().take(column.saturating_sub(1) as usize).collect();
    let longer = (users.len() - ":users".len()) as u32;
    column.saturating_sub(before.matches(&users).count() as u32 * longer)
}

/// The bytes at which a `*` stands for columns: behind SELECT, a comma or a dot, and not as a product.
pub(crate) fn stars(sql: &str) -> Vec<usize> {
    let tokens = tokenize(sql).unwrap_or_default();
    let code: Vec<_> = tokens.iter().filter(|token| token.kind != Kind::Blank).collect();
    let is_star = |pair: &&[&Token<'_>]| {
        let before = pair[0];
        let opens = ["SELECT", "ALL", "DISTINCT", "RETURNING"].iter().any(|word| before.is_word(word));
        pair[1].text == "*" && (opens || before.text == "," || before.text == ".")
    };
    code.windows(2).filter(is_star).map(|pair| pair[1].at).collect()
}

/// The byte at which a table is mentioned with its schema.
pub(crate) fn mention(sql: &str, table: &QualifiedName) -> Option<usize> {
    let tokens = tokenize(sql).unwrap_or_default();
    let is_it = |three: &&[Token<'_>]| {
        names(&three[0], &table.schema) && three[1].text == "." && names(&three[2], &table.name)
    };
    tokens.windows(3).find(is_it).map(|three| three[0].at)
}

/// The tables, as they are written, that the statement inserts into.
pub(crate) fn insert_targets(statement: &str) -> Vec<String> {
    let tokens = tokenize(statement).unwrap_or_default();
    let code: Vec<_> = tokens.iter().filter(|token| token.kind != Kind::Blank).collect();
    let mut targets = Vec::new();
    for (nth, pair) in code.windows(2).enumerate() {
        let opens = pair[0].is_word("INSERT") || pair[0].is_word("MERGE");
        if opens && pair[1].is_word("INTO") {
            let name = code[nth + 2..]
                .iter()
                .take_while(|token| matches!(token.kind, Kind::Word | Kind::Quoted) || token.text == ".");
            // `schema.table` and an alias: the name ends where no dot stands between two of its parts.
            targets.push(join_name(name.map(|token| token.text)));
        }
    }
    targets
}

fn join_name<'t>(parts: impl Iterator<Item = &'t str>) -> String {
    let mut name = String::new();
    for part in parts {
        if part != "." && !name.is_empty() && !name.ends_with('.') {
            break;
        }
        name.push_str(part);
    }
    name
}

/// The tokens of each statement, without blanks before and behind.
fn split<'t, 's>(tokens: &'t [Token<'s>]) -> Vec<&'t [Token<'s>]> {
    tokens
        .split(|token| token.kind == Kind::Semicolon)
        .map(|part| {
            let begin = part.iter().position(|t| t.kind != Kind::Blank).unwrap_or(part.len());
            let end = part.iter().rposition(|t| t.kind != Kind::Blank).map_or(begin, |last| last + 1);
            &part[begin..end]
        })
        .filter(|part| !part.is_empty())
        .collect()
}

fn replace(tokens: &[Token<'_>], key: KeyType) -> String {
    let last = tokens.iter().rposition(|t| !matches!(t.kind, Kind::Blank | Kind::Semicolon));
    let kept = &tokens[..last.map_or(0, |last| last + 1)];
    let users = users_expression(key);
    kept.iter().map(|token| if is_users(token) { users.as_str() } else { token.text }).collect()
}

fn is_users(token: &Token<'_>) -> bool {
    token.kind == Kind::Placeholder && token.text == ":users"
}

fn check_tokens(tokens: &[Token<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut brackets = 0_usize;
    for token in tokens {
        match token.kind {
            Kind::Symbol if token.text == "[" => brackets += 1,
            Kind::Symbol if token.text == "]" => brackets = brackets.saturating_sub(1),
            // Inside brackets `:n` is the end of a slice.
            Kind::Placeholder if !is_users(token) && brackets == 0 => problems.push(unknown(token)),
            Kind::Parameter => problems.push(Problem::new(
                token.at,
                format!("the parameter `{}` is never bound", token.text),
                "use `:users`; COPY takes no parameters",
            )),
            _ => {}
        }
    }
    problems
}

fn unknown(token: &Token<'_>) -> Problem {
    let remedy = match nearest(&token.text[1..], ["users"]) {
        Some(_) => "did you mean `:users`? it is the only placeholder",
        None => "`:users` is the only placeholder; write constants into the SQL",
    };
    Problem::new(token.at, format!("unknown placeholder `{}`", token.text), remedy)
}

fn check_statements(statements: &[&[Token<'_>]], role: Role, entity: &str, problems: &mut Vec<Problem>) {
    let Some(first) = statements.first() else {
        problems.push(Problem::new(0, "the file holds no statement", "write the SQL, or remove the key"));
        return;
    };
    if role == Role::Query {
        if let Some(second) = statements.get(1) {
            problems.push(Problem::new(
                second[0].at,
                "a second statement",
                "one query returns all rows: join, or use UNION ALL",
            ));
        }
        check_query(first, problems);
        return;
    }
    for statement in statements {
        check_change(statement, role, entity, problems);
    }
}

fn check_query(statement: &[Token<'_>], problems: &mut Vec<Problem>) {
    let opening = statement.iter().find(|t| t.kind != Kind::Blank && t.text != "(").unwrap_or(&statement[0]);
    if !QUERIES.iter().any(|word| opening.is_word(word)) {
        problems.push(Problem::new(
            opening.at,
            format!("the query begins with `{}`", shown(opening)),
            "begin it with SELECT, WITH, VALUES or TABLE",
        ));
    }
    if !statement.iter().any(is_users) {
        problems.push(Problem::new(
            statement[0].at,
            "the query does not filter by `:users`, so that it would return everyone's rows",
            "add a condition such as `owner_id = ANY(:users)`",
        ));
    }
}

fn check_change(statement: &[Token<'_>], role: Role, entity: &str, problems: &mut Vec<Problem>) {
    let opening = &statement[0];
    if !CHANGES.iter().any(|word| opening.is_word(word)) {
        problems.push(Problem::new(
            opening.at,
            format!("the statement begins with `{}`", shown(opening)),
            "begin it with DELETE, INSERT, UPDATE, MERGE, WITH or SELECT; the transaction is the engine's",
        ));
        return;
    }
    let for_users = statement.iter().any(is_users);
    let over_rows = role == Role::Load && statement.iter().any(|token| names(token, entity));
    if !for_users && !over_rows {
        let (what, remedy) = match role {
            Role::Load => (
                format!("the statement reads neither the temporary table `{entity}` nor `:users`"),
                format!("select from `{entity}`, or add a condition over `:users`"),
            ),
            _ => (
                "the statement is not limited to `:users`, so that it would touch everyone's rows".to_owned(),
                "add a condition such as `owner_id = ANY(:users)`".to_owned(),
            ),
        };
        problems.push(Problem::new(opening.at, what, remedy));
    }
}

fn names(token: &Token<'_>, entity: &str) -> bool {
    token.is_word(entity) || (token.kind == Kind::Quoted && token.text.trim_matches('"') == entity)
}

/// The first characters of a token, for a message.
fn shown(token: &Token<'_>) -> String {
    token.text.chars().take(20).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(sql: &str) -> Result<String, Vec<Problem>> {
        compile(sql, Role::Query, KeyType::Int8, "post")
    }

    fn complaints(sql: &str, role: Role) -> Vec<String> {
        let problems = compile(sql, role, KeyType::Int8, "post").err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn users_becomes_the_setting_and_nothing_else_changes() {
        let sql = "-- of :users\nSELECT ':users', a::int8 FROM t\nWHERE u = ANY(:users) ;  -- end\n";
        let compiled = query(sql).unwrap();
        assert_eq!(
            compiled,
            "-- of :users\nSELECT ':users', a::int8 FROM t\n\
             WHERE u = ANY((current_setting('handover.users')::int8[]))"
        );
    }

    #[test]
    fn a_query_is_one_statement_that_filters_by_users() {
        assert!(query("SELECT 1 WHERE 1 = ANY(:users);;").is_ok());
        assert!(query("((SELECT 1 WHERE 1 = ANY(:users)))").is_ok());
        assert_eq!(complaints("SELECT :users; SELECT 2", Role::Query), ["a second statement"]);
        assert!(complaints("SELECT 1", Role::Query)[0].contains("everyone's rows"));
        assert!(complaints("DELETE FROM t WHERE u = ANY(:users)", Role::Query)[0].contains("`DELETE`"));
        assert!(complaints("  -- nothing\n;", Role::Query)[0].contains("no statement"));
    }

    #[test]
    fn parameters_and_unknown_placeholders_are_refused_but_slices_are_not() {
        assert!(complaints("SELECT $1, :users", Role::Query)[0].contains("never bound"));
        let problem = query("SELECT :user").unwrap_err().remove(0);
        assert!(problem.remedy.contains("did you mean `:users`"), "{problem:?}");
        assert!(query("SELECT (:users)[1:n], a[b:c] FROM t").is_ok());
    }

    #[test]
    fn each_statement_of_a_delete_is_limited_to_the_users() {
        assert_eq!(
            complaints("DELETE FROM a WHERE u = ANY(:users); DELETE FROM b", Role::Delete),
            ["the statement is not limited to `:users`, so that it would touch everyone's rows"]
        );
        assert!(complaints("TRUNCATE post", Role::Delete)[0].contains("begins with `TRUNCATE`"));
        assert!(complaints("COMMIT", Role::Load)[0].contains("begins with `COMMIT`"));
    }

    #[test]
    fn a_load_reads_the_temporary_table() {
        assert!(
            complaints(
                "INSERT INTO a.b SELECT x FROM \"post\"; INSERT INTO c SELECT y FROM post",
                Role::Load
            )
            .is_empty()
        );
        assert!(complaints("INSERT INTO a.b VALUES (1)", Role::Load)[0].contains("temporary table `post`"));
    }

    #[test]
    fn columns_of_the_compiled_text_are_those_of_the_file() {
        let sql = "SELECT 1\nWHERE a = ANY(:users) AND nope";
        let compiled = query(sql).unwrap();
        let line = compiled.lines().nth(1).unwrap();
        let column = line.find("nope").unwrap() as u32 + 1;
        assert_eq!(original_column(&compiled, 2, column, KeyType::Int8), 27);
        assert_eq!(original_column(&compiled, 9, 4, KeyType::Int8), 4);
    }

    #[test]
    fn stars_are_told_from_products_and_counts() {
        assert_eq!(
            stars("SELECT *, t.* , count(*), a * b, '*' FROM (SELECT DISTINCT * FROM x) t"),
            [7, 12, 59]
        );
    }

    #[test]
    fn the_targets_of_inserts_are_found() {
        let sql = "WITH x AS (INSERT INTO a.\"B\" AS t (c) SELECT 1 RETURNING c) INSERT INTO c.d SELECT 1";
        assert_eq!(insert_targets(sql), ["a.\"B\"", "c.d"]);
        assert_eq!(insert_targets("SELECT 'INSERT INTO x.y'"), Vec::<String>::new());
    }

    #[test]
    fn statements_are_found_with_their_place() {
        let sql = "-- a\nDELETE ';' ;\n\n SELECT 1";
        assert_eq!(statements(sql), [(5, "DELETE ';'"), (20, "SELECT 1")]);
    }

    proptest! {
        #[test]
        fn compiling_never_panics_and_keeps_the_lines(sql in "(SELECT|:users|:x|'|E'|--|/\\*|\\*/|\n|;|\\$\\$|\\$1|\\[|\\]| ){0,30}") {
            for role in [Role::Query, Role::Delete, Role::Load] {
                if let Ok(compiled) = compile(&sql, role, KeyType::Text, "e") {
                    prop_assert!(sql.lines().count() >= compiled.lines().count());
                }
            }
        }
    }
}
