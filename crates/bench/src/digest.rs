//! Hashing canonical rows as they stream by, against bare SHA-256 of the same rows one by one.
//!
//! The rows are the example's own, as the replica sends them; they are held in memory, so that no server is measured.

use anyhow::Result;
use bytes::Bytes;
use futures_util::{StreamExt as _, pin_mut};
use handover_canonical::copy::Decoder;
use handover_canonical::{EntityHash, KeyBlock, RowHasher};
use handover_plan::Plan;
use nix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};

use crate::Arguments;
use crate::report::{Line, Report, Series, rounded};
use crate::stage::{Stage, connect, plan};

const USERS: [u64; 2] = [2_000, 20_000];

pub(crate) async fn run(arguments: &Arguments, report: &Report) -> Result<()> {
    let users = USERS[usize::from(!arguments.quick)];
    let stage = Stage::start(users, 20).await?;
    let plan = plan()?;
    for nth in 0..plan.entities().len() {
        let chunks = wire(&stage, &plan, nth, users).await?;
        report.print(&measure(&plan, nth, &chunks, arguments.rounds)?)?;
    }
    stage.sandbox.stop().await;
    Ok(())
}

/// An entity's rows of all users, in the chunks in which they arrived.
async fn wire(stage: &Stage, plan: &Plan, nth: usize, users: u64) -> Result<Vec<Bytes>> {
    let session = connect(&stage.sandbox.replica_url()).await?;
    let all: Vec<String> = (1..=users).map(|user| user.to_string()).collect();
    session.batch_execute(&format!("SET handover.users = '{{{}}}'", all.join(","))).await?;
    let query = &plan.entities()[nth].extract;
    let stream = session.copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT binary)")).await?;
    pin_mut!(stream);
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next().await {
        chunks.push(chunk?);
    }
    Ok(chunks)
}

fn measure(plan: &Plan, nth: usize, chunks: &[Bytes], rounds: u32) -> Result<Line> {
    let entity = &plan.entities()[nth];
    let hasher = RowHasher::new(&KeyBlock::random()?, &entity.layout);
    let mut rows = Vec::new();
    each_row(chunks, |row| {
        rows.push(row.to_vec());
        Ok(())
    })?;
    let bytes: usize = rows.iter().map(Vec::len).sum();
    let (mut ours, mut bare) = (Series::default(), Series::default());
    for _ in 0..rounds.max(3) * 3 {
        let began = processor()?;
        let mut hash = EntityHash::default();
        each_row(chunks, |row| {
            hash.add(&hasher.hash(row)?);
            Ok(())
        })?;
        anyhow::ensure!(std::hint::black_box(hash).count() == rows.len() as u64, "rows were lost");
        ours.push(rows.len() as f64 / (processor()? - began));
        let began = processor()?;
        for row in &rows {
            std::hint::black_box(Sha256::digest(row));
        }
        bare.push(rows.len() as f64 / (processor()? - began));
    }
    Ok(Line::new("digest")
        .with("entity", entity.name.as_str())
        .with("rows", rows.len())
        .with("bytes_per_row", rounded(bytes as f64 / rows.len() as f64))
        .series("rows_per_s", &ours)
        .with("bytes_per_s", rounded(ours.median() * bytes as f64 / rows.len() as f64))
        .series("bare_rows_per_s", &bare)
        .series("ratio", &ours.over(&bare)))
}

/// Decodes the stream, and hands on each row's canonical bytes: all but the user.
fn each_row(chunks: &[Bytes], mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut decoder = Decoder::new();
    for chunk in chunks {
        decoder.push(chunk.clone());
        while let Some(tuple) = decoder.next()? {
            take(tuple.after(1))?;
        }
    }
    Ok(decoder.finish()?)
}

/// Seconds that this thread has had of a processor: others on the machine do not count.
fn processor() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
