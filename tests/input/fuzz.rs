//! The three readers of what others write, fed with mutations of real input for a bounded time: the plan parser, the
//! decoder of jobs, and the decoder of rows with what spells their values.
//!
//! `HANDOVER_FUZZ_SECONDS` (5) bounds each; `HANDOVER_FUZZ_SEED` repeats a run. A failure prints the seed and the input.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use handover_canonical::copy::{Decoder, HEADER, TRAILER, put_field, put_tuple_header};
use handover_canonical::{Column, EntityHash, KeyBlock, Layout, RowHasher, Type, WireError};
use handover_engine::Job;
use handover_plan::{KeyType, Plan};
use handover_queue::Entry;
use handover_transform::{Fill, Speller, Target, Transform};

/// How much more memory the process may hold after a target than before it, in KiB.
const KEPT: u64 = 128 * 1024;
/// How long one input may take, on a slow machine.
const LONGEST: Duration = Duration::from_secs(10);
/// The largest input that mutations make.
const LARGEST: usize = 64 * 1024;
/// Numbers at the edges.
const EDGES: [i64; 12] =
    [0, 1, -1, -2, 127, -128, 32_767, -32_768, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];

/// Feeds `check` with mutations of the corpus until the time is over; returns how many there were.
fn fuzz(
    target: &str,
    corpus: &[Vec<u8>],
    words: &[&[u8]],
    check: impl Fn(&[u8]) -> Result<()>,
) -> Result<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let clock =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let seed = number("HANDOVER_FUZZ_SEED").unwrap_or(clock);
    let until = Instant::now() + Duration::from_secs(number("HANDOVER_FUZZ_SECONDS").unwrap_or(5));
    let (mut rng, before, mut tried) = (Rng::with_seed(seed), memory()?, 0);
    for input in corpus {
        checked(&check, input).with_context(|| format!("{target}: the corpus itself: {}", shown(input)))?;
    }
    while Instant::now() < until {
        let input = mutated(&mut rng, corpus, words);
        let begun = Instant::now();
        let told = || format!("{target}: HANDOVER_FUZZ_SEED={seed}, input {tried}: {}", shown(&input));
        checked(&check, &input).with_context(told)?;
        ensure!(begun.elapsed() < LONGEST, "{}: took {:?}", told(), begun.elapsed());
        tried += 1;
    }
    let kept = memory()?.saturating_sub(before);
    ensure!(kept < KEPT, "{target}: HANDOVER_FUZZ_SEED={seed}: {kept} KiB are kept");
    Ok(tried)
}

fn checked(check: impl Fn(&[u8]) -> Result<()>, input: &[u8]) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| check(input))).map_err(|_| anyhow!("it panicked"))?
}

fn shown(input: &[u8]) -> String {
    format!("hex {}", hex::encode(&input[..input.len().min(4_096)]))
}

fn memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn mutated(rng: &mut Rng, corpus: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut input = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..=rng.usize(..6) {
        mutate(rng, &mut input, corpus, words);
    }
    input.truncate(LARGEST);
    input
}

fn mutate(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]]) {
    let at = rng.usize(..=input.len());
    let end = (at + rng.usize(..64)).min(input.len());
    match rng.u8(..10) {
        0 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        1 if at < input.len() => input[at] = rng.u8(..),
        2 => drop(input.drain(at..end)),
        3 => input.truncate(at),
        4 => {
            let piece = input[at..end].repeat(rng.usize(1..64));
            input.splice(at..at, piece);
        }
        5 => {
            let other = &corpus[rng.usize(..corpus.len())];
            let from = rng.usize(..=other.len());
            input.splice(at..end, other[from..(from + 200).min(other.len())].iter().copied());
        }
        6 | 7 => drop(
            input.splice(at..end.min(at + rng.usize(..2)), words[rng.usize(..words.len())].iter().copied()),
        ),
        8 => {
            let edge = EDGES[rng.usize(..EDGES.len())].to_be_bytes();
            let edge = &edge[8 - [1, 2, 4, 8][rng.usize(..4)]..];
            let end = (at + edge.len()).min(input.len());
            input.splice(at..end, edge.iter().copied());
        }
        _ => {
            let bytes: Vec<u8> = (0..rng.usize(..16)).map(|_| rng.u8(..)).collect();
            input.splice(at..at, bytes);
        }
    }
}

/// The files of a plan behind each other, each with its name in a line of its own.
fn joined(files: &BTreeMap<String, String>) -> Vec<u8> {
    files.iter().flat_map(|(name, text)| format!("\u{1}{name}\u{2}{text}").into_bytes()).collect()
}

fn divided(input: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(input).into_owned();
    let files = text.split('\u{1}').filter_map(|file| file.split_once('\u{2}'));
    files.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

#[test]
fn no_mutation_of_a_plan_panics_the_parser_and_every_error_has_a_place() -> Result<()> {
    let corpus: Vec<Vec<u8>> = ["invoice-reminders", "invoice-settings"]
        .iter()
        .map(|name| Ok(joined(Plan::load(&handover_tests::plan_dir(name))?.files())))
        .collect::<Result<_>>()?;
    let words: [&[u8]; 24] = [
        b"\"",
        b"'''",
        b"\"\"\"",
        b"[",
        b"]]",
        b"{",
        b"}",
        b"= ",
        b"\n",
        b"[[entity]]\n",
        b"[entity.fill]\n",
        b".",
        b"a.a.a.a",
        b"1e999",
        b"-- ",
        b"/*",
        b"*/",
        b"$$",
        b"$x$",
        b":users",
        b"::",
        b";",
        b"\\u0000",
        "\u{202e}".as_bytes(),
    ];
    let tried = fuzz("plan", &corpus, &words, |input| {
        match Plan::from_files(divided(input)) {
            Ok(plan) => {
                let again =
                    Plan::from_files(plan.files().clone()).map_err(|_| anyhow!("it is not read again"))?;
                ensure!(again.hash() == plan.hash(), "it has another hash when it is read again");
            }
            Err(errors) => {
                ensure!(!errors.findings().is_empty(), "it is refused for nothing");
                for finding in errors.findings() {
                    let placed = finding.line >= 1 && finding.column >= 1;
                    ensure!(placed && !finding.what.is_empty() && !finding.remedy.is_empty(), "{finding}");
                }
            }
        }
        Ok(())
    })?;
    ensure!(tried > 10, "only {tried} plans were tried");
    Ok(())
}

#[test]
fn no_mutation_of_a_job_panics_the_decoder_and_what_is_read_reads_back() -> Result<()> {
    let texts = [
        r#"{"migration":"invoice-reminders","user":"42","version":3,"tries":1,"recoveries":2,"at":1700000000000}"#,
        r#"{"migration":"m","user":"0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11","version":-1,"traceparent":"00-a-b-01"}"#,
        r#"{"user":"\u202e\ud83e\udd80","migration":"m","version":9223372036854775807,"more":{"a":[1,2.5e3,null]}}"#,
    ];
    let corpus: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let words: [&[u8]; 16] = [
        b"{",
        b"}",
        b"[",
        b"\"",
        b":",
        b",",
        b"null",
        b"-",
        b"1e400",
        b"\\u0000",
        b"\\ud800",
        b"\"user\":\"1\",",
        b"\"tries\":4294967295,",
        b"\"version\":",
        b"\xff",
        b"\0",
    ];
    let tried = fuzz("job", &corpus, &words, |input| {
        let Ok(entry) = Entry::<Job>::parse(input) else { return Ok(()) };
        let text = serde_json::to_vec(&entry)?;
        let again = Entry::<Job>::parse(&text).map_err(|error| anyhow!("it is not read again: {error}"))?;
        ensure!(again == entry, "it is another when it is read again");
        Ok(())
    })?;
    ensure!(tried > 1_000, "only {tried} jobs were tried");
    Ok(())
}

/// Every type that can be spelt, with a value of it as the server sends it.
const VALUES: [(&str, &[u8]); 20] = [
    ("bool", b"\x01"),
    ("int2", b"\x00\x07"),
    ("int4", b"\x00\x00\x00\x07"),
    ("int8", b"\x00\x00\x00\x00\x00\x00\x00\x07"),
    ("float4", b"\x3f\x80\x00\x00"),
    ("float8", b"\x3f\xf0\x00\x00\x00\x00\x00\x00"),
    ("numeric", b"\x00\x02\x00\x00\x00\x00\x00\x02\x00\x0c\x0d\x48"),
    ("text", b"Zo\xc3\xab \"x\""),
    ("bytea", b"\x00\xff\\x"),
    ("date", b"\x00\x00\x20\x00"),
    ("time", b"\x00\x00\x00\x0a\x00\x00\x00\x00"),
    ("timetz", b"\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x0e\x10"),
    ("timestamp", b"\x00\x02\x00\x00\x00\x00\x00\x00"),
    ("timestamptz", b"\x00\x02\x00\x00\x00\x00\x00\x00"),
    ("interval", b"\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x01\x00\x00\x00\x02"),
    ("uuid", b"0123456789abcdef"),
    ("jsonb", b"\x01{\"a\":[1,2.5,null,\"\\u00e9\"]}"),
    ("inet", b"\x02\x20\x00\x04\x7f\x00\x00\x01"),
    ("text[]", b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x19\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01a\xff\xff\xff\xff"),
    ("int4[]", b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x17\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x07"),
];

/// What a copy stage does with a row: reads it, hashes it, spells its values, writes it for the destination.
struct Stage {
    types: Vec<Type>,
    layout: Layout,
    hasher: RowHasher,
    transform: Transform,
}

impl Stage {
    fn new() -> Result<Self> {
        let types: Vec<Type> = VALUES.iter().map(|(ty, _)| Ok(ty.parse::<Type>()?)).collect::<Result<_>>()?;
        let columns = types.iter().enumerate().map(|(nth, ty)| Column::new(format!("c{nth}"), *ty)).collect();
        let layout = Layout::new("row", columns)?;
        let hasher = RowHasher::new(&KeyBlock::from_bytes([7; 64]), &layout);
        let spelt = types.iter().enumerate().filter(|(_, ty)| Speller::of(**ty).is_some());
        let fields = spelt.map(|(nth, _)| (format!("k{nth}"), format!("c{nth}"))).collect();
        let target = Target {
            name: "all".to_owned(),
            type_oid: 3802,
            type_name: "jsonb".to_owned(),
            is_enum: false,
            not_null: false,
            element_oid: 0,
        };
        let transform = Transform::compile(&layout, &Type::INT8, &[(target, Fill::Json { fields })]);
        let transform = transform.map_err(|errors| anyhow!("{errors:?}"))?;
        Ok(Self { types, layout, hasher, transform })
    }

    /// A stream of so many rows, some fields null.
    fn stream(rows: usize) -> Result<Vec<u8>> {
        let mut stream = HEADER.to_vec();
        for row in 0..rows {
            put_tuple_header(&mut stream, VALUES.len() + 1)?;
            put_field(&mut stream, Some(&42_i64.to_be_bytes()))?;
            for (nth, (_, value)) in VALUES.iter().enumerate() {
                put_field(&mut stream, (nth % 7 != row).then_some(*value))?;
            }
        }
        stream.extend_from_slice(&TRAILER);
        Ok(stream)
    }

    /// All rows of a stream that arrives in such pieces, as they came; and the error that ended it.
    fn rows(&self, stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<WireError>) {
        let (mut decoder, mut rows) = (Decoder::new(), Vec::new());
        for piece in stream.chunks(piece.max(1)) {
            decoder.push(Bytes::copy_from_slice(piece));
            loop {
                match decoder.next() {
                    Ok(Some(tuple)) => {
                        self.work(&tuple);
                        rows.push(tuple.wire().to_vec());
                    }
                    Ok(None) => break,
                    Err(error) => return (rows, Some(error)),
                }
            }
        }
        (rows, decoder.finish().err())
    }

    /// None of this may panic, whatever the row holds.
    fn work(&self, tuple: &handover_canonical::copy::Tuple) {
        for key in KeyType::ALL {
            let _ = tuple.field(0).map(|wire| key.text_of_wire(wire));
        }
        let _ = self.layout.normalise(tuple.after(1));
        if let Ok(hash) = self.hasher.hash(tuple.after(1)) {
            EntityHash::default().add(&hash);
        }
        let fields: Vec<Option<&[u8]>> = tuple.fields().skip(1).collect();
        for (ty, value) in self.types.iter().zip(&fields) {
            if let (Some(speller), Some(value)) = (Speller::of(*ty), value) {
                let _ = speller.text(value, &mut BytesMut::new());
            }
        }
        if fields.len() == self.types.len() {
            let _ = self.transform.encode(&42_i64.to_be_bytes(), &fields, &mut BytesMut::new());
        }
    }
}

#[test]
fn no_mutation_of_a_row_panics_the_decoder_or_what_spells_its_values_wherever_it_is_cut() -> Result<()> {
    let stage = Stage::new()?;
    let corpus: Vec<Vec<u8>> = (1..5).map(Stage::stream).collect::<Result<_>>()?;
    let words: [&[u8]; 8] = [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x08",
        b"\xff\xff",
        b"\0\x15",
        b"\xc0\x00",
        b"\x01{",
    ];
    let (whole, error) = stage.rows(&corpus[3], usize::MAX);
    ensure!(whole.len() == 4 && error.is_none(), "the corpus is not read: {error:?}");
    let tried = fuzz("row", &corpus, &words, |input| {
        let whole = stage.rows(input, input.len());
        for piece in [1, 3, 64] {
            ensure!(stage.rows(input, piece) == whole, "other rows in pieces of {piece}");
        }
        Ok(())
    })?;
    ensure!(tried > 50, "only {tried} rows were tried");
    Ok(())
}
