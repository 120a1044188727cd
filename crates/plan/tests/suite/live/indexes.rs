//! Whether the users' rows are found by an index.

use handover_plan::Code;
use handover_plan::Severity::{Error, Warning};

use super::{Case, World};

const EXTRACT: &str = "article.extract.sql";

#[tokio::test]
async fn the_source_filters_by_user_on_an_index() {
    let cases = [
        Case {
            legacy: "DROP INDEX blog.post_author_id",
            expected: &[
                (Error, Code::NoIndex, EXTRACT, "FROM blog.post", "blog.post is read whole"),
                (Error, Code::NoIndex, "reply.extract.sql", "FROM blog.post", "blog.post is read whole"),
            ],
            ..Case::default()
        },
        Case {
            legacy: "DROP INDEX blog.comment_post_id",
            expected: &[(
                Error,
                Code::NoIndex,
                "reply.extract.sql",
                "JOIN blog.comment",
                "blog.comment is read whole",
            )],
            ..Case::default()
        },
        // The index is there, and a cast keeps it from being used.
        Case {
            edits: &[(EXTRACT, "p.author_id = ANY (:users)", "p.author_id::text = ANY (:users::text[])")],
            expected: &[(Error, Code::NoIndex, EXTRACT, "FROM blog.post", "blog.post is read whole")],
            ..Case::default()
        },
    ];
    let world = World::start().await;
    let few = "INSERT INTO blog.member VALUES (1, 'a', now()); \
        INSERT INTO blog.post VALUES (1, 1, '', '', '', 0, '', false, NULL, 0, false); \
        INSERT INTO blog.comment VALUES (1, 1, '', '', now(), 0); ANALYZE blog.post, blog.comment";
    world.expect_exactly(&cases).await;
    // A table of few rows may be read as the planner likes, where the index is there.
    world.expect_exactly(&[Case { legacy: few, ..Case::default() }]).await;
}

#[tokio::test]
async fn a_destination_without_index_is_a_warning_for_each_statement() {
    let cases = [
        Case {
            destination: "DROP INDEX press.article_owner_id",
            expected: &[
                (Warning, Code::NoIndex, "article.read_back.sql", "SELECT", "press.article is read whole"),
                (Warning, Code::NoIndex, "article.delete.sql", "DELETE", "press.article is read whole"),
                (Warning, Code::NoIndex, "reply.read_back.sql", "SELECT", "press.article is read whole"),
                (Warning, Code::NoIndex, "reply.delete.sql", "DELETE", "press.article is read whole"),
            ],
            ..Case::default()
        },
        Case {
            destination: "DROP INDEX press.reply_article_id",
            expected: &[
                (Warning, Code::NoIndex, "reply.read_back.sql", "SELECT", "press.reply is read whole"),
                (Warning, Code::NoIndex, "reply.delete.sql", "DELETE", "press.reply is read whole"),
            ],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}
