//! The endpoints. Each puts users' keys into their canonical spelling before anything else sees them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Json;
use axum::routing::{get, post, put};

use super::answer::{AskEnrol, AskGate, AskUsers, Enrolled, Gate, MOST_USERS, SignedOff, Users};
use super::health::Readiness;
use super::problem::Problem;
use super::{Site, body, guard, health};
use crate::error::Error;
use crate::outcome::Enroll;
use crate::source::{Registration, Trust, UserStates};

type Answer<T> = Result<Json<T>, Problem>;
type Named = Result<Path<String>, PathRejection>;

/// Everything that is served.
pub(super) fn router(site: Site) -> Router {
    let site = Arc::new(site);
    let guarded = Router::new()
        .route("/v1/users/{user}", get(user))
        .route("/v1/users", post(users))
        .route("/v1/enrol", post(enrol))
        .route("/v1/gates/{id}", put(register).delete(sign_off))
        .route_layer(from_fn_with_state(Arc::clone(&site), guard::authorised));
    let ready = get(health::ready).with_state((Arc::clone(&site), Readiness::default()));
    guarded
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", ready)
        .route("/metrics", get(health::metrics))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such endpoint") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "bad_method", "the endpoint has other methods")
        })
        .layer(from_fn(guard::observed))
        .with_state(site)
}

async fn user(State(site): State<Arc<Site>>, RawQuery(query): RawQuery, user: Named) -> Answer<UserStates> {
    let trust = trust(query.as_deref().unwrap_or_default())?;
    let users = [site.spell(&named(user)?)?];
    let mut found = site.look_ups.get(&users, trust).await?;
    found.pop().map(Json).ok_or_else(|| Error::Disagreement("a look-up").into())
}

async fn users(State(site): State<Arc<Site>>, request: Request) -> Answer<Users> {
    let asked: AskUsers = body::read(request).await?;
    if asked.users.len() > MOST_USERS {
        let text = format!("{} users were asked for, at most {MOST_USERS} can be", asked.users.len());
        return Err(Problem::invalid("too_many", text));
    }
    let users = asked.users.iter().map(|user| site.spell(user)).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(Users { users: site.look_ups.get(&users, asked.trust).await? }))
}

async fn enrol(State(site): State<Arc<Site>>, request: Request) -> Answer<Enrolled> {
    let asked: AskEnrol = body::read(request).await?;
    if asked.migrations.len() > MOST_USERS {
        return Err(Problem::invalid("too_many", "too many migrations are named"));
    }
    let user = site.spell(&asked.user)?;
    let done = site.identity.enroll(&user, &asked.migrations).await?;
    let mut states = site.look_ups.get(&[user], Trust::Truth).await?;
    let states = states.pop().ok_or(Error::Disagreement("a look-up"))?;
    let enrolled = done.outcomes.first() == Some(&Enroll::Enrolled);
    Ok(Json(Enrolled { states, enrolled, mirrored: done.is_mirrored() }))
}

async fn register(State(site): State<Arc<Site>>, id: Named, request: Request) -> Answer<Gate> {
    let id = named(id)?;
    let asked: AskGate = body::read(request).await?;
    let lease = Duration::from_millis(asked.lease_ms);
    let max_request = Duration::from_millis(asked.max_request_ms);
    if lease.saturating_add(max_request) >= site.longest_term {
        let text = format!(
            "lease_ms and max_request_ms together must be below {} ms (half of pause.max_pause): a gate that dies in \
             silence is waited for that long, and a pause has more to do",
            site.longest_term.as_millis()
        );
        return Err(Problem::invalid("bad_gate", text));
    }
    let gate = Registration { id, kind: asked.kind, lease, max_request };
    let registered = site.identity.truth().register_gate(&gate).await?;
    if registered {
        tracing::info!(gate = %gate.id, kind = %gate.kind, ?lease, ?max_request, "a gate is a member");
    }
    Ok(Json(Gate { id: gate.id, registered }))
}

async fn sign_off(State(site): State<Arc<Site>>, id: Named) -> Answer<SignedOff> {
    let id = named(id)?;
    let was_member = site.identity.truth().sign_off_gate(&id).await?;
    if was_member {
        tracing::info!(gate = %id, "a gate has signed off");
    }
    Ok(Json(SignedOff { id, was_member }))
}

impl Site {
    fn spell(&self, user: &str) -> Result<String, Problem> {
        (self.canonical)(user).map_err(|text| Problem::invalid("bad_user", text))
    }
}

fn named(path: Named) -> Result<String, Problem> {
    let bad = |_| Problem::new(StatusCode::BAD_REQUEST, "bad_path", "the path is not percent-encoded UTF-8");
    path.map(|Path(name)| name).map_err(bad)
}

/// What the query asks for: nothing, or `trust=` and a word.
fn trust(query: &str) -> Result<Trust, Problem> {
    match query {
        "" | "trust=mirror" => Ok(Trust::Mirror),
        "trust=truth" => Ok(Trust::Truth),
        _ => {
            let text = "the query may be trust=mirror or trust=truth";
            Err(Problem::new(StatusCode::BAD_REQUEST, "bad_query", text))
        }
    }
}
