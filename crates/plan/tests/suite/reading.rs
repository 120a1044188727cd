//! What is wrong with a plan's files is told with kind, line and remedy, all of it at once, whatever they hold.

use std::collections::BTreeMap;

use crate::common::{Edit, blog, blog_folder, edited, line};
use handover_plan::{Code, Finding, Plan, Reach, Severity, TargetKind, limits};
use handover_transform::{Fill, Value};
use proptest::prelude::*;

const PLAN: &str = "plan.toml";

fn findings(files: BTreeMap<String, String>) -> Vec<Finding> {
    match Plan::from_files(files) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.findings().to_vec(),
    }
}

/// One wrong thing: the edits, the kind, the file, a part of the line that is shown, and a part of the message.
type Case<'c> = (&'c [Edit<'c>], Code, &'c str, &'c str, &'c str);

fn expect_exactly(cases: &[Case<'_>]) {
    for (edits, code, file, line_part, what_part) in cases {
        let files = edited(edits);
        let found = findings(files.clone());
        assert_eq!(found.len(), 1, "{edits:?}: {found:#?}");
        let finding = &found[0];
        assert_eq!(finding.code, *code, "{edits:?}: {finding}");
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.file, *file, "{finding}");
        let shown = line(files.get(*file).map_or("", String::as_str), finding.line);
        assert!(shown.contains(line_part), "{edits:?}: {finding}\nshows {shown:?}");
        assert!(finding.what.contains(what_part), "{edits:?}: {finding}");
        assert!(!finding.remedy.is_empty());
    }
}

#[test]
fn the_blog_plan_is_read_as_it_is_written() {
    let plan = Plan::load(&blog_folder()).unwrap();
    assert_eq!(plan.name(), "blog-posts");
    assert_eq!(plan.user_key().sql(), "int8");
    let [article, reply] = plan.entities() else { panic!("two entities") };
    assert_eq!(reply.parent.as_deref(), Some("article"));
    assert_eq!(article.layout.columns().len(), 9);
    assert_eq!(article.derived[0].to_string(), "id uuid");
    assert!(article.extract.contains("ANY ((current_setting('handover.users')::int8[]))"));
    assert_eq!(article.dropped[0].0, "p.deleted");
    let TargetKind::Table { table, fill } = &article.target else { panic!("into") };
    assert_eq!(table.plain(), "press.article");
    let names: Vec<_> = fill.iter().map(|(column, _)| column.as_str()).collect();
    assert_eq!(names[..3], ["id", "owner_id", "legacy_id"], "in the order of the file");
    assert_eq!(
        fill[8].1,
        Fill::Json {
            fields: vec![
                ("description".into(), "seo_description".into()),
                ("hidden".into(), "seo_hidden".into())
            ]
        }
    );
    assert_eq!(fill[10].1, Fill::Constant(Value::from("blog")));
    let post = plan.legacy().iter().find(|table| table.table.name == "post").unwrap();
    assert_eq!(post.reach, Reach::User { column: "author_id".into() });
    assert!(post.ignore.contains_key("word_count"));
}

/// The first plan that was ever written: whatever the format learns, this stays readable as it stands.
#[test]
fn the_first_sketch_of_the_format_is_still_read() {
    let mut files = BTreeMap::from([(PLAN.to_owned(), include_str!("../sketch/plan.toml").to_owned())]);
    for entity in ["reminder", "recipient"] {
        for (kind, sql) in [
            ("extract", "SELECT 1 WHERE 1 = ANY (:users)".to_owned()),
            ("read_back", "SELECT 1 WHERE 1 = ANY (:users)".to_owned()),
            ("delete", "DELETE FROM x WHERE u = ANY (:users)".to_owned()),
            ("reverse", format!("INSERT INTO x SELECT FROM {entity}")),
        ] {
            files.insert(format!("{entity}.{kind}.sql"), sql);
        }
    }
    let plan = Plan::from_files(files).unwrap();
    let [reminder, recipient] = plan.entities() else { panic!("two entities") };
    assert!(reminder.reverse.is_some() && recipient.reverse.is_none());
    assert_eq!(plan.files().len(), 8, "plan.toml and the seven files that it names");
    let TargetKind::Table { fill, .. } = &recipient.target else { panic!("into") };
    let sequence = "reminders.recipient_id_seq".to_owned();
    assert_eq!(fill[0].1, Fill::Sequence { sequence, key: "legacy_id".into() });
}

#[test]
fn the_hash_is_of_every_file_and_survives_storage() {
    let plan = Plan::load(&blog_folder()).unwrap();
    let stored = Plan::from_files(plan.files().clone()).unwrap();
    assert_eq!(plan.hash(), stored.hash());
    for file in plan.files().keys() {
        let mut files = plan.files().clone();
        files.get_mut(file).unwrap().push('\n');
        assert_ne!(Plan::from_files(files).unwrap().hash(), plan.hash(), "{file}");
    }
    let mut more = plan.files().clone();
    more.insert("README.md".into(), "not named by the plan".into());
    assert_eq!(Plan::from_files(more).unwrap().hash(), plan.hash());
}

#[test]
fn every_kind_of_fill_is_read() {
    let edits: &[Edit<'_>] = &[
        (
            PLAN,
            "slug         = { column = \"slug\" }",
            "slug = { rust = \"clean\", from = [\"slug\", \"title\"] }",
        ),
        (
            PLAN,
            "source       = { constant = \"blog\" }",
            "source = { sequence = \"press.s\", key = \"legacy_id\" }",
        ),
        (PLAN, "body         = { column = \"body\" }", "body = { constant = -1.5 }"),
        (PLAN, "title        = { column = \"title\" }", "title.constant = 0x10"),
    ];
    let plan = Plan::from_files(edited(edits)).unwrap();
    let TargetKind::Table { fill, .. } = &plan.entities()[0].target else { panic!("into") };
    let fill: BTreeMap<_, _> = fill.iter().cloned().collect();
    assert_eq!(fill["slug"], Fill::Rust { name: "clean".into(), from: vec!["slug".into(), "title".into()] });
    assert_eq!(fill["source"], Fill::Sequence { sequence: "press.s".into(), key: "legacy_id".into() });
    assert_eq!(fill["body"], Fill::Constant(Value::Float(-1.5)));
    assert_eq!(fill["title"], Fill::Constant(Value::Int(16)));
    let Fill::Map { map, .. } = &fill["state"] else { panic!("map") };
    assert_eq!(map["1"], Value::from("published"));
}

#[test]
fn a_load_and_a_reverse_work_over_the_temporary_table() {
    let load = "INSERT INTO press.reply (legacy_id) SELECT legacy_id FROM reply;\nDELETE FROM press.x WHERE u = ANY(:users);";
    let mut files = edited(&[
        (PLAN, "into      = \"press.reply\"", "load = \"reply.load.sql\"\nreverse = \"reply.reverse.sql\""),
        ("reply.load.sql", "", load),
        ("reply.reverse.sql", "", "INSERT INTO blog.comment (id) SELECT legacy_id FROM reply"),
    ]);
    let text = files.get_mut(PLAN).unwrap();
    text.truncate(text.rfind("[entity.fill]").unwrap());
    let plan = Plan::from_files(files).unwrap();
    let reply = &plan.entities()[1];
    let TargetKind::Load { sql } = &reply.target else { panic!("load") };
    assert!(sql.contains("(current_setting('handover.users')::int8[])"));
    assert_eq!(
        reply.staging_table(plan.user_key()),
        "CREATE TEMPORARY TABLE \"reply\" (\"user_key\" int8 NOT NULL, \"legacy_id\" int8, \"post\" int8, \
         \"author\" text, \"body\" text, \"written_at\" timestamptz) ON COMMIT DROP"
    );
}

#[test]
fn the_plan_itself_is_checked_key_by_key() {
    expect_exactly(&[
        (&[(PLAN, "format   = 1", "format = 2")], Code::UnknownFormat, PLAN, "format = 2", "format"),
        (&[(PLAN, "format   = 1\n", "")], Code::MissingKey, PLAN, "", "no `format`"),
        (&[(PLAN, "format   = 1", "format = \"1\"")], Code::WrongKind, PLAN, "format", "takes an integer"),
        (&[(PLAN, "\"blog-posts\"", "\"Blog Posts\"")], Code::BadName, PLAN, "name", "`Blog Posts`"),
        (&[(PLAN, "\"blog-posts\"", "\"\"")], Code::BadName, PLAN, "name", "migration's name"),
        (&[(PLAN, "\"blog-posts\"", "\"-x\"")], Code::BadName, PLAN, "name", "`-x`"),
        (&[(PLAN, "\"int8\"", "\"int4\"")], Code::BadColumn, PLAN, "user_key", "`int4`"),
        (
            &[(PLAN, "user_key", "userkey = 1\nuser_key")],
            Code::UnknownKey,
            PLAN,
            "userkey",
            "unknown key `userkey`",
        ),
        (&[(PLAN, "\"blog-posts\"", "\"blog-posts")], Code::TomlSyntax, PLAN, "blog-posts", "not TOML"),
        (
            &[(PLAN, "user_key =", "name = \"b\"\nuser_key =")],
            Code::TomlSyntax,
            PLAN,
            "name = \"b\"",
            "duplicate key",
        ),
    ]);
}

#[test]
fn legacy_tables_are_checked() {
    let post = "user   = \"author_id\"";
    expect_exactly(&[
        (&[(PLAN, "\"blog.tag\"", "\"tag\"")], Code::BadName, PLAN, "[legacy.\"tag\"]", "schema.table"),
        (
            &[(PLAN, "ignore_table = \"sessions end with the move\"", "user = \"a\"\nshared = \"b\"")],
            Code::BadReach,
            PLAN,
            "login_session",
            "more than one way",
        ),
        (
            &[(PLAN, "ignore_table = \"sessions end with the move\"", "")],
            Code::BadReach,
            PLAN,
            "login_session",
            "does not say how",
        ),
        (
            &[(
                PLAN,
                "ignore_table = \"sessions end with the move\"",
                "ignore_table = \"x\"\nignore = { a = \"b\" }",
            )],
            Code::BadReach,
            PLAN,
            "login_session",
            "columns and the whole table",
        ),
        (
            &[(
                PLAN,
                "ignore_table = \"sessions end with the move\"",
                "ignore_table = \"x\"\nshared = \"b\"",
            )],
            Code::BadReach,
            PLAN,
            "login_session",
            "both shared",
        ),
        (
            &[(PLAN, "\"sessions end with the move\"", "\" \"")],
            Code::EmptyReason,
            PLAN,
            "ignore_table",
            "no reason",
        ),
        (
            &[(PLAN, "\"the new system's filter scores anew\"", "\"\"")],
            Code::EmptyReason,
            PLAN,
            "spam_score",
            "no reason",
        ),
        (&[(PLAN, post, "user = 1")], Code::WrongKind, PLAN, "user = 1", "takes a string"),
        (
            &[(PLAN, "ignore = { word_count", "ignroe = { word_count")],
            Code::UnknownKey,
            PLAN,
            "ignroe",
            "`ignroe`",
        ),
        (
            &[(PLAN, "via    = { post_id = \"blog.post.id\" }\n\n", "via = { post_id = \"post.id\" }\n\n")],
            Code::BadName,
            PLAN,
            "post_id = \"post.id\"",
            "schema.table.column",
        ),
        (
            &[(PLAN, "via    = { post_id = \"blog.post.id\" }\n\n", "via = {}\n\n")],
            Code::BadReach,
            PLAN,
            "via = {}",
            "is empty",
        ),
        (
            &[(
                PLAN,
                "via    = { post_id = \"blog.post.id\" }\n\n",
                "via = { a = \"b.c.d\", e = \"b.x.d\" }\n\n",
            )],
            Code::BadReach,
            PLAN,
            "via",
            "more than one table",
        ),
        (
            &[(
                PLAN,
                "via    = { post_id = \"blog.post.id\" }\n\n",
                "via = { post_id = \"blog.posts.id\" }\n\n",
            )],
            Code::BadReach,
            PLAN,
            "blog.posts.id",
            "not listed",
        ),
        (
            &[(
                PLAN,
                "via    = { post_id = \"blog.post.id\" }\n\n",
                "via = { tag_id = \"blog.tag.id\" }\n\n",
            )],
            Code::BadReach,
            PLAN,
            "blog.tag.id",
            "reaches no user",
        ),
        (
            &[(PLAN, "via    = { post_id = \"blog.post.id\" }\n\n", "via = { a = \"blog.post_tag.a\" }\n\n")],
            Code::BadReach,
            PLAN,
            "blog.post_tag.a",
            "in a circle",
        ),
    ]);
}

#[test]
fn entities_are_checked() {
    let reply = "name      = \"reply\"";
    expect_exactly(&[
        (&[(PLAN, reply, "name = \"Reply\"")], Code::BadName, PLAN, "Reply", "entity's name"),
        (&[(PLAN, reply, "name = \"article\"")], Code::Duplicate, PLAN, "article", "second entity"),
        (
            &[(PLAN, "parent    = \"article\"", "parent = \"artcle\"")],
            Code::BadParent,
            PLAN,
            "artcle",
            "which there is not",
        ),
        (
            &[(PLAN, "parent    = \"article\"", "parent = \"reply\"")],
            Code::BadParent,
            PLAN,
            "parent",
            "its own parent",
        ),
        (
            &[(PLAN, "derived   = [\"id uuid\"]", "derived   = [\"id uuid\"]\nparent = \"reply\"")],
            Code::BadParent,
            PLAN,
            "parent = \"reply\"",
            "stands before its parent",
        ),
        (
            &[(PLAN, "key       = [\"legacy_id\"]", "key = [\"legacyid\"]")],
            Code::UnknownColumn,
            PLAN,
            "legacyid",
            "`key` names",
        ),
        (
            &[(PLAN, "key       = [\"legacy_id\"]", "key = []")],
            Code::MissingKey,
            PLAN,
            "key = []",
            "is empty",
        ),
        (
            &[(PLAN, "key       = [\"legacy_id\"]", "key = [\"legacy_id\", \"legacy_id\"]")],
            Code::Duplicate,
            PLAN,
            "key",
            "listed twice",
        ),
        (&[(PLAN, "key       = [\"legacy_id\"]\n", "")], Code::MissingKey, PLAN, "[[entity]]", "no `key`"),
        (
            &[(PLAN, "\"slug text\"", "\"slug varchar(80)\"")],
            Code::BadColumn,
            PLAN,
            "varchar(80)",
            "modifier",
        ),
        (&[(PLAN, "\"slug text\"", "\"slug money\"")], Code::BadColumn, PLAN, "slug money", "locale"),
        (&[(PLAN, "\"slug text\"", "\"slug\"")], Code::BadColumn, PLAN, "\"slug\"", "name type"),
        (
            &[(PLAN, "\"slug text\",", "\"slug text\", \"slug text\",")],
            Code::Duplicate,
            PLAN,
            "slug text",
            "listed twice",
        ),
        (
            &[(PLAN, "\"slug text\",", "\"slug text\", \"user_key int8\",")],
            Code::BadName,
            PLAN,
            "user_key int8",
            "user's own column",
        ),
    ]);
}

#[test]
fn targets_and_derived_columns_are_checked() {
    expect_exactly(&[
        (
            &[(PLAN, "derived   = [\"id uuid\"]", "derived = [\"idd uuid\"]")],
            Code::BadDerived,
            PLAN,
            "idd uuid",
            "not filled",
        ),
        (
            &[(PLAN, "derived   = [\"id uuid\"]", "derived = [\"created_at timestamptz\"]")],
            Code::BadDerived,
            PLAN,
            "derived",
            "left to the destination",
        ),
        (
            &[(PLAN, "derived   = [\"id uuid\"]", "derived = [\"slug text\"]")],
            Code::Duplicate,
            PLAN,
            "derived",
            "listed twice",
        ),
        (
            &[(PLAN, "\"p.deleted\" = \"as", "\"\" = \"as")],
            Code::EmptyReason,
            PLAN,
            "dropped",
            "empty condition",
        ),
        (&[(PLAN, "into      = \"press.reply\"\n", "")], Code::TargetChoice, PLAN, "[[entity]]", "neither"),
        (
            &[(PLAN, "into      = \"press.reply\"", "into = \"reply\"")],
            Code::BadName,
            PLAN,
            "into",
            "schema.table",
        ),
        (
            &[
                (PLAN, "into      = \"press.reply\"", "into = \"press.reply\"\nload = \"l.sql\""),
                ("l.sql", "", "SELECT FROM reply"),
            ],
            Code::TargetChoice,
            PLAN,
            "[[entity]]",
            "both",
        ),
        (
            &[(PLAN, "into      = \"press.reply\"", "load = \"l.sql\""), ("l.sql", "", "SELECT FROM reply")],
            Code::TargetChoice,
            PLAN,
            "[[entity]]",
            "`load` and `fill`",
        ),
        (
            &[
                (PLAN, "\"slug text\"", "\"slug enum[]\""),
                (PLAN, "derived  ", "reverse = \"r.sql\"\nderived  "),
                ("r.sql", "", "SELECT FROM article"),
            ],
            Code::BadColumn,
            PLAN,
            "slug enum[]",
            "no temporary table",
        ),
    ]);
}

#[test]
fn an_entity_without_fill_and_a_derived_column_under_load_are_found() {
    let mut files = blog();
    let text = files.get_mut(PLAN).unwrap();
    text.truncate(text.rfind("[entity.fill]").unwrap());
    let found = findings(files.clone());
    assert_eq!((found.len(), found[0].code), (1, Code::TargetChoice), "{found:?}");
    let text = files.get_mut(PLAN).unwrap();
    *text = text.replace("into      = \"press.reply\"", "load = \"l.sql\"\nderived = [\"x uuid\"]");
    files.insert("l.sql".into(), "SELECT FROM reply".into());
    let found = findings(files);
    assert_eq!((found.len(), found[0].code), (1, Code::BadDerived), "{found:?}");
}

#[test]
fn fills_are_checked() {
    let source = "source       = { constant = \"blog\" }";
    let bad = |to| -> Vec<Edit<'_>> { vec![(PLAN, source, to)] };
    let cases = [
        ("source = \"blog\"", Code::WrongKind, "takes a table"),
        ("source = {}", Code::BadFill, "says nothing"),
        ("source = { column = \"slug\", constant = 1 }", Code::BadFill, "more than one thing"),
        ("source = { column = \"slug\", namespace = \"x\" }", Code::UnknownKey, "`namespace`"),
        ("source = { column = \"slgu\" }", Code::UnknownColumn, "`slgu`"),
        ("source = { user = false }", Code::BadFill, "not true"),
        ("source = { constant = 2024-05-01 }", Code::WrongKind, "scalar"),
        ("source = { constant = [1] }", Code::WrongKind, "scalar"),
        ("source = { constant = 9223372036854775808 }", Code::WrongKind, "scalar"),
        ("source = { constant = nan }", Code::WrongKind, "scalar"),
        ("source = { default = \"\" }", Code::EmptyReason, "no reason"),
        ("source = { column = \"state\", map = {} }", Code::BadFill, "empty map"),
        ("source = { column = \"state\", map = { 0 = [] } }", Code::WrongKind, "scalar"),
        ("source = { uuid5 = [\"slug\"] }", Code::MissingKey, "`namespace`"),
        ("source = { uuid5 = [\"slug\"], namespace = \"x\" }", Code::BadFill, "no UUID"),
        (
            "source = { uuid5 = [], namespace = \"3f0c1f2e-1f3e-4b7a-9a55-0d5a1c9b7e42\" }",
            Code::MissingKey,
            "is empty",
        ),
        ("source = { json = {} }", Code::BadFill, "empty json"),
        ("source = { json = { a = 1 } }", Code::WrongKind, "takes a string"),
        ("source = { json = { a = \"b\" } }", Code::UnknownColumn, "`b`"),
        ("source = { sequence = \"press.s\" }", Code::MissingKey, "`key`"),
        ("source = { sequence = \"s\", key = \"slug\" }", Code::BadName, "schema.table"),
        ("source = { rust = \"x\" }", Code::MissingKey, "`from`"),
        ("source = { rust = \"a b\", from = [\"slug\"] }", Code::BadFill, "transform's name"),
    ];
    for (to, code, what) in cases {
        let edits = bad(to);
        expect_exactly(&[(&edits, code, PLAN, "source", what)]);
    }
    let long = format!("{} = {{ constant = 1 }}", "x".repeat(64));
    expect_exactly(&[(&[(PLAN, source, &long)], Code::BadName, PLAN, "xxx", "column's name")]);
}

#[test]
fn sql_files_are_checked_and_shown_with_their_own_line() {
    let (extract, delete) = ("article.extract.sql", "article.delete.sql");
    expect_exactly(&[
        (
            &[(extract, "p.author_id = ANY (:users)", "true")],
            Code::BadSql,
            extract,
            "SELECT",
            "filter by `:users`",
        ),
        (
            &[(extract, "NOT p.deleted", "NOT p.deleted; SELECT 1")],
            Code::BadSql,
            extract,
            "SELECT 1",
            "second statement",
        ),
        (&[(extract, "NOT p.deleted", "p.slug = $1")], Code::BadSql, extract, "$1", "never bound"),
        (&[(extract, "'UTC'", "'UTC")], Code::BadSql, extract, "", "does not end"),
        (&[(delete, "WHERE", "-- WHERE")], Code::BadSql, delete, "DELETE", "everyone's rows"),
        (&[(delete, "DELETE FROM", "TRUNCATE")], Code::BadSql, delete, "TRUNCATE", "begins with `TRUNCATE`"),
        (&[(delete, "DELETE", "COMMIT; DELETE")], Code::BadSql, delete, "COMMIT", "begins with `COMMIT`"),
        (&[(delete, "", " \n")], Code::BadFile, PLAN, "article.delete.sql", "is empty"),
        (&[(delete, "", "-- later")], Code::BadSql, delete, "-- later", "no statement"),
        (&[(delete, "", "\u{feff}DELETE")], Code::BadFile, PLAN, "article.delete.sql", "byte order mark"),
        (&[(delete, "", "DELETE \0")], Code::BadFile, PLAN, "article.delete.sql", "NUL"),
        (&[(PLAN, "\"article.delete.sql\"", "\"gone.sql\"")], Code::BadFile, PLAN, "gone.sql", "not there"),
        (
            &[(PLAN, "\"article.delete.sql\"", "\"../x.sql\"")],
            Code::BadFile,
            PLAN,
            "../x.sql",
            "inside the plan's folder",
        ),
        (
            &[(PLAN, "\"article.delete.sql\"", "\"/etc/passwd\"")],
            Code::BadFile,
            PLAN,
            "/etc/passwd",
            "inside the plan's folder",
        ),
        (&[(PLAN, "\"article.delete.sql\"", "\"plan.toml\"")], Code::BadFile, PLAN, "delete", "no SQL"),
        (
            &[(PLAN, "\"article.delete.sql\"", "\"\"")],
            Code::BadFile,
            PLAN,
            "delete",
            "inside the plan's folder",
        ),
    ]);
}

#[test]
fn a_misspelt_placeholder_is_told_beside_the_missing_one() {
    let found = findings(edited(&[("article.extract.sql", ":users", ":user")]));
    let what: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(what.len(), 2, "{what:?}");
    assert!(
        found.iter().any(|finding| finding.remedy.contains("did you mean `:users`") && finding.line == 17)
    );
}

#[test]
fn all_errors_of_all_files_come_at_once_in_order() {
    let found = findings(edited(&[
        (PLAN, "format   = 1", "format = 9"),
        (PLAN, "extract   = \"article.extract.sql\"", "extrct = \"article.extract.sql\""),
        (PLAN, "slug         = { column = \"slug\" }", "slug = { column = \"slag\" }"),
        (PLAN, "parent    = \"article\"", "parent = \"nobody\""),
        ("reply.delete.sql", "a.owner_id = ANY (:users)", "true"),
        ("article.read_back.sql", ":users", "$1"),
    ]));
    let kinds: Vec<_> = found.iter().map(|finding| (finding.file.as_str(), finding.code)).collect();
    assert_eq!(
        kinds,
        [
            (PLAN, Code::UnknownFormat),
            (PLAN, Code::MissingKey),
            (PLAN, Code::UnknownKey),
            (PLAN, Code::UnknownColumn),
            (PLAN, Code::BadParent),
            ("article.read_back.sql", Code::BadSql),
            ("article.read_back.sql", Code::BadSql),
            ("reply.delete.sql", Code::BadSql),
        ],
        "{found:#?}"
    );
    assert!(found[2].remedy.contains("did you mean `extract`?"), "{}", found[2]);
}

#[test]
fn syntax_errors_do_not_hide_the_other_errors() {
    let found = findings(edited(&[
        (PLAN, "name     = \"blog-posts\"", "name = "),
        (PLAN, "slug         = { column = \"slug\" }", "slug = { column = \"slag\" }"),
    ]));
    let kinds: Vec<_> = found.iter().map(|finding| finding.code).collect();
    assert_eq!(kinds, [Code::TomlSyntax, Code::UnknownColumn], "{found:#?}");
}

#[test]
fn more_than_a_plan_may_have_is_refused() {
    let columns: Vec<_> = (0..=limits::MAX_COLUMNS).map(|n| format!("\"c{n} text\"")).collect();
    let columns = format!("{},", columns.join(", "));
    let found = findings(edited(&[(PLAN, "\"slug text\",", &columns)]));
    assert_eq!((found.len(), found[0].code), (1, Code::Limit), "{found:?}");

    let mut many = blog();
    let entity = "\n[[entity]]\nname = \"e\"\n".repeat(limits::MAX_ENTITIES);
    many.get_mut(PLAN).unwrap().push_str(&entity);
    assert!(findings(many).iter().any(|finding| finding.code == Code::Limit));

    let long = format!("DELETE FROM x WHERE u = ANY(:users) -- {}", "x".repeat(limits::MAX_FILE_BYTES));
    let found = findings(edited(&[("article.delete.sql", "", &long)]));
    assert_eq!((found.len(), found[0].code), (1, Code::BadFile));
    assert!(found[0].what.contains("1 MiB"));
}

#[test]
fn a_file_of_errors_is_answered_with_a_bounded_list() {
    let mut files = blog();
    let keys: Vec<String> = (0..5000).map(|n| format!("k{n} = 1\n")).collect();
    files.get_mut(PLAN).unwrap().insert_str(0, &keys.concat());
    let found = findings(files);
    assert!((100..=500).contains(&found.len()), "{}", found.len());
}

mod on_disk {
    use super::*;
    use std::fs;

    fn copy() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in blog() {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn only_finding(folder: &std::path::Path) -> Finding {
        let errors = Plan::load(folder).unwrap_err();
        assert_eq!(errors.findings().len(), 1, "{errors}");
        errors.findings()[0].clone()
    }

    #[test]
    fn files_in_subfolders_are_read() {
        let folder = copy();
        fs::create_dir(folder.path().join("sql")).unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::rename(at("article.delete.sql"), at("sql/article.delete.sql")).unwrap();
        let text =
            fs::read_to_string(at(PLAN)).unwrap().replace("article.delete.sql", "sql/article.delete.sql");
        fs::write(at(PLAN), text).unwrap();
        assert!(Plan::load(folder.path()).unwrap().files().contains_key("sql/article.delete.sql"));
    }

    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let folder = copy();
        let file = folder.path().join("article.delete.sql");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        let finding = only_finding(folder.path());
        assert_eq!(finding.code, Code::BadFile);
        assert!(finding.what.contains("out of the plan's folder"), "{finding}");
    }

    #[test]
    fn a_folder_and_binary_data_are_no_sql() {
        let folder = copy();
        let file = folder.path().join("article.delete.sql");
        fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(only_finding(folder.path()).what.contains("not UTF-8"));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(only_finding(folder.path()).what.contains("not a regular file"));
    }

    #[test]
    fn a_missing_folder_and_a_missing_plan_are_told() {
        let folder = copy();
        fs::remove_file(folder.path().join(PLAN)).unwrap();
        assert_eq!(only_finding(folder.path()).code, Code::BadFile);
        assert_eq!(only_finding(&folder.path().join("nowhere")).code, Code::BadFile);
    }
}

/// Pieces out of which hostile plans are made.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\"".to_owned()),
        Just("'''".to_owned()),
        Just("[".to_owned()),
        Just("]]".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("= ".to_owned()),
        Just("\n".to_owned()),
        Just("[[entity]]\n".to_owned()),
        Just("[entity.fill]\n".to_owned()),
        Just("[legacy.\"a.b\"]\n".to_owned()),
        Just("via = { a = \"a.b.c\" }\n".to_owned()),
        Just("name = 1e999\n".to_owned()),
        Just("key.key.key = []\n".to_owned()),
        Just("\u{0}\u{202e}é".to_owned()),
        "\\PC{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_plan_never_panics_and_every_error_has_a_place_in_it(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, hostile()), 1..6)
    ) {
        let mut files = blog();
        let text = files.get_mut(PLAN).unwrap();
        for (at, length, put) in cuts {
            let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let from = at.index(boundaries.len());
            let to = (from + length).min(boundaries.len() - 1);
            text.replace_range(boundaries[from]..boundaries[to], &put);
        }
        let lines = text.lines().count() as u32 + 1;
        for finding in findings(files.clone()) {
            prop_assert!(finding.line >= 1 && finding.column >= 1);
            prop_assert!(finding.file != PLAN || finding.line <= lines, "{finding}");
            prop_assert!(!finding.what.is_empty() && !finding.remedy.is_empty());
        }
    }

    #[test]
    fn mutated_sql_never_panics(
        at in any::<prop::sample::Index>(),
        put in "[-'\"$:;/*eE\\\\\\[\\]() \n]{1,6}|:users|:user|\\$\\$|;",
        file in prop::sample::select(vec!["article.extract.sql", "reply.delete.sql", "article.read_back.sql"]),
    ) {
        let mut files = blog();
        let text = files.get_mut(file).unwrap();
        let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        text.insert_str(boundaries[at.index(boundaries.len())], &put);
        let lines = text.lines().count() as u32 + 1;
        for finding in findings(files.clone()) {
            prop_assert_eq!(&finding.file, file);
            prop_assert!(finding.line <= lines);
        }
    }

    #[test]
    fn arbitrary_text_is_no_plan_and_no_panic(text in "\\PC{0,200}") {
        prop_assert!(!findings(BTreeMap::from([(PLAN.to_owned(), text)])).is_empty());
    }
}
