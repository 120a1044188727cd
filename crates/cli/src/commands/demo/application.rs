//! The hybrid application of a demonstration: Identity's service, two application processes that ask it, and clients
//! who use them while users are moved.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result};
use handover_ledger::traffic::{Figures, Traffic};
use handover_sandbox::Sandbox;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::held::Held;
use super::processes::Processes;

/// Application processes.
const PROCESSES: usize = 2;

/// How long a process may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// How often the processes are asked for whom they hold.
const LOOKS: Duration = Duration::from_secs(1);

/// How long an answer may take that is only shown.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Addresses of processes, and the processes.
pub(crate) struct Application {
    processes: Processes,
    addresses: Vec<String>,
}

/// Clients at work, and what is shown of them.
pub(crate) struct Load {
    traffic: Traffic,
    addresses: Vec<String>,
    looked: Option<Instant>,
    asked: (Instant, u64),
    rate: f64,
    held: Held,
}

/// What came of the traffic.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    pub(crate) held: Held,
    pub(crate) seconds: f64,
}

impl Application {
    /// Starts all, and returns once each answers.
    pub(crate) async fn start(sandbox: &Sandbox) -> Result<Self> {
        let mut processes = Processes::default();
        let token = format!("{:032x}", u128::from_be_bytes(random()?));
        let identity = free_address()?;
        let settings = [
            ("HANDOVER_IDENTITY__HTTP_BIND", identity.clone()),
            ("HANDOVER_IDENTITY__TOKEN", token.clone()),
            ("HANDOVER_IDENTITY__USER_KEY", "int8".to_owned()),
        ];
        processes.start(sandbox, "identity-service", "identity", &settings)?;
        ready(&identity).await.context("identity's service did not start")?;
        let mut addresses = Vec::new();
        for nth in 1..=PROCESSES {
            let settings = settings_of(sandbox, &identity, &token);
            let name = format!("application-{nth}");
            let output = processes.start_and_read(sandbox, &name, "invoicing", &settings)?;
            let mut lines = BufReader::new(output).lines();
            let line = tokio::time::timeout(STARTS_WITHIN, lines.next_line()).await;
            let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
            addresses.push(address(&line).with_context(|| {
                format!(
                    "the application did not start: see {}",
                    sandbox.root().join(format!("{name}.log")).display()
                )
            })?);
        }
        super::say(&format!("started identity's service and {PROCESSES} application processes"));
        Ok(Self { processes, addresses })
    }

    /// Where the processes are, as URLs.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("http://{address}")).collect()
    }

    /// Clients who use it, so many requests a second.
    pub(crate) fn load(&self, users: Vec<String>, seed: u64, rate: u32) -> Load {
        Load {
            traffic: Traffic::start(self.urls(), users, seed, f64::from(rate)),
            addresses: self.addresses.clone(),
            looked: None,
            asked: (Instant::now(), 0),
            rate: 0.0,
            held: Held::default(),
        }
    }

    /// Ends all in order.
    pub(crate) async fn stop(self) {
        self.processes.stop().await;
    }

    /// Lets all outlive this process.
    pub(crate) fn detach(self) {
        self.processes.detach();
    }
}

impl Load {
    /// A line that says how it goes now.
    pub(crate) async fn line(&mut self) -> String {
        let figures = self.traffic.figures();
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOKS) {
            let seconds = self.asked.0.elapsed().as_secs_f64().max(0.001);
            self.rate = (figures.requests - self.asked.1) as f64 / seconds;
            self.asked = (Instant::now(), figures.requests);
            self.looked = Some(self.asked.0);
            self.look().await;
        }
        format!(
            "  traffic {:.0} requests/s, {} by legacy, {} by new, {} held (p99 {}), {} refused",
            self.rate,
            figures.by_legacy,
            figures.by_new,
            self.held.count(),
            self.held.percentile_text(0.99),
            figures.refused
        )
    }

    /// Asks the processes for whom they have held. One that does not answer now is asked again later.
    async fn look(&mut self) {
        let mut held = Held::default();
        for address in &self.addresses {
            match get(address, "/metrics").await {
                Ok(text) => held.add(&text),
                Err(_) => return,
            }
        }
        self.held = held;
    }

    /// Waits until the clients have been at work for that long at their rate, or for thrice that where answers take
    /// longer: so that there is something to lose before users are moved, and something to see after it.
    pub(crate) async fn goes_on_for(&self, time: Duration, rate: u32) {
        let wanted = self.traffic.figures().requests + (time.as_secs_f64() * f64::from(rate)) as u64;
        let began = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while self.traffic.figures().requests < wanted && began.elapsed() < time * 3 {
            ticks.tick().await;
        }
    }

    /// Waits for the last answers, and says what came of all.
    pub(crate) async fn stop(mut self, began: Instant) -> Outcome {
        self.look().await;
        let seconds = began.elapsed().as_secs_f64();
        Outcome { figures: self.traffic.stop().await, held: self.held, seconds }
    }
}

/// A held request is let go long before its client loses patience, and refused only where something is wrong.
fn settings_of(sandbox: &Sandbox, identity: &str, token: &str) -> [(&'static str, String); 8] {
    [
        ("INVOICING_BIND", "127.0.0.1:0".to_owned()),
        ("INVOICING_LEGACY_URL", sandbox.legacy_url()),
        ("INVOICING_NEW_URL", sandbox.destination_url()),
        ("INVOICING_REDIS_URL", sandbox.redis_url()),
        ("INVOICING_IDENTITY_URL", format!("http://{identity}")),
        ("INVOICING_IDENTITY_TOKEN", token.to_owned()),
        ("INVOICING_HOLD_FOR", "10s".to_owned()),
        ("INVOICING_MAX_REQUEST", "5s".to_owned()),
    ]
}

fn random() -> Result<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    let mut source = std::fs::File::open("/dev/urandom").context("the system gives no random bytes")?;
    std::io::Read::read_exact(&mut source, &mut bytes)?;
    Ok(bytes)
}

/// An address that nobody listened on a moment ago: the service cannot tell which one it took.
fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr()?.to_string())
}

fn address(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(line["listening"].as_str()?.strip_prefix("http://")?.to_owned())
}

/// Waits until a service says that it is ready.
async fn ready(address: &str) -> Result<()> {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        let answer = get(address, "/readyz").await;
        if began.elapsed() > STARTS_WITHIN || answer.is_ok() {
            return answer.map(|_| ());
        }
    }
}

/// The body of an answer with status 200.
async fn get(address: &str, path: &str) -> Result<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(ANSWERS_WITHIN, asking).await.context("no answer in time")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "not ready");
    Ok(body.to_owned())
}
