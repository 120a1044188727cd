//! What a cached decision costs beside a bare look-up in the same kind of map, with one thread and with two.
//!
//! `cargo run --release -p handover-gate --example cached_decision` prints one JSON object a line. Needs no server:
//! the gate's heart is driven by hand. Rounds of both kinds take turns; medians are printed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use handover_gate::bench::Warm;
use nix::time::{ClockId, clock_gettime};

/// In the processor's caches, and far beyond them.
const USERS: [usize; 2] = [10_000, 1_000_000];
const ROUNDS: usize = 7;
const LASTS: Duration = Duration::from_millis(150);

type Plain = papaya::HashMap<Box<str>, u64, foldhash::fast::RandomState>;

fn main() {
    USERS.into_iter().for_each(compare);
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn compare(users: usize) {
    let names: Vec<String> = (0..users).map(|user| format!("user-{user}")).collect();
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
    let clock = |_: &str| {
        black_box(handover_gate::Moment::now());
    };
    for threads in [1, 2] {
        let (mut decisions, mut looks, mut clocks) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            decisions.push(measure(threads, &names, &decide));
            looks.push(measure(threads, &names, &look));
            clocks.push(measure(threads, &names, &clock));
        }
        let (decision, map, clock) = (median(decisions), median(looks), median(clocks));
        println!(
            r#"{{"bench":"gate","threads":{threads},"users":{users},"ns_per_decision":{decision:.1},{}}}"#,
            format_args!(r#""map_ns":{map:.1},"clock_ns":{clock:.1},"ratio":{:.2}"#, decision / map)
        );
    }
}

/// Nanoseconds for one call, as one thread sees it.
fn measure(threads: u64, names: &[String], call: &(impl Fn(&str) + Sync)) -> f64 {
    let each: Vec<f64> = std::thread::scope(|scope| {
        let spawned: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || one(thread, names, call))).collect();
        spawned.into_iter().map(|thread| thread.join().expect("a thread that counts")).collect()
    });
    each.iter().sum::<f64>() / each.len() as f64
}

fn one(thread: u64, names: &[String], call: &impl Fn(&str)) -> f64 {
    let mut random = fastrand::Rng::with_seed(thread + 1);
    let order: Vec<&str> = (0..65_536).map(|_| names[random.usize(..names.len())].as_str()).collect();
    let (began, spent, mut calls) = (Instant::now(), processor(), 0_u64);
    while began.elapsed() < LASTS {
        for name in &order {
            call(name);
        }
        calls += order.len() as u64;
    }
    (processor() - spent) / calls as f64
}

/// Nanoseconds that this thread has had of a processor: others on the machine do not count.
fn processor() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a thread's own clock");
    time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
