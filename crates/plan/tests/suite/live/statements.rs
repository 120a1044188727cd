//! SQL that the server refuses, and queries that return something else than is declared.

use handover_plan::Code;
use handover_plan::Severity::{Error, Warning};

use super::{Case, PLAN, World};

const EXTRACT: &str = "article.extract.sql";
const READ_BACK: &str = "article.read_back.sql";

#[tokio::test]
async fn refused_sql_is_shown_with_its_line_in_its_file() {
    let cases = [
        Case {
            edits: &[(EXTRACT, "       p.state,", "       p.stat AS state,")],
            expected: &[(
                Error,
                Code::SqlRefused,
                EXTRACT,
                "p.stat AS",
                "legacy: column p.stat does not exist",
            )],
            ..Case::default()
        },
        Case {
            edits: &[(EXTRACT, "FROM blog.post p", "FROM post p")],
            expected: &[(Error, Code::SqlRefused, EXTRACT, "FROM post", "\"post\" does not exist")],
            ..Case::default()
        },
        Case {
            edits: &[(READ_BACK, "FROM press.article", "FROM press.artcle")],
            expected: &[(Error, Code::SqlRefused, READ_BACK, "press.artcle", "destination: relation")],
            ..Case::default()
        },
        Case {
            edits: &[("reply.delete.sql", "a.id = r.article_id", "a.id = r.articel_id")],
            expected: &[(
                Error,
                Code::SqlRefused,
                "reply.delete.sql",
                "articel_id",
                "articel_id does not exist",
            )],
            ..Case::default()
        },
        Case {
            edits: &[("reply.delete.sql", "DELETE FROM", "DELETE FORM")],
            expected: &[(Error, Code::SqlRefused, "reply.delete.sql", "FORM", "syntax error")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn the_column_that_is_shown_is_the_files_also_behind_a_placeholder() {
    let world = World::start().await;
    let case = Case { edits: &[(EXTRACT, "ANY (:users)\n", "ANY (:users) AND p.nope\n")], ..Case::default() };
    let (source, target) = world.databases(&case).await;
    let plan = handover_plan::Plan::from_files(crate::common::edited(case.edits)).unwrap();
    let found = handover_plan::check(&plan, &source, &target).await.unwrap();
    let text = " WHERE p.author_id = ANY (:users) AND p.nope";
    let column = text.find("p.nope").unwrap() as u32 + 1;
    assert_eq!((found[0].line, found[0].column), (17, column), "{}", found[0]);
}

#[tokio::test]
async fn queries_must_return_the_declared_columns_and_types() {
    let cases = [
        Case {
            edits: &[(EXTRACT, "AS legacy_id", "AS legacyid")],
            expected: &[(
                Error,
                Code::ColumnMismatch,
                EXTRACT,
                "SELECT",
                "lacks legacy_id, and also returns legacyid",
            )],
            ..Case::default()
        },
        Case {
            edits: &[(READ_BACK, ",\n       a.id\n", "\n")],
            expected: &[(Error, Code::ColumnMismatch, READ_BACK, "SELECT", "lacks id")],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "    \"slug text\",\n    \"title text\",\n",
                "    \"title text\",\n    \"slug text\",\n",
            )],
            expected: &[
                (Error, Code::ColumnMismatch, EXTRACT, "SELECT", "the order is"),
                (Error, Code::ColumnMismatch, READ_BACK, "SELECT", "the order is"),
            ],
            ..Case::default()
        },
        Case {
            edits: &[(EXTRACT, "p.slug::text                      AS", "p.slug AS")],
            expected: &[(Error, Code::ColumnMismatch, PLAN, "slug text", "returns `slug` as varchar")],
            ..Case::default()
        },
        Case {
            edits: &[(
                EXTRACT,
                "p.published_at AT TIME ZONE 'UTC' AS",
                "(p.published_at AT TIME ZONE 'UTC')::timestamptz(3) AS",
            )],
            expected: &[(Error, Code::TypeModifier, PLAN, "published_at timestamptz", "could cut values")],
            ..Case::default()
        },
        Case {
            edits: &[(EXTRACT, "p.author_id::int8", "p.author_id")],
            expected: &[(Error, Code::ColumnMismatch, EXTRACT, "SELECT", "`author` of type int4")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, "\"id uuid\"", "\"id text\"")],
            expected: &[(Error, Code::ColumnMismatch, PLAN, "\"id text\"", "returns `id` as uuid")],
            ..Case::default()
        },
        Case {
            edits: &[(EXTRACT, "p.state,", "(p.id, p.state) AS state,")],
            expected: &[(Error, Code::ColumnMismatch, PLAN, "state int2", "as record")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn enums_domains_and_arrays_of_them_are_of_the_list() {
    let cases = [Case {
        edits: &[
            (PLAN, "\"slug text\",", "\"slug text\", \"mood enum\", \"moods enum[]\", \"rating numeric\","),
            (
                PLAN,
                "slug         =",
                "mood = { column = \"mood\" }\nrating = { column = \"rating\" }\nmoods = { column = \"moods\" }\nslug =",
            ),
            (EXTRACT, "       p.title::text", "       p.mood, p.moods, p.rating, p.title::text"),
            (READ_BACK, "       a.title,", "       a.mood, a.moods, a.rating, a.title,"),
        ],
        legacy: "CREATE TYPE blog.mood AS ENUM ('good'); CREATE DOMAIN blog.rating AS numeric; \
                 ALTER TABLE blog.post ADD mood blog.mood, ADD moods blog.mood[], ADD rating blog.rating",
        destination: "CREATE TYPE press.mood AS ENUM ('good'); CREATE DOMAIN press.rating AS numeric; \
                      CREATE DOMAIN press.stars AS press.rating; \
                      ALTER TABLE press.article ADD mood press.mood, ADD moods press.mood[], ADD rating press.stars",
        ..Case::default()
    }];
    World::start().await.expect_exactly(&cases).await;
}

const LOAD_FILE: &str = "reply.load.sql";
/// The example of `docs/plans.md`.
pub(crate) const LOAD: &str = "INSERT INTO press.reply (article_id, legacy_id, author, body, written_at)
SELECT a.id, n.legacy_id, n.author, n.body, n.written_at
  FROM reply n
  JOIN press.article a ON a.legacy_id = n.post";
const REVERSE: &str = "DELETE FROM blog.comment c USING blog.post p
 WHERE p.id = c.post_id AND p.author_id = ANY (:users);

INSERT INTO blog.comment (id, post_id, author_name, body, written_at)
SELECT legacy_id, post, author, body, written_at FROM reply WHERE user_key IS NOT NULL";

/// Replaces the second entity's `into` and `fill` by `load`.
fn with_load<'c>(load: &'c str, reverse: &'c str) -> Vec<crate::common::Edit<'c>> {
    vec![
        (
            PLAN,
            "into      = \"press.reply\"\n\n[entity.fill]\n",
            "load = \"reply.load.sql\"\nreverse = \"reply.reverse.sql\"\n",
        ),
        (PLAN, "id         = { default = \"an identity column; nothing refers to it\" }\n", ""),
        (
            PLAN,
            "article_id = { uuid5 = [\"post\"], namespace = \"3f0c1f2e-1f3e-4b7a-9a55-0d5a1c9b7e42\" }\n",
            "",
        ),
        (PLAN, "legacy_id  = { column = \"legacy_id\" }\nauthor     = { column = \"author\" }\n", ""),
        (PLAN, "body       = { column = \"body\" }\nwritten_at = { column = \"written_at\" }\n", ""),
        ("reply.load.sql", "", load),
        ("reply.reverse.sql", "", reverse),
    ]
}

#[tokio::test]
async fn loads_and_reverses_are_prepared_over_the_temporary_table() {
    let right = with_load(LOAD, REVERSE);
    let without_body = LOAD.replace(", body", "").replace(", n.body", "");
    let without_body = with_load(&without_body, REVERSE);
    let without_author = LOAD.replace(", author", "").replace(", n.author", "");
    let without_author = with_load(&without_author, REVERSE);
    let bad_reverse = REVERSE.replace("SELECT legacy_id", "SELECT legacy");
    let bad_reverse = with_load(LOAD, &bad_reverse);
    let bad_load = LOAD.replace("n.post", "n.pots");
    let bad_load = with_load(&bad_load, REVERSE);
    let case = |edits, expected| Case { edits, expected, ..Case::default() };
    let cases = [
        case(&right, &[]),
        case(&without_body, &[(Error, Code::Unfilled, LOAD_FILE, "INSERT", "does not fill `body`")]),
        case(&without_author, &[(Error, Code::Unfilled, LOAD_FILE, "INSERT", "does not fill `author`")]),
        case(
            &bad_reverse,
            &[(Error, Code::SqlRefused, "reply.reverse.sql", "SELECT legacy,", "\"legacy\" does not exist")],
        ),
        case(&bad_load, &[(Error, Code::SqlRefused, LOAD_FILE, "n.pots", "n.pots does not exist")]),
        Case {
            edits: &right,
            destination: "ALTER TABLE press.reply ADD loaded_at timestamptz DEFAULT now()",
            expected: &[(Warning, Code::NoDefault, LOAD_FILE, "INSERT", "leaves `loaded_at`")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}
