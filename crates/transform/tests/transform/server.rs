//! A real Postgres is asked: does it spell values as `spelling` does, take what the fills write, and compute
//! the same in SQL by the expressions of `docs/transforms.md`?

use std::pin::pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use handover_canonical::{
    Type,
    copy::{Decoder, HEADER, TRAILER, Tuple, put_field, put_tuple_header},
};
use handover_postgres::{Connection, Database, quote_literal};
use handover_sandbox::{Options, Sandbox};
use handover_transform::{Fill, Scratch, Speller, Target, Transform, spelling::Style};
use secrecy::SecretString;

use crate::rows::{NAMESPACE, column, json, layout, map, target, uuid5};

async fn start() -> (Sandbox, Connection) {
    let sandbox = Sandbox::start(Options { replica: false, ..Options::default() }).await.unwrap();
    let url = SecretString::from(sandbox.destination_url());
    let client = Database::new("destination", &url).unwrap().connect().await.unwrap();
    (sandbox, client)
}

async fn copy_out(client: &Connection, query: &str) -> Vec<Tuple> {
    let copy = client.copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT binary)")).await;
    let mut stream = pin!(copy.unwrap_or_else(|error| panic!("{query}: {error:?}")));
    let (mut decoder, mut tuples) = (Decoder::new(), Vec::new());
    while let Some(chunk) = stream.next().await {
        decoder.push(chunk.unwrap_or_else(|error| panic!("{query}: {error:?}")));
        while let Some(tuple) = decoder.next().unwrap() {
            tuples.push(tuple);
        }
    }
    decoder.finish().unwrap();
    tuples
}

async fn copy_in(client: &Connection, into: &str, tuples: &[u8]) -> u64 {
    let copy = client.copy_in(&format!("COPY {into} FROM STDIN (FORMAT binary)")).await.unwrap();
    let mut sink = pin!(copy);
    sink.send(Bytes::from([&HEADER[..], tuples, &TRAILER].concat())).await.unwrap();
    sink.finish().await.unwrap()
}

/// Compares the spellings of all values `v` that a query returns, and tells how many they were.
async fn compare(client: &Connection, ty: &str, query: &str) -> usize {
    let ty: Type = ty.parse().unwrap();
    let text = match ty.to_string().as_str() {
        "json" | "jsonb" => "v::text",
        _ => "to_json(v) #>> '{}'",
    };
    let query =
        format!("SELECT v, {text}, to_json(v)::text, to_jsonb(v)::text FROM ({query}) q WHERE v IS NOT NULL");
    let speller = Speller::of(ty).unwrap();
    let rows = copy_out(client, &query).await;
    for row in &rows {
        let value = row.field(0).unwrap();
        let [text, json, jsonb] = [1, 2, 3].map(|at| std::str::from_utf8(row.field(at).unwrap()).unwrap());
        let mut ours = [Vec::new(), Vec::new(), Vec::new()];
        speller.text(value, &mut ours[0]).unwrap();
        speller.json(value, Style::Json, &mut ours[1]).unwrap();
        speller.json(value, Style::Jsonb, &mut ours[2]).unwrap();
        let ours = ours.map(|ours| String::from_utf8(ours).unwrap());
        // A json inside a jsonb is embedded as it stands.
        let jsonb = if ty.scalar() == handover_canonical::Scalar::Json { &ours[2].clone() } else { jsonb };
        assert_eq!(ours, [text, json, jsonb], "{ty}");
    }
    rows.len()
}

async fn compare_literals(client: &Connection, ty: &str, sql: &str, literals: &[&str]) {
    let values: Vec<String> =
        literals.iter().map(|text| format!("({}::{sql})", quote_literal(text))).collect();
    let compared = compare(client, ty, &format!("SELECT * FROM (VALUES {}) t(v)", values.join(", "))).await;
    assert_eq!(compared, literals.len(), "{ty}");
}

const LITERALS: &[(&str, &str, &[&str])] = &[
    ("bool", "bool", &["t", "f"]),
    ("int2", "int2", &["0", "-32768", "32767", "7"]),
    ("int4", "int4", &["0", "-2147483648", "2147483647", "-1", "10", "100"]),
    ("int8", "int8", &["0", "-9223372036854775808", "9223372036854775807", "42"]),
    (
        "float4",
        "float4",
        &[
            "0",
            "-0",
            "1",
            "0.1",
            "1e6",
            "999999",
            "1234567",
            "3.4028235e38",
            "1e-45",
            "1.1754944e-38",
            "0.0001",
            "0.00001",
            "16777216",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    (
        "float8",
        "float8",
        &[
            "0",
            "-0",
            "1",
            "0.1",
            "-2.5",
            "1e14",
            "1e15",
            "123456789012345",
            "1234567890123456",
            "9007199254740993",
            "1e20",
            "1e308",
            "5e-324",
            "2.2250738585072014e-308",
            "0.0001",
            "0.00001",
            "1e-10",
            "1e23",
            "9.5e-5",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    (
        "numeric",
        "numeric",
        &[
            "0",
            "0.00",
            "-0",
            "1",
            "1.50",
            "-12.340",
            "10000",
            "9999.9999",
            "0.0001",
            "0.00001",
            "1e-20",
            "1e40",
            "123456789.987654321",
            "100000000000000000000.00000000000000000001",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    ("numeric", "numeric(10,4)", &["0", "1.5", "-99999.12345"]),
    (
        "text",
        "text",
        &["", "a", "null", "\"", "\\", "\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}", "naïve 日本 🦀", "/", "\u{2028}"],
    ),
    ("varchar", "varchar(9)", &["", "a'b"]),
    ("bpchar", "char(5)", &["", "ab", "abcde"]),
    ("name", "name", &["pg_class"]),
    ("citext", "public.citext", &["MiXed"]),
    ("enum", "public.mood", &["so so", "\"fine\""]),
    ("bytea", "bytea", &["", "\\x00ff10", "\\xdeadbeef"]),
    ("uuid", "uuid", &["6F9619FF-8B86-D011-B42D-00CF4FC964FF", "00000000-0000-0000-0000-000000000000"]),
    (
        "date",
        "date",
        &[
            "2000-01-01",
            "1999-12-31",
            "2024-02-29",
            "1900-02-28",
            "0001-01-01",
            "0001-12-31 BC",
            "4713-11-24 BC",
            "9999-12-31",
            "10000-01-01",
            "5874897-12-31",
            "infinity",
            "-infinity",
        ],
    ),
    ("time", "time", &["00:00", "24:00", "08:09:10", "23:59:59.999999", "12:00:00.5", "00:00:00.000001"]),
    (
        "timestamp",
        "timestamp",
        &[
            "2024-05-01 08:00",
            "1999-12-31 23:59:59.999999",
            "0044-03-15 12:00 BC",
            "4713-11-24 00:00 BC",
            "294276-12-31 23:59:59.999999",
            "1969-12-31 23:59:59.5",
            "infinity",
            "-infinity",
        ],
    ),
    (
        "timestamptz",
        "timestamptz",
        &[
            "2024-05-01 08:00+02",
            "2024-05-01 08:00:00.25Z",
            "0044-03-15 12:00+00 BC",
            "294276-12-31 23:59:59.999999+00",
            "infinity",
            "-infinity",
        ],
    ),
    ("json", "json", &["{\"a\" :1}", " [1,  2.50]", "\"x\"", "null", "1e3", "\"\\ud83e\\udd80\""]),
    ("jsonb", "jsonb", &["{\"bb\":1,\"a\":[1.50,null,true]}", "\"x\"", "null", "1e3", "[]", "{}", "\"\\n\""]),
    ("int4[]", "int4[]", &["{}", "{1}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[5:6]={1,2}", "{{{1},{2}}}"]),
    ("text[]", "text[]", &["{}", "{a,\"b,c\",NULL,\"\\\"\",\"\"}", "{{a},{b}}"]),
    ("bool[]", "bool[]", &["{t,f}"]),
    ("float8[]", "float8[]", &["{1e20,NaN,-0}"]),
    ("numeric[]", "numeric[]", &["{1.50,NaN}"]),
    ("timestamptz[]", "timestamptz[]", &["{2024-05-01 08:00:00+00,infinity}"]),
    ("date[]", "date[]", &["{2024-05-01}"]),
    ("uuid[]", "uuid[]", &["{6f9619ff-8b86-d011-b42d-00cf4fc964ff}"]),
    ("bytea[]", "bytea[]", &["{\"\\\\xdead\"}"]),
    ("jsonb[]", "jsonb[]", &["{\"{\\\"a\\\": 1}\",null}"]),
    ("json[]", "json[]", &["{\"{\\\"a\\\":1}\"}"]),
    ("enum[]", "public.mood[]", &["{so so}"]),
    ("bpchar[]", "char(3)[]", &["{a,abc}"]),
];

/// Values that the server draws itself.
const DRAWN: &[(&str, &str)] = &[
    (
        "numeric",
        "SELECT round(((random() - 0.5) * power(10::numeric, (random() * 60 - 30)::int))::numeric, n % 24) AS v \
         FROM generate_series(1, 4000) n",
    ),
    (
        "date",
        "SELECT '4713-11-24 BC'::date + (random() * 2147483493)::int AS v FROM generate_series(1, 4000)",
    ),
    ("date", "SELECT '1890-01-01'::date + n AS v FROM generate_series(0, 60000, 7) n"),
    (
        "timestamp",
        "SELECT '4713-11-24 BC'::timestamp + make_interval(days => (random() * 106000000)::int, \
         secs => random() * 86399) AS v FROM generate_series(1, 4000)",
    ),
    (
        "timestamptz",
        "SELECT '1900-01-01'::timestamptz + random() * '200 years'::interval AS v FROM generate_series(1, 4000)",
    ),
    ("text", "SELECT chr(n) || 'x' || chr(n) AS v FROM generate_series(1, 3000) n"),
    (
        "float8",
        "SELECT (random() - 0.5) * power(10::float8, (random() * 600 - 300)::int) AS v FROM generate_series(1, 4000)",
    ),
    ("float8", "SELECT (random() * power(10, n % 19))::int8::float8 AS v FROM generate_series(1, 4000) n"),
    ("float4", "SELECT (n::float4 / 8)::float4 AS v FROM generate_series(-4000, 4000) n"),
];

#[tokio::test]
async fn values_are_spelled_as_the_server_spells_them() {
    let (sandbox, client) = start().await;
    client.batch_execute("CREATE TYPE public.mood AS ENUM ('so so', '\"fine\"')").await.unwrap();
    client.batch_execute("CREATE EXTENSION citext SCHEMA public").await.unwrap();
    for (ty, sql, literals) in LITERALS {
        compare_literals(&client, ty, sql, literals).await;
    }
    client.batch_execute("SELECT setseed(0.42)").await.unwrap();
    for (ty, query) in DRAWN {
        assert!(compare(&client, ty, query).await >= 3000, "{query}");
    }
    floats(&client).await;
    drop(client);
    sandbox.stop().await;
}

/// Every power of two with its neighbours, where shortest spellings are hardest, and as many random floats.
async fn floats(client: &Connection) {
    client.batch_execute("CREATE TEMP TABLE f8 (v float8); CREATE TEMP TABLE f4 (v float4)").await.unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let powers =
        (0..2047_u64).flat_map(|power| [-2_i64, -1, 0, 1, 2].map(|by| (power << 52).wrapping_add_signed(by)));
    let bits: Vec<u64> = powers.chain((0..20_000).map(|_| random.u64(..))).collect();
    load(client, "f8", bits.iter().map(|bits| bits.to_be_bytes())).await;
    let powers =
        (0..255_u32).flat_map(|power| [-2_i32, -1, 0, 1, 2].map(|by| (power << 23).wrapping_add_signed(by)));
    let bits: Vec<u32> = powers.chain((0..20_000).map(|_| random.u32(..))).collect();
    load(client, "f4", bits.iter().map(|bits| bits.to_be_bytes())).await;
    assert_eq!(compare(client, "float8", "SELECT v FROM pg_temp.f8").await, 2047 * 5 + 20_000);
    assert_eq!(compare(client, "float4", "SELECT v FROM pg_temp.f4").await, 255 * 5 + 20_000);
}

async fn load<const N: usize>(client: &Connection, table: &str, values: impl Iterator<Item = [u8; N]>) {
    let mut tuples = Vec::new();
    for value in values {
        put_tuple_header(&mut tuples, 1).unwrap();
        put_field(&mut tuples, Some(&value)).unwrap();
    }
    copy_in(client, &format!("pg_temp.{table}"), &tuples).await;
}

const SOURCE: &str = r#"
CREATE TYPE public.mood AS ENUM ('good', 'bad');
CREATE TABLE public.source (
    id int8, kind int2, days int4, at timestamp, zone text, amount numeric, moods public.mood[], tags text[], doc jsonb,
    raw json, ratio float8, note text, yes bool, bits varbit, span interval);
INSERT INTO public.source VALUES
    (1, 0, 3, '2024-05-01 08:00', 'Europe/Berlin', 12.50, '{good,NULL}', '{a,"b c"}', '{"k": 1.0}', '{"k" :1}', 1e20,
     'n', true, B'101', '1 mon'),
    (2, 1, -3, '1999-12-31 23:59:59.5', NULL, 'NaN', '{}', NULL, NULL, '[1,2]', '-0', E'q"\n', false, B'', '-2 days'),
    (3, NULL, NULL, 'infinity', '', NULL, NULL, '{{x},{NULL}}', '[]', NULL, NULL, NULL, NULL, NULL, NULL);
"#;

// The enum has another object identifier here, as in another database.
const DESTINATION: &str = r"
CREATE SCHEMA new;
CREATE TYPE new.mood AS ENUM ('bad', 'good');
CREATE DOMAIN new.label AS text CHECK (VALUE <> 'never');
CREATE SEQUENCE new.number_seq;
CREATE TABLE new.thing (
    id uuid PRIMARY KEY, owner_id int4 NOT NULL, owner text NOT NULL, kind new.label, schedule jsonb NOT NULL, plain json NOT NULL,
    amount numeric(20,2), moods new.mood[], tags varchar[], doc jsonb, raw json, mood new.mood NOT NULL, origin varchar(9) NOT NULL,
    since timestamptz NOT NULL, rate numeric NOT NULL, no_tags text[] NOT NULL, number int4 NOT NULL, yes bool, bits varbit,
    span interval, note public.citext, created_at timestamptz NOT NULL DEFAULT now());
";

/// The same as the fills, by the expressions of `docs/transforms.md`.
const FORWARD: &str = r"
SELECT public.uuid_generate_v5('NAMESPACE', (to_json(id) #>> '{}') || ':' || (to_json(at) #>> '{}')),
    42::int4, '42', coalesce(CASE to_json(kind) #>> '{}' WHEN '0' THEN 'zero' WHEN '1' THEN 'one' END, 'none'),
    jsonb_build_object('days', days, 'at', at, 'zone', zone, 'ratio', ratio, 'doc', doc, 'tags', tags, 'note', note,
                       'amount', amount, 'yes', yes),
    json_build_object('days', days, 'at', at, 'zone', zone, 'ratio', ratio, 'raw', raw, 'tags', tags, 'note', note, 'amount', amount)::text,
    amount::numeric(20,2), moods::text[]::new.mood[], tags::varchar[], doc, raw::text, 'good'::new.mood, 'legacy',
    '2020-01-01T00:00:00Z'::timestamptz, 1.20, '{}'::text[], (100 + id)::int4, yes, bits, span, note
FROM public.source ORDER BY id
";

/// From the destination back to the canonical columns, by the expressions of `docs/transforms.md`.
const INVERSE: &str = r"
SELECT owner_id::int8, owner::int8, CASE kind WHEN 'zero' THEN 0 WHEN 'one' THEN 1 END::int2,
    (plain->>'days')::int4, (schedule->>'at')::timestamp, schedule->>'zone', amount::numeric, moods::text[]::public.mood[],
    tags::text[], nullif(schedule->'doc', 'null'), raw, (plain->>'ratio')::float8, schedule->>'note', (schedule->>'yes')::bool,
    bits, span, (schedule->>'amount')::numeric,
    CASE WHEN jsonb_typeof(schedule->'tags') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(schedule->'tags')) END
FROM new.thing WHERE number < 103 ORDER BY number
";

const INVERTED: &str = "SELECT 42::int8, 42::int8, kind, days, at, zone, amount, moods, tags, doc, raw, ratio, note, yes, bits, span, \
    amount, tags FROM public.source WHERE id < 3 ORDER BY id";

const READ: &str = "SELECT id, owner_id, owner, kind, schedule, plain::text, amount, moods, tags, doc, raw::text, mood, origin, \
    since, rate, no_tags, number, yes, bits, span, note FROM new.thing ORDER BY number";

/// The destination's columns as its catalogue describes them.
async fn described(client: &Connection) -> Vec<Target> {
    let rows = client
        .query(
            "SELECT a.attname::text, b.oid, b.typname::text, coalesce(e.typtype, b.typtype) = 'e', a.attnotnull, \
                    coalesce(e.oid, 0::oid) \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
             LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A' \
             WHERE a.attrelid = 'new.thing'::regclass AND a.attnum > 0 ORDER BY a.attnum",
            &[],
        )
        .await
        .unwrap();
    let described = rows.iter().map(|row| Target {
        name: row.get(0),
        type_oid: row.get(1),
        type_name: row.get(2),
        is_enum: row.get(3),
        not_null: row.get(4),
        element_oid: row.get(5),
    });
    described.collect()
}

fn fill(name: &str) -> Fill {
    let shared = [("days", "days"), ("at", "at"), ("zone", "zone"), ("ratio", "ratio")];
    let rest = [("tags", "tags"), ("note", "note"), ("amount", "amount")];
    match name {
        "id" => uuid5(&["id", "at"]),
        "owner_id" | "owner" => Fill::User,
        "kind" => map("kind", &[("0", "zero"), ("1", "one"), ("null", "none")]),
        "schedule" => json(&[&shared[..], &[("doc", "doc")], &rest, &[("yes", "yes")]].concat()),
        "plain" => json(&[&shared[..], &[("raw", "raw")], &rest].concat()),
        "mood" => Fill::Constant("good".into()),
        "origin" => Fill::Constant("legacy".into()),
        "since" => Fill::Constant("2020-01-01T00:00:00Z".into()),
        "rate" => Fill::Constant("1.20".into()),
        "no_tags" => Fill::Constant("{}".into()),
        "number" => Fill::Sequence { sequence: "new.number_seq".into(), key: "id".into() },
        "created_at" => Fill::Default { reason: "set by the destination".into() },
        same => column(same),
    }
}

#[tokio::test]
async fn the_server_takes_what_fills_write_and_computes_the_same() {
    let (sandbox, client) = start().await;
    client
        .batch_execute("CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION \"uuid-ossp\" SCHEMA public")
        .await
        .unwrap();
    client.batch_execute(SOURCE).await.unwrap();
    client.batch_execute(DESTINATION).await.unwrap();
    let layout = layout(&[
        "id int8",
        "kind int2",
        "days int4",
        "at timestamp",
        "zone text",
        "amount numeric",
        "moods enum[]",
        "tags text[]",
        "doc jsonb",
        "raw json",
        "ratio float8",
        "note text",
        "yes bool",
        "bits varbit",
        "span interval",
    ]);
    let targets = described(&client).await;
    let fills: Vec<_> = targets
        .into_iter()
        .map(|target| {
            let fill = fill(&target.name);
            (target, fill)
        })
        .collect();
    let transform = Transform::compile(&layout, &Type::INT8, &fills).unwrap();

    let rows = copy_out(&client, "SELECT 42::int8, s.* FROM public.source s ORDER BY id").await;
    let (mut out, mut scratch) = (BytesMut::new(), Scratch::default());
    for (row, number) in rows.iter().zip(101..) {
        transform.encode_row(row.field(0).unwrap(), row.after(1), &[number], &mut scratch, &mut out).unwrap();
    }
    let into = format!("new.thing ({})", transform.columns().join(", "));
    assert_eq!(copy_in(&client, &into, &out).await, 3);

    let read = copy_out(&client, READ).await;
    let forward = copy_out(&client, &FORWARD.replace("NAMESPACE", NAMESPACE)).await;
    for (read, forward) in read.iter().zip(&forward) {
        let pairs = read.fields().zip(forward.fields()).enumerate();
        pairs.for_each(|(at, (read, forward))| assert_eq!(read, forward, "column {at}"));
    }
    let inverse = copy_out(&client, INVERSE).await;
    let expected = copy_out(&client, INVERTED).await;
    assert_eq!(inverse.len(), 2);
    for (inverse, expected) in inverse.iter().zip(&expected) {
        let pairs = inverse.fields().zip(expected.fields()).enumerate();
        pairs.for_each(|(at, (inverse, expected))| assert_eq!(inverse, expected, "inverted column {at}"));
    }
    for (row, read) in rows.iter().zip(&read) {
        for (name, place) in [
            ("id", 0),
            ("owner", 2),
            ("kind", 3),
            ("schedule", 4),
            ("plain", 5),
            ("moods", 7),
            ("tags", 8),
            ("no_tags", 15),
        ] {
            let column = transform.derived(name).unwrap();
            let (user, read) = (row.field(0).unwrap(), read.field(place));
            assert!(
                transform.derived_equals(column, user, row.after(1), read, &mut scratch).unwrap(),
                "{name}"
            );
        }
    }
    drop(client);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_uuid5_can_be_computed_without_an_extension_of_its_own() {
    let (sandbox, client) = start().await;
    client.batch_execute("CREATE EXTENSION pgcrypto SCHEMA public").await.unwrap();
    let forward = format!(
        "SELECT encode(set_byte(set_byte(substring(h, 1, 16), 6, get_byte(h, 6) & 15 | 80), 8, get_byte(h, 8) & 63 | 128), 'hex')::uuid \
         FROM (SELECT public.digest(uuid_send('{NAMESPACE}') || convert_to('42:a:42', 'UTF8'), 'sha1')) t(h)"
    );
    let rows = copy_out(&client, &forward).await;
    let transform = Transform::compile(
        &layout(&["n int8", "t text"]),
        &Type::INT8,
        &[(target("id", "uuid"), uuid5(&["n", "t", "n"]))],
    )
    .unwrap();
    let mut number = BytesMut::new();
    number.put_i64(42);
    let id = transform.encode_derived("id", &[], &[Some(&number), Some(b"a")]).unwrap();
    assert_eq!(id.as_deref(), rows[0].field(0));
    drop(client);
    sandbox.stop().await;
}
