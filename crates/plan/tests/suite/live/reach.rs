//! Tables that belong to the user and that nobody thought of.

use handover_plan::Code;
use handover_plan::Severity::{Error, Warning};

use super::{Case, PLAN, World};

const POST: &str = "[legacy.\"blog.post\"]";

#[tokio::test]
async fn tables_that_refer_to_the_users_rows_are_found() {
    let cases = [
        Case {
            legacy: "CREATE TABLE blog.revision (id int PRIMARY KEY, post bigint REFERENCES blog.post)",
            expected: &[(
                Error,
                Code::UnmappedTable,
                PLAN,
                POST,
                "blog.revision belongs to the user (it refers to blog.post)",
            )],
            ..Case::default()
        },
        Case {
            legacy: "CREATE TABLE blog.revision (id int PRIMARY KEY, post bigint REFERENCES blog.post); \
                     CREATE TABLE blog.hunk (id int, revision int REFERENCES blog.revision)",
            expected: &[
                (Error, Code::UnmappedTable, PLAN, POST, "blog.revision belongs"),
                (
                    Error,
                    Code::UnmappedTable,
                    PLAN,
                    POST,
                    "blog.hunk belongs to the user (it refers to blog.revision)",
                ),
            ],
            ..Case::default()
        },
        // Through a table that is listed as ignored.
        Case {
            legacy: "CREATE TABLE blog.badge (id int PRIMARY KEY, holder int REFERENCES blog.member)",
            expected: &[(Error, Code::UnmappedTable, PLAN, POST, "blog.badge")],
            ..Case::default()
        },
        // The users' own table.
        Case {
            edits: &[(
                PLAN,
                "[legacy.\"blog.member\"]\nignore_table = \"accounts stay: both systems know a member by the same number\"\n",
                "",
            )],
            expected: &[(
                Error,
                Code::UnmappedTable,
                PLAN,
                POST,
                "blog.member belongs to the user (blog.post.author_id refers to it)",
            )],
            ..Case::default()
        },
        // What the user's rows refer to is not the user's.
        Case {
            legacy: "CREATE TABLE blog.licence (id int PRIMARY KEY); ALTER TABLE blog.comment ADD licence int REFERENCES blog.licence; \
                     CREATE TABLE blog.licence_text (licence int REFERENCES blog.licence)",
            edits: &[(PLAN, "ignore = { spam_score", "ignore = { licence = \"x\", spam_score")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn tables_with_a_user_column_and_no_foreign_key_are_found() {
    let cases = [
        Case {
            legacy: "CREATE TABLE blog.audit (author_id bigint, what text)",
            expected: &[(Error, Code::UnmappedTable, PLAN, POST, "it has the user column `author_id`")],
            ..Case::default()
        },
        // A name that elsewhere refers to the users' own table.
        Case {
            legacy: "CREATE SCHEMA stats; CREATE TABLE stats.visit (member_id int)",
            expected: &[(Error, Code::UnmappedTable, PLAN, POST, "stats.visit")],
            ..Case::default()
        },
        // The same name for something of another kind is something else.
        Case { legacy: "CREATE TABLE blog.log (author_id jsonb)", ..Case::default() },
        // Where the user column is the table's own number, other tables' own numbers are no sign.
        Case {
            edits: &[(
                PLAN,
                "ignore_table = \"accounts stay",
                "user = \"id\"\nignore_table = \"accounts stay",
            )],
            legacy: "CREATE TABLE blog.colour (id int PRIMARY KEY)",
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "ignore_table = \"accounts stay",
                "user = \"id\"\nignore_table = \"accounts stay",
            )],
            legacy: "CREATE TABLE blog.import (id int)",
            expected: &[(Error, Code::UnmappedTable, PLAN, "blog.member", "blog.import")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn partitions_and_children_count_as_their_table_unless_they_add_columns() {
    let partitioned = "DROP TABLE blog.comment; CREATE TABLE blog.comment (id bigint, post_id bigint NOT NULL \
        REFERENCES blog.post (id), author_name varchar(80), body text, written_at timestamptz, spam_score real) \
        PARTITION BY HASH (id); CREATE TABLE blog.comment_0 PARTITION OF blog.comment FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
        CREATE TABLE blog.comment_1 PARTITION OF blog.comment FOR VALUES WITH (MODULUS 2, REMAINDER 1); ";
    let with_index = format!("{partitioned} CREATE INDEX ON blog.comment (post_id)");
    let cases = [
        Case { legacy: &with_index, ..Case::default() },
        Case {
            legacy: partitioned,
            expected: &[(
                Error,
                Code::NoIndex,
                "reply.extract.sql",
                "JOIN blog.comment",
                "blog.comment is read whole",
            )],
            ..Case::default()
        },
        Case {
            legacy: "CREATE TABLE blog.guest_post () INHERITS (blog.post); CREATE INDEX ON blog.guest_post (author_id); \
                     CREATE INDEX ON blog.guest_post (id)",
            ..Case::default()
        },
        Case {
            legacy: "CREATE TABLE blog.guest_post (guest text) INHERITS (blog.post); \
                     CREATE INDEX ON blog.guest_post (author_id); CREATE INDEX ON blog.guest_post (id)",
            expected: &[(Error, Code::UnmappedTable, PLAN, POST, "blog.guest_post")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn keys_of_another_kind_than_the_users_are_told() {
    let cases = [
        Case {
            edits: &[(
                PLAN,
                "[legacy.\"blog.tag\"]",
                "[legacy.\"blog.note\"]\nuser = \"owner\"\nignore_table = \"x\"\n\n[legacy.\"blog.tag\"]",
            )],
            legacy: "CREATE TABLE blog.note (owner text)",
            expected: &[(
                Warning,
                Code::KeyTypeDiffers,
                PLAN,
                "user = \"owner\"",
                "is text, and user keys are int8",
            )],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "ignore_table = \"sessions",
                "via = { token = \"blog.post.id\" }\nignore_table = \"sessions",
            )],
            expected: &[(Warning, Code::KeyTypeDiffers, PLAN, "via = { token", "`token` of type text")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}
