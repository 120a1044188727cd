//! Clients of the hybrid example application: browsers and users of its JSON interface, who read and write all the time
//! while their data is moved.
//!
//! The seed fixes for each client which users it asks for, in which order, and what; not when an answer comes. A write
//! is never repeated: each has a number of its own, and is in the history with what the client was told.

mod figures;
mod player;
mod temper;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::book::Book;
use crate::client::Http;
use crate::record::{self, History};

pub use figures::Figures;
use figures::Tally;
pub(crate) use figures::percentile;
use player::Player;
pub use temper::Temper;

/// Clients, where nothing else is said.
const CLIENTS: u32 = 24;

/// How the traffic is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Base URLs of the application's processes.
    pub urls: Vec<String>,
    /// The users that there are.
    pub users: Vec<String>,
    /// What the requests are made from.
    pub seed: u64,
    /// Requests a second, of all clients together; fewer where answers take long.
    pub rate: f64,
    /// Clients: the most requests at once.
    pub clients: u32,
    /// Whether users sign up.
    pub sign_ups: bool,
    /// The file that the history is appended to.
    pub history: Option<PathBuf>,
}

impl Options {
    /// Traffic with nothing kept.
    pub fn new(urls: Vec<String>, users: Vec<String>, seed: u64, rate: f64) -> Self {
        Self { urls, users, seed, rate, clients: CLIENTS, sign_ups: true, history: None }
    }
}

/// The application's processes that requests may go to; may be changed at any time.
#[derive(Clone, Debug, Default)]
pub struct Targets(Arc<RwLock<Vec<String>>>);

impl Targets {
    /// From now on requests go to these.
    pub fn set(&self, urls: Vec<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = urls;
    }

    /// One of them, chosen by a number.
    fn pick(&self, choice: u64) -> Option<String> {
        let urls = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let nth = choice.checked_rem(urls.len() as u64)?;
        urls.get(nth as usize).cloned()
    }
}

/// Clients that are at work until [`Traffic::stop`]. Dropping it ends them in the middle of their requests.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

/// What the clients have in common.
#[derive(Debug)]
struct Shared {
    http: Http,
    targets: Targets,
    book: Book,
    tally: Tally,
    history: History,
    began: Instant,
    over: CancellationToken,
    seed: u64,
    users: RwLock<Vec<i64>>,
    favoured: RwLock<Vec<i64>>,
}

impl Traffic {
    /// Starts clients that keep no history.
    pub fn start(urls: Vec<String>, users: Vec<String>, seed: u64, rate: f64) -> Self {
        Self::begin(Options::new(urls, users, seed, rate), History::none())
    }

    /// Starts clients; the history's file is made first.
    pub fn start_with(options: Options) -> Result<Self, record::Error> {
        let history = options.history.as_deref().map_or_else(|| Ok(History::none()), History::file)?;
        Ok(Self::begin(options, history))
    }

    fn begin(options: Options, history: History) -> Self {
        let targets = Targets::default();
        targets.set(options.urls);
        // Another spelling of a key is none of the example's users.
        let users: Vec<i64> = options.users.iter().filter_map(|user| user.parse().ok()).collect();
        let shared = Arc::new(Shared {
            http: Http::new(),
            targets,
            book: Book::default(),
            tally: Tally::default(),
            history,
            began: Instant::now(),
            over: CancellationToken::new(),
            seed: options.seed,
            users: RwLock::new(users),
            favoured: RwLock::default(),
        });
        let mut clients = JoinSet::new();
        for client in 1..=options.clients {
            let every = f64::from(options.clients) / options.rate.max(0.01);
            let player = Player::new(Arc::clone(&shared), client, every, options.sign_ups);
            clients.spawn(player.play());
        }
        Self { shared, clients }
    }

    /// Where requests go, to be changed as processes come and go.
    pub fn targets(&self) -> Targets {
        self.shared.targets.clone()
    }

    /// From now on a third of the requests is for these users, if there are any: such as are just being moved.
    pub fn favour(&self, users: Vec<i64>) {
        *self.shared.favoured.write().unwrap_or_else(PoisonError::into_inner) = users;
    }

    /// What came of the requests so far.
    pub fn figures(&self) -> Figures {
        self.shared.tally.figures()
    }

    /// Begins no request any more, waits for the answers to those under way, and says what came of all.
    pub async fn stop(mut self) -> Figures {
        self.shared.over.cancel();
        while self.clients.join_next().await.is_some() {}
        self.figures()
    }
}
