//! Hostile plans, through `handover plan check --offline` and `handover init`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use handover_sandbox::Server;
use handover_tests::{Setup, World, plan_dir};

use crate::row::{Row, Section, row};
use crate::settings::{Ended, run};

const PLAN: &str = "plan.toml";
const SQL: &str = "invoice_settings.extract.sql";

/// What is done to the example's plan.
pub(crate) enum Edit {
    /// The whole file `plan.toml`.
    Plan(Vec<u8>),
    /// One text in it for another.
    Swap(&'static str, String),
    /// The whole file of the extracting query.
    Sql(Vec<u8>),
    /// More behind that query.
    SqlAnd(&'static str),
}

use Edit::{Plan, Sql, SqlAnd, Swap};

const NAME: &str = "name     = \"invoice-settings\"";
const FORMAT: &str = "format   = 1";
const EXTRACT: &str = "\"invoice_settings.extract.sql\"";
const COLUMN: &str = "\"footer text\"";

fn name(name: &str) -> Edit {
    Swap(NAME, format!("name = \"{name}\""))
}

fn key(more: &str) -> Edit {
    Swap(NAME, format!("{NAME}\n{more}"))
}

fn extract(file: &str) -> Edit {
    Swap(EXTRACT, format!("\"{file}\""))
}

fn rows() -> Vec<Row<Edit>> {
    [files(), names(), syntax(), values(), sql()].into_iter().flatten().collect()
}

fn files() -> Vec<Row<Edit>> {
    let plan = std::fs::read(plan_dir("invoice-settings").join(PLAN)).unwrap_or_default();
    let text = String::from_utf8_lossy(&plan).into_owned();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let and = |more: &[u8]| Plan([plan.as_slice(), more].concat());
    vec![
        row("`plan.toml` is empty", Plan(Vec::new()), 3, "write its content"),
        row("`plan.toml` holds a NUL", and(b"\0"), 3, "save it as plain UTF-8 text"),
        row("`plan.toml` is not UTF-8", and(b"\xff\xfe"), 3, "save it as UTF-8"),
        row("`plan.toml` is UTF-16", Plan(wide), 3, "save it as"),
        row(
            "`plan.toml` begins with a byte order mark",
            Plan([b"\xef\xbb\xbf", plan.as_slice()].concat()),
            3,
            "without a byte order mark",
        ),
        row("`plan.toml` is larger than 1 MiB", and(&vec![b'#'; 2 << 20]), 3, "a plan holds no data"),
        row("90 000 empty entities", and(&b"[[entity]]\n".repeat(90_000)), 3, "several migrations"),
        row(
            "a string that does not end",
            and(&[b"x = \"\"\"".as_slice(), &vec![b'a'; 900_000]].concat()),
            3,
            "syntax",
        ),
    ]
}

fn names() -> Vec<Row<Edit>> {
    vec![
        row("a migration's name with a NUL", name("a\\u0000b"), 3, "use 1 to 63 of a-z, 0-9 and -"),
        row("a name that is SQL", name("a'; DROP TABLE x; --"), 3, "use 1 to 63 of a-z, 0-9 and -"),
        row("a name with a right-to-left override", name("a\u{202e}b"), 3, "use 1 to 63 of a-z, 0-9 and -"),
        row("a name of 10 000 characters", name(&"a".repeat(10_000)), 3, "use 1 to 63 of a-z, 0-9 and -"),
        row("no name", Swap(NAME, String::new()), 3, "add name ="),
        row("two names", key("name = \"other\""), 3, "keep one of the two"),
        row(
            "a column's name with a NUL",
            Swap(COLUMN, "\"foo\\u0000ter text\"".into()),
            3,
            "use 1 to 63 bytes",
        ),
        row("a column twice", Swap(COLUMN, format!("{COLUMN}, {COLUMN}")), 3, "remove or rename one of them"),
    ]
}

fn syntax() -> Vec<Row<Edit>> {
    let deep = |open: &str, times: usize| key(&format!("x = {}", open.repeat(times)));
    vec![
        row("100 000 arrays in each other", deep("[", 100_000), 3, "correct the syntax"),
        row("100 000 tables in each other", deep("{a=", 100_000), 3, "correct the syntax"),
        row(
            "a key of 100 000 parts",
            key(&format!("{}a = 1", "a.".repeat(100_000))),
            3,
            "correct the syntax",
        ),
        row("a key that does not exist", key("nmae = 1"), 3, "nmae"),
    ]
}

fn values() -> Vec<Row<Edit>> {
    let format = |value: &str| Swap(FORMAT, format!("format = {value}"));
    let ty = |ty: &str| Swap(COLUMN, format!("\"footer {ty}\""));
    vec![
        row("another format", format("2"), 3, "write format = 1"),
        row("a format below zero", format("-1"), 3, "write format = 1"),
        row("a format beyond all numbers", format("1e999"), 3, "write format = 1"),
        row("a format of 400 digits", format(&"9".repeat(400)), 3, "format"),
        row(
            "a key type that keys cannot have",
            Swap("user_key = \"int8\"", "user_key = \"float8\"".into()),
            3,
            "uuid",
        ),
        row("a type that has no canonical form", ty("xml"), 3, "docs/digest.md"),
        row("a type with more behind it", ty("text; DROP TABLE x"), 3, "docs/digest.md"),
        row("a type with a length", ty("varchar(10)"), 3, "docs/digest.md"),
        row(
            "a file above the folder",
            extract("../../../etc/passwd"),
            3,
            "name a file inside the plan's folder",
        ),
        row("a file by its whole path", extract("/etc/passwd"), 3, "name a file inside the plan's folder"),
        row("a file's name with a NUL", extract("a\\u0000b"), 3, "name a file inside the plan's folder"),
        row("a file's name of 5 000 characters", extract(&"a".repeat(5_000)), 3, "a"),
        row("the plan itself as SQL", extract("plan.toml"), 3, "name a file that holds SQL"),
        row(
            "a key column that is not there",
            Swap("key       = [\"legacy_id\"]", "key = [\"nope\"]".into()),
            3,
            "name one of `columns`",
        ),
    ]
}

fn sql() -> Vec<Row<Edit>> {
    let copy = b"COPY (SELECT :users) TO PROGRAM 'id'".to_vec();
    vec![
        row("an empty query", Sql(Vec::new()), 3, "write its content"),
        row("a query with a NUL", SqlAnd("\0"), 3, "save it as plain UTF-8 text"),
        row(
            "a query that is not UTF-8",
            Sql(b"SELECT '\xff' FROM x WHERE u = ANY(:users)".to_vec()),
            3,
            "UTF-8",
        ),
        row("two statements", SqlAnd("; DELETE FROM shop.invoice"), 3, "one query returns all rows"),
        row("a program on the server", Sql(copy), 3, "begin it with SELECT"),
        row("a query of everybody's rows", Sql(b"SELECT 1".to_vec()), 3, "= ANY(:users)"),
        row("`:users` inside a text only", Sql(b"SELECT ':users'".to_vec()), 3, "= ANY(:users)"),
        row("another placeholder", SqlAnd(" AND x = :user"), 3, "did you mean `:users`?"),
        row("a parameter", SqlAnd(" AND x = $1"), 3, "COPY takes no parameters"),
        row("a quote that does not end", SqlAnd(" '"), 3, "close it"),
        row("a dollar quote that does not end", SqlAnd(" $x$"), 3, "close it"),
        row("300 000 comments in each other", Sql(b"/*".repeat(300_000)), 3, "close it"),
    ]
}

pub(crate) fn section() -> Section {
    let about = "Through `handover plan check --offline`. A folder with such a plan is refused by `handover init` too, with \
                 the same findings, and nothing is stored.";
    Section::of("Plans", about, "exit code", &rows())
}

/// Puts the example's plan there, edited.
fn put(folder: &Path, edit: &Edit) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for file in std::fs::read_dir(plan_dir("invoice-settings"))? {
        let file = file?;
        std::fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    let plan = std::fs::read_to_string(folder.join(PLAN))?;
    let query = std::fs::read_to_string(folder.join(SQL))?;
    match edit {
        Plan(bytes) => std::fs::write(folder.join(PLAN), bytes)?,
        Swap(from, to) => {
            ensure!(plan.contains(from), "the example's plan has no {from}");
            std::fs::write(folder.join(PLAN), plan.replacen(from, to, 1))?;
        }
        Sql(bytes) => std::fs::write(folder.join(SQL), bytes)?,
        SqlAnd(more) => std::fs::write(folder.join(SQL), query.trim_end().to_owned() + more)?,
    }
    Ok(())
}

#[test]
fn a_hostile_plan_is_refused_with_its_place_and_a_remedy() -> Result<()> {
    for row in rows() {
        let folder = tempfile::tempdir()?;
        let plan = folder.path().join("plan");
        put(&plan, &row.input)?;
        let begun = std::time::Instant::now();
        let path = plan.display().to_string();
        let ended = run("handover", &["plan", "check", "--offline", &path], &[])?;
        ended.check(&row).with_context(|| row.what)?;
        ensure!(
            ended.err.contains("remedy: ") && ended.err.contains(&path),
            "{}: no place or remedy",
            row.what
        );
        ensure!(ended.err.len() < 100_000, "{}: {} bytes are said", row.what, ended.err.len());
        ensure!(begun.elapsed().as_secs() < 20, "{}: {:?}", row.what, begun.elapsed());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn init_stores_nothing_of_a_folder_with_a_hostile_plan() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    let folder = tempfile::tempdir()?;
    put(&folder.path().join("invoice-settings"), &name("a'; DROP TABLE x; --"))?;
    let stored = || world.number(Server::Destination, "SELECT count(*) FROM handover.plan");
    let before = stored().await?;
    let dir = folder.path().display().to_string();
    let mut command = world.command("handover")?;
    let output = command.args(["init", "--no-check"]).env("HANDOVER_PLANS__DIR", dir).output().await?;
    let ended = Ended::of(&output);
    ensure!(ended.code == 3 && ended.err.contains("use 1 to 63 of a-z"), "{ended:?}");
    ensure!(stored().await? == before, "a plan was stored");
    Ok(())
}
