//! The engine's code against Postgres itself: rows streamed by binary COPY and hashed here, and the same digests
//! computed inside the server by plain SQL. On real servers, both sides, and the standby.

use std::sync::{Arc, Weak};

use futures_util::TryStreamExt as _;
use handover_canonical::audit_sql::{self, Audit, Entity};
use handover_canonical::copy::Decoder;
use handover_canonical::{Column, EntityHash, KeyBlock, Layout, RowHasher, Scalar, Type, user_digest};
use handover_sandbox::{Options, Sandbox, Server};
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

use crate::common;

const PLAN_HASH: [u8; 32] = [0x5a; 32];

/// The servers, shared by the tests that run at the same time, and stopped with the last of them.
async fn sandbox() -> Arc<Sandbox> {
    static SHARED: Mutex<Weak<Sandbox>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(sandbox) = shared.upgrade() {
        return sandbox;
    }
    let sandbox = Arc::new(Sandbox::start(Options::default()).await.expect("servers start"));
    *shared = Arc::downgrade(&sandbox);
    sandbox
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
    tokio::spawn(connection);
    client
}

/// A database of the test's own, with the types that are not built in. The destination has had other types before
/// them, so that their OIDs differ from legacy's.
async fn database(sandbox: &Sandbox, server: Server, name: &str) -> Client {
    let client = connect(&sandbox.create_database(server, name).await.expect("a database")).await;
    if server == Server::Destination {
        client
            .batch_execute("CREATE TYPE other AS ENUM ('x'); CREATE TYPE another AS ENUM ('y')")
            .await
            .expect("types");
    }
    client
        .batch_execute(
            "CREATE EXTENSION citext;
             CREATE TYPE mood AS ENUM ('sad', 'gut so');
             CREATE DOMAIN short AS varchar(3);
             CREATE DOMAIN pos AS int4 CHECK (VALUE > 0)",
        )
        .await
        .expect("types");
    client
}

/// How a column of this canonical type is declared in the test's database.
fn declared(ty: Type) -> String {
    let scalar = match ty.scalar() {
        Scalar::Enum => "public.mood".to_owned(),
        Scalar::Citext => "public.citext".to_owned(),
        // Without the quotes it would be bit(1).
        Scalar::Bit => "pg_catalog.\"bit\"".to_owned(),
        scalar => Type::of(scalar).to_string(),
    };
    format!("{scalar}{}", if ty.is_array() { "[]" } else { "" })
}

fn quoted(literal: &str, ty: Type) -> String {
    format!("{literal}::{}", declared(ty))
}

fn layout(name: &str, columns: &[&str]) -> Layout {
    Layout::new(name, columns.iter().map(|column| column.parse().expect("a column")).collect())
        .expect("a layout")
}

/// What a digest query returns: user, digest, number of rows.
type Digests = Vec<(String, String, u64)>;

/// The digests as the engine computes them, from the binary COPY of each entity's query.
async fn engine(client: &Client, audit: &Audit<'_>) -> Digests {
    let mut hashes = vec![vec![EntityHash::default(); audit.entities.len()]; audit.users.len()];
    for (place, entity) in audit.entities.iter().enumerate() {
        let hashers: Vec<RowHasher> =
            audit.users.iter().map(|(_, key)| RowHasher::new(key, entity.layout)).collect();
        let sql = format!("COPY (\n{}\n) TO STDOUT (FORMAT binary)", entity.sql.trim_end_matches([';', ' ']));
        let mut chunks = std::pin::pin!(client.copy_out(&sql).await.expect("copies"));
        let mut decoder = Decoder::new();
        while let Some(chunk) = chunks.try_next().await.expect("streams") {
            decoder.push(chunk);
            for tuple in common::drain(&mut decoder).expect("well formed") {
                let user = user_text(audit.user_type, tuple.field(0).expect("a user"));
                let user =
                    audit.users.iter().position(|(known, _)| *known == user).expect("a user asked for");
                let row = tuple.run(1..1 + entity.layout.columns().len());
                hashes[user][place].add(&hashers[user].hash(row).expect("the declared columns"));
            }
        }
        decoder.finish().expect("complete");
    }
    let digests = audit.users.iter().zip(&hashes).map(|((user, _), hashes)| {
        let entities: Vec<_> = audit.entities.iter().map(|entity| entity.layout).zip(hashes).collect();
        let rows = hashes.iter().map(EntityHash::count).sum();
        ((*user).to_owned(), user_digest(audit.plan_hash, &entities).to_string(), rows)
    });
    sorted(digests.collect())
}

fn user_text(ty: Type, wire: &[u8]) -> String {
    match ty.scalar() {
        Scalar::Int8 => i64::from_be_bytes(wire.try_into().expect("8 bytes")).to_string(),
        Scalar::Text => String::from_utf8(wire.to_vec()).expect("UTF-8"),
        other => panic!("no test has users of type {other:?}"),
    }
}

/// The digests as Postgres computes them.
async fn postgres(client: &Client, audit: &Audit<'_>) -> Digests {
    let rows = client.query(&audit_sql::digest_query(audit), &[]).await.expect("the query runs");
    let digests = rows.iter().map(|row| {
        let count: i64 = row.get("row_count");
        (row.get("user_key"), row.get("digest"), u64::try_from(count).expect("a count"))
    });
    sorted(digests.collect())
}

fn sorted(mut digests: Digests) -> Digests {
    digests.sort();
    digests
}

/// Sets the session up as the printed script does, and asks both.
async fn both(client: &Client, audit: &Audit<'_>) -> Digests {
    let users: Vec<&str> = audit.users.iter().map(|(user, _)| *user).collect();
    client.batch_execute(&audit_sql::session(&users)).await.expect("the session is pinned");
    let engine = engine(client, audit).await;
    assert_eq!(engine, postgres(client, audit).await);
    engine
}

/// Fills a table `name` with every vector of the type, alone and in arrays with and without NULLs.
async fn fill(client: &Client, name: &str, ty: Type) {
    let vectors = common::value_vectors();
    let vectors = vectors.iter().filter(|vector| vector.ty == ty.to_string());
    let literals: Vec<String> = vectors.map(|vector| quoted(&vector.literal, ty)).collect();
    let (column, all) = (declared(ty), literals.join(", "));
    let rows = literals.iter().enumerate();
    let rows: Vec<String> = rows.map(|(n, one)| format!("({}, {one}, ARRAY[{one}])", n % 2 + 1)).collect();
    let sql = format!(
        "CREATE TABLE public.{name} (u int8, v {column}, a {column}[]);
         INSERT INTO public.{name} VALUES {},
           (1, NULL, NULL), (1, NULL, '{{}}'), (1, NULL, '{{NULL}}'),
           (2, NULL, ARRAY[{all}, NULL]), (2, NULL, ARRAY[ARRAY[{all}], ARRAY[{all}]])",
        rows.join(", "),
    );
    client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{ty}: {error:?}"));
}

#[tokio::test]
async fn postgres_computes_the_engines_digest_for_every_type_on_both_sides() {
    let sandbox = sandbox().await;
    let scalars: Vec<Type> = Type::all().filter(|ty| !ty.is_array()).collect();
    let entities: Vec<(Layout, String)> =
        scalars.iter().enumerate().map(|(n, ty)| type_entity(n, *ty)).collect();
    let entities: Vec<Entity<'_>> = entities.iter().map(|(layout, sql)| Entity { layout, sql }).collect();
    let (one, two) = (KeyBlock::from_bytes([1; 64]), KeyBlock::from_bytes([2; 64]));
    let users = [("1", &one), ("2", &two), ("3", &two)];
    let mut sides = Vec::new();
    for server in [Server::Legacy, Server::Destination] {
        let client = database(&sandbox, server, "every_type").await;
        for (n, ty) in scalars.iter().enumerate() {
            fill(&client, &format!("t{n}"), *ty).await;
        }
        let mut digests = Vec::new();
        // Type by type, so that a failure names it; then all in one query.
        for entities in entities.iter().map(std::slice::from_ref).chain([entities.as_slice()]) {
            let audit = Audit { plan_hash: &PLAN_HASH, user_type: Type::INT8, entities, users: &users };
            let found = both(&client, &audit).await;
            assert!(found[0].2 >= 4 && found[1].2 >= 2 && found[2].2 == 0, "{:?}", entities[0].layout);
            digests.push(found);
        }
        sides.push(digests);
    }
    assert_eq!(sides[0], sides[1]);
}

/// An entity over the table that [`fill`] fills, with names that want quoting, and a query that ends in a comment.
fn type_entity(n: usize, ty: Type) -> (Layout, String) {
    let columns =
        vec![Column::new("a \"plain\" one", ty), Column::new("it's an array", Type::array_of(ty.scalar()))];
    let sql = format!(
        "SELECT u, v, a FROM public.t{n} WHERE u = ANY (current_setting('handover.users')::int8[]) -- all"
    );
    (Layout::new(format!("entity{n}"), columns).expect("valid"), sql)
}

#[tokio::test]
async fn two_arrays_that_differ_by_their_history_have_one_digest() {
    let sandbox = sandbox().await;
    let client = connect(sandbox.url(Server::Destination)).await;
    let layout = layout("e", &["a int8[]"]);
    let key = KeyBlock::from_bytes([4; 64]);
    let mut digests = Vec::new();
    for array in ["ARRAY[1]::int8[]", "(ARRAY[1, NULL]::int8[])[1:1]"] {
        let sql = format!("SELECT 1::int8, {array}");
        let entities = [Entity { layout: &layout, sql: &sql }];
        let users = [("1", &key)];
        let audit =
            Audit { plan_hash: &PLAN_HASH, user_type: Type::INT8, entities: &entities, users: &users };
        digests.push(both(&client, &audit).await);
    }
    assert_eq!(digests[0], digests[1]);
    let raw = "SELECT array_send(ARRAY[1]::int8[]) = array_send((ARRAY[1, NULL]::int8[])[1:1]) AS same";
    assert!(!client.query_one(raw, &[]).await.expect("runs").get::<_, bool>("same"), "the wire does differ");
}

#[tokio::test]
async fn modifiers_domains_and_toasted_values_pass_through_the_casts_of_the_page() {
    let sandbox = sandbox().await;
    let layout = layout(
        "awkward",
        &[
            "padded bpchar",
            "short varchar",
            "sum numeric",
            "flags bit",
            "at timestamp",
            "dom varchar",
            "pos int4",
            "poss int4[]",
            "names varchar[]",
            "long text",
            "doc jsonb",
            "many text[]",
        ],
    );
    let sql = "SELECT u, padded::bpchar, short::varchar, sum::numeric, flags::pg_catalog.\"bit\", at::timestamp,
                      dom::varchar, pos, poss::int4[], names::varchar[], long, doc, many FROM public.awkward;";
    let key = KeyBlock::from_bytes([9; 64]);
    let audit = Audit {
        plan_hash: &PLAN_HASH,
        user_type: Type::INT8,
        entities: &[Entity { layout: &layout, sql }],
        users: &[("1", &key)],
    };
    let mut sides = Vec::new();
    for server in [Server::Legacy, Server::Destination] {
        let client = database(&sandbox, server, "awkward").await;
        client.batch_execute(AWKWARD).await.expect("filled");
        let described = client.prepare(sql.trim_end_matches(';')).await.expect("prepares");
        for (found, column) in described.columns()[1..].iter().zip(layout.columns()) {
            assert_eq!((Some(found.type_().oid()), found.type_modifier()), (column.ty.oid(), -1), "{column}");
        }
        sides.push(both(&client, &audit).await);
    }
    assert_eq!(sides[0], sides[1]);
    assert_eq!(sides[0][0].2, 3);
}

/// Values out of line, compressed and not, NULLs, and a column of each kind that has a modifier.
const AWKWARD: &str = "
    CREATE TABLE public.awkward (u int8, padded char(5), short varchar(3), sum numeric(10,2), flags bit(8),
        at timestamp(3), dom short, pos pos, poss pos[], names varchar(3)[], long text, doc jsonb, many text[]);
    ALTER TABLE public.awkward ALTER long SET STORAGE EXTERNAL;
    INSERT INTO public.awkward VALUES
        (1, 'ab', 'abc', 1.5, B'10101010', '2024-05-01 08:00:00.1239', 'xyz', 7, '{1,2}', '{abc,NULL}', repeat('ä', 200000),
         (SELECT jsonb_object_agg('key' || n, n) FROM generate_series(1, 20000) AS n),
         (SELECT array_agg('element ' || n) FROM generate_series(1, 20000) AS n)),
        (1, '', '', 0, B'00000000', '-infinity', '', 1, '{}', '{}', '', '{}', '{}');
    INSERT INTO public.awkward VALUES (1)";

#[tokio::test]
async fn each_user_of_a_bundle_has_a_digest_of_the_own_key_and_rows() {
    let sandbox = sandbox().await;
    let client = database(&sandbox, Server::Destination, "bundle").await;
    client
        .batch_execute(
            "CREATE TABLE public.measure AS
               SELECT (ARRAY['ada', 'o''brien', 'a\"b\\c', ' {x,y} '])[n % 4 + 1] AS owner, n::int8 AS id,
                      ((random() - 0.5) * 10 ^ (n % 40 - 20))::float8 AS f,
                      (random()::numeric * 10000::numeric ^ (n % 9 - 4)) AS x,
                      'epoch'::timestamptz + random() * interval '90 years' AS at,
                      nullif(md5(random()::text), md5(n::text)) AS t, NULLIF(n % 3, 0) AS maybe
                 FROM generate_series(1, 4000) AS n",
        )
        .await
        .expect("filled");
    let layout =
        layout("measure", &["id int8", "f float8", "x numeric", "at timestamptz", "t text", "maybe int4"]);
    // Behind the declared columns one that is derived, named as the query's own names are.
    let sql = "SELECT owner, id, f, x, at, t, maybe, 'derived' AS returned_1 FROM public.measure
                WHERE owner = ANY (current_setting('handover.users')::text[]) ;  ";
    let keys: Vec<KeyBlock> = (0..5).map(|_| KeyBlock::random().expect("random")).collect();
    let names = ["ada", "o'brien", "a\"b\\c", " {x,y} ", "nobody"];
    let users: Vec<(&str, &KeyBlock)> = names.into_iter().zip(&keys).collect();
    let audit = Audit {
        plan_hash: &PLAN_HASH,
        user_type: Type::TEXT,
        entities: &[Entity { layout: &layout, sql }],
        users: &users,
    };
    let found = both(&client, &audit).await;
    assert_eq!(found.iter().map(|(_, _, rows)| *rows).sum::<u64>(), 4000);
    assert!(found.contains(&(
        "nobody".to_owned(),
        user_digest(&PLAN_HASH, &[(&layout, &EntityHash::default())]).to_string(),
        0
    )));
    let some = Audit { users: &users[1..3], ..audit };
    assert!(both(&client, &some).await.iter().all(|user| found.contains(user)));
}

#[tokio::test]
async fn the_pages_query_gives_the_pages_digest_on_a_primary_and_on_a_standby() {
    let sandbox = sandbox().await;
    let (settings, query) = (common::block("sql", "SET"), common::block("sql", "WITH"));
    for server in [Server::Legacy, Server::Replica, Server::Destination] {
        let client = connect(sandbox.url(server)).await;
        client.batch_execute(&settings.join("\n")).await.expect("the page's settings exist");
        let digest: String =
            client.query_one(&query.join("\n"), &[]).await.expect("the page's query runs").get("user_digest");
        assert_eq!(digest, common::user_vector().user_digest, "{server:?}");
    }
}

#[tokio::test]
async fn the_printed_script_runs_on_a_standby() {
    let sandbox = sandbox().await;
    let client = connect(sandbox.url(Server::Replica)).await;
    let layout = layout("number", &["n int8"]);
    let sql = "SELECT u, n FROM unnest(current_setting('handover.users')::int8[]) AS u, generate_series(1::int8, u) AS n";
    let key = KeyBlock::from_bytes([4; 64]);
    let entities = [Entity { layout: &layout, sql }];
    let users = [("2", &key), ("300", &key)];
    let audit = Audit { plan_hash: &PLAN_HASH, user_type: Type::INT8, entities: &entities, users: &users };
    client.simple_query(&audit_sql::script(&audit)).await.expect("the script runs");
    assert_eq!(both(&client, &audit).await.iter().map(|(_, _, rows)| *rows).collect::<Vec<_>>(), [2, 300]);
}

#[tokio::test]
async fn every_value_of_the_page_is_what_the_server_sends() {
    let sandbox = sandbox().await;
    let client = database(&sandbox, Server::Legacy, "vectors").await;
    client.batch_execute(&audit_sql::session(&[])).await.expect("pinned");
    for vector in common::value_vectors() {
        let ty: Type = vector.ty.parse().expect("in the list");
        let layout = Layout::new("e", vec![Column::new("v", ty)]).expect("valid");
        let sql = format!("COPY (SELECT {}) TO STDOUT (FORMAT binary)", quoted(&vector.literal, ty));
        let chunks: Vec<_> =
            client.copy_out(&sql).await.expect("copies").try_collect().await.expect("streams");
        let mut decoder = Decoder::new();
        for chunk in chunks {
            decoder.push(chunk);
        }
        let tuple = decoder.next().expect("well formed").expect("one row");
        let row = layout.normalise(tuple.after(0)).expect("well formed");
        assert_eq!(hex::encode(&row[4..]), vector.bytes, "{vector:?}");
    }
}

#[tokio::test]
async fn the_list_is_the_servers() {
    let sandbox = sandbox().await;
    let client = connect(sandbox.url(Server::Destination)).await;
    for ty in Type::all() {
        let Some(oid) = ty.oid() else { continue };
        let sql = "SELECT format_type(oid, NULL), format_type(oid, -1), typelem, typsend::text FROM pg_type WHERE oid = $1";
        let row = client.query_one(sql, &[&oid]).await.unwrap_or_else(|error| panic!("{ty}: {error}"));
        let (bare, spelled, element): (String, String, u32) = (row.get(0), row.get(1), row.get(2));
        // The server has two spellings, for the type with and without a modifier; the list knows one at least.
        assert!([bare, spelled].iter().any(|name| name.parse() == Ok(ty)), "{ty}");
        match ty.element() {
            Some(of) => assert_eq!((of.oid(), row.get::<_, &str>(3)), (Some(element), "array_send"), "{ty}"),
            None => assert_eq!(ty.scalar().send_function(), row.get::<_, &str>(3), "{ty}"),
        }
    }
}
