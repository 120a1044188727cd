//! The Rust of `docs/gate.md` compiles: what the guide shows stands here too, and is compared.

use std::error::Error;
use std::time::Duration;

use axum::Extension;
use axum::response::Response;
use handover_gate::Turn;

#[derive(Clone)]
struct Session {
    user_id: u64,
}

mod legacy {
    pub(crate) async fn invoices(user: &str) -> axum::response::Response {
        tokio::task::yield_now().await;
        axum::response::Response::new(user.to_owned().into())
    }
}

mod new {
    pub(crate) use crate::legacy::invoices;
}

struct Queue;

impl Queue {
    async fn put_back(&self, _job: u64, after: Duration) {
        let _over = tokio::time::timeout(after, std::future::pending::<()>()).await;
    }
}

async fn send_reminder(user: &str, side: handover_gate::Side) {
    if side == handover_gate::Side::Legacy {
        legacy::invoices(user).await;
    }
}

#[expect(clippy::items_after_statements, reason = "the guide tells it in this order")]
async fn in_five_steps() -> Result<(), Box<dyn Error>> {
    use handover_gate::{Changes, Decision, Gate, GateLayer, Settings, Side, Subject};
    use handover_identity::{ClientOptions, IdentityClient};
    use std::sync::Arc;

    // 1. How Identity's service is asked, and where its changes are heard.
    let identity = Arc::new(IdentityClient::new(&ClientOptions::new("http://identity.internal:7400"))?);
    let changes = Changes::new("redis://redis.internal:6379".into());

    // 2. One gate a process. It registers itself, and signs off in `close`.
    let gate = Gate::start(Settings::new("layer"), identity, &changes).await?;

    // 3. The layer, outside of what touches users' data and inside of what finds out who the user is.
    fn subject(request: &axum::extract::Request) -> Subject {
        match request.extensions().get::<Session>() {
            Some(session) => Subject::User(session.user_id.to_string()),
            None => Subject::Nobody,
        }
    }
    let layer = GateLayer::new(gate.clone(), subject);
    let app = axum::Router::new().route("/invoices", axum::routing::get(invoices)).layer(layer);

    // 4. One line in a handler picks the side.
    async fn invoices(Extension(decision): Extension<Decision>) -> Response {
        match decision.side("invoice-reminders") {
            Side::Legacy => legacy::invoices(decision.user()).await,
            Side::New => new::invoices(decision.user()).await,
        }
    }

    // 5. After the server has stopped taking requests.
    gate.close().await?;
    let _: axum::Router = app;
    Ok(())
}

async fn background_jobs(
    gate: handover_gate::Gate,
    user: &str,
    queue: Queue,
    job: u64,
) -> Result<(), Box<dyn Error>> {
    match gate.job(user).await {
        Turn::Go(guard) => {
            let side = guard.side("invoice-reminders");
            guard.run(send_reminder(user, side)).await?; // TooLate: not to be taken as done
        }
        Turn::PutOff { after, .. } => queue.put_back(job, after).await,
    }
    Ok(())
}

/// The guide's blocks of Rust.
fn blocks(guide: &str) -> Vec<String> {
    let parts = guide.split("```rust").skip(1).filter_map(|part| part.split_once('\n')?.1.split_once("```"));
    parts.map(|(block, _)| plain(block)).collect()
}

fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_the_guide_shows_compiles() {
    let here = plain(include_str!("guide.rs"));
    let blocks = blocks(include_str!("../../../docs/gate.md"));
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(here.contains(&block), "the guide shows something else than is compiled here:\n{block}");
    }
    // They are compiled, and need servers to run.
    let _ = (in_five_steps, background_jobs);
}
