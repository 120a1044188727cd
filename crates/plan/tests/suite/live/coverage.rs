//! Columns that nobody mapped, and tables that are read without being accounted for.

use handover_plan::Code;
use handover_plan::Severity::{Error, Warning};

use super::{Case, PLAN, World};

const EXTRACT: &str = "article.extract.sql";
const IGNORE: &str = "ignore = { word_count = \"computed from the body by the new system\" }";

#[tokio::test]
async fn each_column_of_a_table_that_is_read_is_used_or_ignored() {
    let cases = [
        Case {
            legacy: "ALTER TABLE blog.post ADD mood text",
            expected: &[(Error, Code::UnusedColumn, PLAN, "[legacy.\"blog.post\"]", "`mood` of blog.post")],
            ..Case::default()
        },
        Case {
            legacy: "ALTER TABLE blog.tag ADD colour text; ALTER TABLE blog.post_tag ADD nth int",
            expected: &[
                (Error, Code::UnusedColumn, PLAN, "[legacy.\"blog.tag\"]", "`colour` of blog.tag"),
                (Error, Code::UnusedColumn, PLAN, "[legacy.\"blog.post_tag\"]", "`nth` of blog.post_tag"),
            ],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, IGNORE, "")],
            expected: &[(Error, Code::UnusedColumn, PLAN, "[legacy.\"blog.post\"]", "`word_count`")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, IGNORE, "ignore = { word_count = \"x\", slug = \"y\" }")],
            expected: &[(Warning, Code::NeedlessIgnore, PLAN, "slug = \"y\"", "`slug` of blog.post")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, IGNORE, "ignore = { word_count = \"x\", word_cuont = \"y\" }")],
            expected: &[(Error, Code::UnknownLegacyColumn, PLAN, "word_cuont", "does not have")],
            ..Case::default()
        },
        // A dropped column leaves a hole in the numbers and no finding.
        Case {
            edits: &[(PLAN, "ignore = { word_count = \"computed from the body by the new system\" }", "")],
            legacy: "ALTER TABLE blog.post DROP word_count",
            ..Case::default()
        },
        // A column that is read in a condition only is used.
        Case {
            edits: &[(EXTRACT, "AND NOT p.deleted", "AND NOT p.deleted AND p.mood IS NULL")],
            legacy: "ALTER TABLE blog.post ADD mood text",
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn no_way_of_writing_a_query_hides_what_it_leaves_out() {
    let cases = [
        // A whole row counts as no column.
        Case {
            edits: &[(EXTRACT, "coalesce(p.body, '') ", "row_to_json(p)::text ")],
            expected: &[(Error, Code::UnusedColumn, PLAN, "[legacy.\"blog.post\"]", "`body` of blog.post")],
            ..Case::default()
        },
        // A star counts as all columns, and is said to.
        Case {
            edits: &[(EXTRACT, "FROM blog.post p", "FROM (SELECT * FROM blog.post) p"), (PLAN, IGNORE, "")],
            expected: &[(Warning, Code::Opaque, EXTRACT, "SELECT * FROM", "`*` counts each column")],
            ..Case::default()
        },
        // USING, a CTE and a lateral join are looked through.
        Case {
            edits: &[(
                "reply.extract.sql",
                "FROM blog.post p\n  JOIN blog.comment c ON c.post_id = p.id",
                "FROM (SELECT id AS post_id, author_id, deleted FROM blog.post) p\n  JOIN blog.comment c USING (post_id)",
            )],
            ..Case::default()
        },
        Case {
            edits: &[
                (
                    "reply.extract.sql",
                    "SELECT p.author_id",
                    "WITH c AS NOT MATERIALIZED (SELECT id, post_id, author_name, body, written_at FROM blog.comment) SELECT p.author_id",
                ),
                ("reply.extract.sql", "JOIN blog.comment c", "JOIN c"),
            ],
            legacy: "ALTER TABLE blog.comment ADD edited boolean",
            expected: &[(Error, Code::UnusedColumn, PLAN, "[legacy.\"blog.comment\"]", "`edited`")],
            ..Case::default()
        },
        // A function's reads cannot be seen; an immutable one's are none.
        Case {
            edits: &[(EXTRACT, "coalesce(p.body, '') ", "blog.text_of(p.body) ")],
            legacy: "CREATE FUNCTION blog.text_of(text) RETURNS text STABLE LANGUAGE sql AS 'SELECT $1'",
            expected: &[(Warning, Code::Opaque, EXTRACT, "SELECT", "blog.text_of(text)")],
            ..Case::default()
        },
        Case {
            edits: &[(EXTRACT, "coalesce(p.body, '') ", "blog.text_of(p.body) ")],
            legacy: "CREATE FUNCTION blog.text_of(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn views_are_followed_to_their_tables() {
    let view = "CREATE VIEW blog.live AS SELECT id, author_id, slug, title, body, state, seo_description, \
                seo_hidden, published_at, deleted FROM blog.post";
    let with_count = format!(
        "{view}; CREATE OR REPLACE VIEW blog.live AS SELECT id, author_id, slug, title, \
                body, state, seo_description, seo_hidden, published_at, deleted, word_count FROM blog.post"
    );
    let over_view = &[(EXTRACT, "FROM blog.post p", "FROM blog.live p")];
    let cases = [
        Case { edits: over_view, legacy: view, ..Case::default() },
        Case {
            edits: over_view,
            legacy: &with_count,
            expected: &[
                (Error, Code::UnusedColumn, EXTRACT, "blog.live", "`word_count` of the view blog.live"),
                (Warning, Code::NeedlessIgnore, PLAN, "word_count", "`word_count` of blog.post"),
            ],
            ..Case::default()
        },
        Case {
            edits: &[
                over_view[0],
                (
                    PLAN,
                    "[legacy.\"blog.comment\"]",
                    "[legacy.\"blog.live\"]\nuser = \"author_id\"\nignore = { word_count = \"x\" }\n\n[legacy.\"blog.comment\"]",
                ),
                (PLAN, IGNORE, ""),
            ],
            legacy: &with_count,
            ..Case::default()
        },
        Case {
            edits: &[
                (EXTRACT, "JOIN blog.tag t", "JOIN blog.tag_names t"),
                (PLAN, "[legacy.\"blog.tag\"]", "[legacy.\"blog.tag_names\"]"),
            ],
            legacy: "CREATE MATERIALIZED VIEW blog.tag_names AS SELECT id, name FROM blog.tag",
            expected: &[(Warning, Code::Opaque, EXTRACT, "blog.tag_names", "materialized view")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn each_table_that_is_read_is_listed_and_each_listed_table_is_read() {
    let cases = [
        Case {
            edits: &[(
                PLAN,
                "[legacy.\"blog.tag\"]\nshared = \"one list of tags for all members; only their names are looked up\"\n",
                "",
            )],
            expected: &[(Error, Code::UnlistedTable, EXTRACT, "JOIN blog.tag t", "blog.tag is read")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, "shared = \"one list", "ignore_table = \"one list")],
            expected: &[(Error, Code::IgnoredButRead, EXTRACT, "JOIN blog.tag t", "blog.tag is listed")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, "ignore_table = \"sessions end with the move\"", "user = \"member_id\"")],
            expected: &[(Error, Code::UnreadTable, PLAN, "login_session", "no query reads it")],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "ignore_table = \"sessions end with the move\"",
                "user = \"member_id\"\nignore_table = \"x\"",
            )],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "[legacy.\"blog.tag\"]",
                "[legacy.\"blog.unread\"]\nshared = \"x\"\n\n[legacy.\"blog.tag\"]",
            )],
            legacy: "CREATE TABLE blog.unread (id int)",
            expected: &[(Warning, Code::UnreadTable, PLAN, "blog.unread", "listed as shared")],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "[legacy.\"blog.tag\"]",
                "[legacy.\"blog.tags\"]\nignore_table = \"x\"\n\n[legacy.\"blog.tag\"]",
            )],
            expected: &[(Error, Code::UnknownTable, PLAN, "blog.tags", "no table blog.tags")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, "user   = \"author_id\"", "user = \"autor_id\"")],
            expected: &[(Error, Code::UnknownLegacyColumn, PLAN, "autor_id", "`user` names `autor_id`")],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "via    = { post_id = \"blog.post.id\" }\n\n",
                "via    = { pots_id = \"blog.post.ids\" }\n\n",
            )],
            expected: &[
                (Error, Code::UnknownLegacyColumn, PLAN, "pots_id", "`via` names `pots_id`"),
                (Error, Code::UnknownLegacyColumn, PLAN, "pots_id", "`via` names `ids`"),
            ],
            ..Case::default()
        },
        Case {
            legacy: "ALTER TABLE blog.comment SET UNLOGGED",
            expected: &[(Error, Code::Unlogged, "reply.extract.sql", "blog.comment", "unlogged")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}
