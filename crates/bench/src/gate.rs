//! A cached decision with its in-flight count, against a plain concurrent map's look-up and one HGET a request.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use handover_gate::bench::Warm;
use handover_sandbox::{Options, Sandbox};
use nix::time::{ClockId, clock_gettime};
use redis::AsyncCommands as _;

use crate::Arguments;
use crate::report::{Line, Report, Series, percentile, rounded};

/// In the processor's caches, and far beyond them.
const USERS: [usize; 2] = [10_000, 1_000_000];
const LASTS: Duration = Duration::from_millis(150);
const HGETS: usize = 5_000;

type Plain = papaya::HashMap<Box<str>, u64, foldhash::fast::RandomState>;

pub(crate) async fn run(arguments: &Arguments, report: &Report) -> Result<()> {
    let sandbox = Sandbox::start(Options { durable: true, replica: false, ..Options::default() }).await?;
    for users in USERS {
        for line in compare(users, arguments.rounds.max(3), &sandbox).await? {
            report.print(&line)?;
        }
    }
    sandbox.stop().await;
    Ok(())
}

async fn compare(users: usize, rounds: u32, sandbox: &Sandbox) -> Result<Vec<Line>> {
    let names: Vec<String> = (0..users).map(|user| format!("user-{user}")).collect();
    let mut redis = redis::Client::open(sandbox.redis_url())?.get_multiplexed_async_connection().await?;
    fill(&mut redis, &names).await?;
    let warm = Warm::new(&names);
    let plain: Plain = papaya::HashMap::builder().hasher(foldhash::fast::RandomState::default()).build();
    for (at, name) in names.iter().enumerate() {
        plain.pin().insert(name.as_str().into(), at as u64);
    }
    let decide = |name: &str| {
        black_box(warm.decide(name));
    };
    let look = |name: &str| {
        black_box(plain.pin().get(name).copied());
    };
    let mut lines = Vec::new();
    for threads in [1, 2] {
        let (mut decisions, mut looks) = (Series::default(), Series::default());
        let (mut hgets, mut slow) = (Series::default(), Series::default());
        for _ in 0..rounds {
            decisions.push(measure(threads, &names, &decide)?);
            looks.push(measure(threads, &names, &look)?);
            let mut each = hget(&mut redis, &names).await?;
            hgets.push(percentile(&mut each, 0.5));
            slow.push(percentile(&mut each, 0.99));
        }
        lines.push(
            Line::new("gate")
                .with("users", users)
                .with("threads", threads)
                .series("ns_per_decision", &decisions)
                .series("map_ns", &looks)
                .series("ratio", &decisions.over(&looks))
                .series("hget_ns", &hgets)
                .series("hget_p99_ns", &slow)
                .with("hgets_a_decision", rounded(decisions.median() / hgets.median())),
        );
    }
    Ok(lines)
}

async fn fill(redis: &mut redis::aio::MultiplexedConnection, names: &[String]) -> Result<()> {
    for chunk in names.chunks(10_000) {
        let fields: Vec<(&str, &str)> = chunk.iter().map(|name| (name.as_str(), "r1")).collect();
        let _: () = redis.hset_multiple("bench:identity", &fields).await?;
    }
    Ok(())
}

/// Nanoseconds of the clock for one HGET, one at a time, as a request would wait for it.
async fn hget(redis: &mut redis::aio::MultiplexedConnection, names: &[String]) -> Result<Vec<f64>> {
    let mut each = Vec::with_capacity(HGETS);
    for _ in 0..HGETS {
        let (name, began) = (&names[fastrand::usize(..names.len())], Instant::now());
        let _: String = redis.hget("bench:identity", name).await?;
        each.push(began.elapsed().as_nanos() as f64);
    }
    Ok(each)
}

/// Nanoseconds of a processor for one call, as one thread sees it.
fn measure(threads: u64, names: &[String], call: &(impl Fn(&str) + Sync)) -> Result<f64> {
    let each: Result<Vec<f64>> = std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads).map(|nth| scope.spawn(move || one(nth, names, call))).collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<f64>>| {
            thread.join().map_err(|_| anyhow!("a thread ended early"))?
        };
        spawned.into_iter().map(ended).collect()
    });
    let each = each?;
    Ok(each.iter().sum::<f64>() / each.len() as f64)
}

fn one(thread: u64, names: &[String], call: &impl Fn(&str)) -> Result<f64> {
    let mut random = fastrand::Rng::with_seed(thread + 1);
    let order: Vec<&str> = (0..65_536).map(|_| names[random.usize(..names.len())].as_str()).collect();
    let (began, spent, mut calls) = (Instant::now(), processor()?, 0_u64);
    while began.elapsed() < LASTS {
        for name in &order {
            call(name);
        }
        calls += order.len() as u64;
    }
    Ok((processor()? - spent) / calls as f64)
}

/// Nanoseconds that this thread has had of a processor: others on the machine do not count.
fn processor() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
}
