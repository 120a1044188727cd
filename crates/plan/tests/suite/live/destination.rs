//! Destination tables: what is loaded, what fills each column, and whether it is verified.

use handover_plan::Code;
use handover_plan::Severity::{Error, Warning};
use handover_plan::{Plan, check_with, describe_targets};
use handover_transform::Registry;

use super::{Case, PLAN, World, compare};
use crate::common::{blog, edited};

const SOURCE: &str = "source       = { constant = \"blog\" }";
const INTO: &str = "into      = \"press.article\"";

#[tokio::test]
async fn the_table_must_be_one_that_can_be_loaded() {
    let cases = [
        Case {
            edits: &[(PLAN, INTO, "into = \"press.artcle\"")],
            expected: &[(Error, Code::BadTarget, PLAN, "press.artcle", "no table press.artcle")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, INTO, "into = \"press.all_articles\"")],
            destination: "CREATE VIEW press.all_articles AS SELECT * FROM press.article",
            expected: &[(Error, Code::BadTarget, PLAN, "press.all_articles", "no ordinary or partitioned")],
            ..Case::default()
        },
        Case {
            destination: "ALTER TABLE press.reply SET UNLOGGED",
            expected: &[(Error, Code::BadTarget, PLAN, "press.reply", "unlogged")],
            ..Case::default()
        },
        Case {
            destination: "CREATE FUNCTION press.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
                          CREATE TRIGGER mail AFTER INSERT ON press.reply FOR EACH ROW EXECUTE FUNCTION press.f(); \
                          CREATE TRIGGER handover_fence BEFORE INSERT ON press.reply FOR EACH ROW EXECUTE FUNCTION press.f(); \
                          CREATE TRIGGER off BEFORE INSERT ON press.reply FOR EACH ROW EXECUTE FUNCTION press.f(); \
                          ALTER TABLE press.reply DISABLE TRIGGER off",
            expected: &[(Warning, Code::TargetTrigger, PLAN, "press.reply", "`mail`")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn each_destination_column_is_filled_or_has_a_default_with_a_reason() {
    let cases = [
        Case {
            destination: "ALTER TABLE press.article ADD note text",
            expected: &[(Error, Code::Unfilled, PLAN, INTO, "`note` is neither filled")],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                SOURCE,
                "source = { constant = \"blog\" }\nnote = { default = \"new here: NULL\" }",
            )],
            destination: "ALTER TABLE press.article ADD note text",
            ..Case::default()
        },
        Case {
            destination: "ALTER TABLE press.article ADD note text NOT NULL DEFAULT ''",
            expected: &[(Warning, Code::NoDefault, PLAN, INTO, "`note` is left to its default")],
            ..Case::default()
        },
        Case {
            destination: "ALTER TABLE press.article ADD words int GENERATED ALWAYS AS (length(body)) STORED",
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, SOURCE, "source = { constant = \"blog\" }\nwords = { constant = 1 }")],
            destination: "ALTER TABLE press.article ADD words int GENERATED ALWAYS AS (length(body)) STORED",
            expected: &[(Error, Code::FillMismatch, PLAN, "words =", "generated")],
            ..Case::default()
        },
        Case {
            destination: "ALTER TABLE press.article ALTER created_at DROP DEFAULT",
            expected: &[(Error, Code::NoDefault, PLAN, "created_at ", "NOT NULL and has no default")],
            ..Case::default()
        },
        Case {
            destination: "ALTER TABLE press.article ALTER created_at DROP DEFAULT; \
                          CREATE FUNCTION press.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                          CREATE TRIGGER stamp BEFORE INSERT ON press.article FOR EACH ROW EXECUTE FUNCTION press.f()",
            expected: &[
                (Warning, Code::NoDefault, PLAN, "created_at ", "only a trigger can fill it"),
                (Warning, Code::TargetTrigger, PLAN, INTO, "`stamp`"),
            ],
            ..Case::default()
        },
        Case {
            destination: "CREATE DOMAIN press.stamp AS timestamptz DEFAULT now() NOT NULL; \
                          ALTER TABLE press.article DROP created_at, ADD created_at press.stamp",
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, SOURCE, "source = { constant = \"blog\" }\nsorce = { constant = \"blog\" }")],
            expected: &[(Error, Code::UnknownColumn, PLAN, "sorce", "which press.article does not have")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn each_fill_suits_its_column_and_is_verified() {
    let cases = [
        // A json inside a jsonb has no one spelling that could be recomputed.
        Case {
            edits: &[
                (PLAN, "\"slug text\",", "\"extra json\", \"slug text\","),
                (PLAN, "derived   = [\"id uuid\"]", "derived   = [\"id uuid\", \"seo jsonb\"]"),
                (PLAN, "hidden = \"seo_hidden\"", "hidden = \"seo_hidden\", extra = \"extra\""),
                ("article.extract.sql", "       p.slug::text", "       p.extra, p.slug::text"),
                (
                    "article.read_back.sql",
                    "       a.slug,",
                    "       (a.seo -> 'extra')::json AS extra, a.slug,",
                ),
                ("article.read_back.sql", "       a.id\n", "       a.id, a.seo\n"),
            ],
            legacy: "ALTER TABLE blog.post ADD extra json",
            expected: &[(Error, Code::BadDerived, PLAN, "derived", "`seo` cannot be recomputed")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, "{ column = \"title\" }", "{ column = \"seo_hidden\" }")],
            expected: &[(Error, Code::FillMismatch, PLAN, "title  ", "the fill of `title`")],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, SOURCE, "source = { constant = \"blog\" }\nsearch = { column = \"title\" }")],
            destination: "ALTER TABLE press.article ADD search text",
            expected: &[(Warning, Code::NotReadBack, PLAN, "search =", "nothing verifies it")],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "id         = { default = \"an identity column; nothing refers to it\" }",
                "id = { sequence = \"press.reply_id_seq\", key = \"legacy_id\" }",
            )],
            expected: &[(Error, Code::Unsupported, PLAN, "id = {", "sequence")],
            ..Case::default()
        },
        Case {
            edits: &[(
                PLAN,
                "id         = { default = \"an identity column; nothing refers to it\" }",
                "id = { sequence = \"press.reply_seq\", key = \"legacy_id\" }",
            )],
            expected: &[
                (Error, Code::Unsupported, PLAN, "id = {", "sequence"),
                (Error, Code::BadTarget, PLAN, "id = {", "no sequence press.reply_seq"),
            ],
            ..Case::default()
        },
        Case {
            edits: &[(PLAN, "{ column = \"title\" }", "{ rust = \"clean\", from = [\"title\"] }")],
            expected: &[(Warning, Code::Opaque, PLAN, "clean", "Rust transform")],
            ..Case::default()
        },
    ];
    World::start().await.expect_exactly(&cases).await;
}

#[tokio::test]
async fn a_worker_that_lacks_a_transform_says_so() {
    let world = World::start().await;
    let case = Case {
        edits: &[(PLAN, "{ column = \"title\" }", "{ rust = \"clean\", from = [\"title\"] }")],
        expected: &[(Error, Code::FillMismatch, PLAN, "clean", "no transform is registered")],
        ..Case::default()
    };
    let (source, target) = world.databases(&case).await;
    let plan = Plan::from_files(edited(case.edits)).unwrap();
    compare(&case, &check_with(&plan, &source, &target, &Registry::new()).await.unwrap());
}

#[tokio::test]
async fn targets_are_described_in_the_order_of_the_fills() {
    let world = World::start().await;
    let domain =
        "CREATE DOMAIN press.words AS text NOT NULL; ALTER TABLE press.article ALTER title TYPE press.words";
    let (_, target) = world.databases(&Case { destination: domain, ..Case::default() }).await;
    let plan = Plan::from_files(blog()).unwrap();
    let described = describe_targets(&target, &plan.entities()[0]).await.unwrap();
    let names: Vec<_> = described.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names[..4], ["id", "owner_id", "legacy_id", "slug"]);
    let find = |name: &str| described.iter().find(|target| target.name == name).unwrap();
    assert_eq!((find("title").type_oid, find("title").not_null), (25, true), "a domain is its base type");
    assert!(find("state").is_enum);
    assert_eq!(find("tags").element_oid, 25);
    assert!(!find("published_at").not_null);

    target.batch_execute("ALTER TABLE press.article DROP COLUMN slug").await.unwrap();
    let error = describe_targets(&target, &plan.entities()[0]).await.unwrap_err();
    assert_eq!(error.to_string(), "press.article has no column slug");
}
