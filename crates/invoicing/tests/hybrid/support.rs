//! A world with Identity's service and heartbeats, and processes of the application in it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use handover_engine::{Job, Outcome, StageName};
use handover_identity::LookUps;
use handover_identity::http::{Site, serve};
use handover_invoicing::{Config, Role, Running};
use handover_sandbox::Server;
use handover_tests::{Setup, World};
use handover_tracking::Kind;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(crate) const TOKEN: &str = "of-the-tests";

/// An installation that the application can live in.
pub(crate) struct Town {
    pub(crate) world: World,
    identity: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _tasks: JoinSet<()>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("a JSON body: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The same, which must have that status.
    pub(crate) fn with(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Town {
    pub(crate) async fn new() -> Result<Self> {
        let world = Box::pin(World::new(Setup { users: 12, ..Setup::default() })).await?;
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let identity = format!("http://{}", listener.local_addr()?);
        tasks.spawn(serve(listener, site(&world), std::future::pending()));
        let mirror = world.engine.identity.mirror().clone();
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                // Redis may be away: the next one comes soon.
                let _ = mirror.heartbeat().await;
            }
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { world, identity, client, _tasks: tasks })
    }

    /// The environment of a process in this town.
    pub(crate) fn environment(&self) -> Result<Vec<(String, String)>> {
        let texts = [
            ("LEGACY_URL", self.world.url(Server::Legacy)?),
            ("NEW_URL", self.world.url(Server::Destination)?),
            ("REDIS_URL", self.world.redis_url()),
            ("REDIS_PREFIX", self.world.prefix.clone()),
            ("IDENTITY_URL", self.identity.clone()),
            ("IDENTITY_TOKEN", TOKEN.to_owned()),
            ("LEASE", "2s".to_owned()),
            ("MAX_REQUEST", "5s".to_owned()),
            ("HOLD_FOR", "20s".to_owned()),
            ("TICK", "20ms".to_owned()),
            ("ROLE", "web".to_owned()),
        ];
        Ok(texts.map(|(name, value)| (format!("INVOICING_{name}"), value)).to_vec())
    }

    /// The application, in this process.
    pub(crate) async fn app(&self, change: impl FnOnce(&mut Config)) -> Result<Running> {
        let mut config = Config::of(self.environment()?)?;
        change(&mut config);
        Ok(handover_invoicing::start(config).await?)
    }

    /// The application's web part.
    pub(crate) async fn web(&self) -> Result<Running> {
        self.app(|config| config.role = Role::Web).await
    }

    /// One request, with a JSON or a form body.
    pub(crate) async fn send(
        &self,
        app: &Running,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer> {
        let kind =
            if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
        let mut request = http::Request::builder().method(method);
        request = request.uri(format!("http://{}{path}", app.address())).header("content-type", kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(Full::new(body.to_owned().into()))?).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer { status, headers, text: String::from_utf8(body.to_vec())? })
    }

    /// A request of an API client.
    pub(crate) async fn api(&self, app: &Running, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.send(app, method, path, &[("accept", "application/json")], body).await
    }

    /// A page, as a browser asks for it.
    pub(crate) async fn page(&self, app: &Running, path: &str) -> Result<Answer> {
        self.send(app, "GET", path, &[("accept", "text/html,*/*;q=0.8")], "").await
    }

    /// The reminders that the API shows.
    pub(crate) async fn reminders(&self, app: &Running, user: &str) -> Result<Value> {
        Ok(self.api(app, "GET", &format!("/api/users/{user}/reminders"), "").await?.with(200).json())
    }

    /// Pauses a user for a move; what is left to do is done by [`Town::finish`].
    pub(crate) async fn pause(&self, migration: &str, user: &str) -> Result<Vec<(Job, Outcome)>> {
        self.world.launched(migration, &format!("{migration}-{user}"), &[user]).await?;
        let drawn = self.world.engine.tracking.draw(Kind::Move, 10).await?;
        let jobs: Vec<Job> = drawn
            .into_iter()
            .map(|drawn| Job { migration: drawn.migration, user: drawn.user, version: drawn.version })
            .collect();
        let outcomes = self.world.run(StageName::Pause, &jobs).await;
        ensure!(outcomes == [Outcome::Advance(StageName::Copy)], "{outcomes:?}");
        Ok(jobs.into_iter().zip(outcomes).collect())
    }

    /// Carries paused users through the other stages.
    pub(crate) async fn finish(&self, mut jobs: Vec<(Job, Outcome)>) -> Result<()> {
        for _ in 0..4 {
            self.world.advance(&mut jobs).await?;
        }
        ensure!(jobs.iter().all(|(_, outcome)| *outcome == Outcome::Finished), "{jobs:?}");
        Ok(())
    }

    /// Moves a user.
    pub(crate) async fn moved(&self, migration: &str, user: &str) -> Result<()> {
        let jobs = self.pause(migration, user).await?;
        self.finish(jobs).await
    }

    /// Waits until a gate holds this many requests, by Identity's service having heard of the user again: there is
    /// no number to ask for from outside, so the application's own answer to a question stands for it.
    pub(crate) async fn is_paused_at(&self, app: &Running, user: &str) -> Result<()> {
        let token = format!("Bearer demo-{user}");
        handover_tests::until("the gate knows of the pause", || async {
            let headers = [("authorization", token.as_str())];
            let answer = self.send(app, "GET", "/.well-known/handover", &headers, "").await?;
            Ok(answer.json()["paused"] == true)
        })
        .await
    }
}

fn site(world: &World) -> Site {
    let identity = world.engine.identity.clone();
    Site {
        look_ups: LookUps::new(identity.clone(), Duration::from_millis(200)),
        identity,
        canonical: Arc::new(|user: &str| {
            user.parse::<i64>().map(|user| user.to_string()).map_err(|_| "no number".to_owned())
        }),
        token: Some(TOKEN.into()),
        metrics_token: None,
        render: Arc::new(String::new),
        longest_term: Duration::from_mins(1),
    }
}

/// A number in a row that a query returns.
pub(crate) async fn number(town: &Town, server: Server, sql: &str) -> Result<i64> {
    town.world.number(server, sql).await.with_context(|| sql.to_owned())
}
