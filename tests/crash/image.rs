//! All that is known of users on every server, as text, without times and numbers that a second try makes differ:
//! what an undisturbed run and one that recovered must have in common.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use handover_engine::StageName;
use handover_postgres::Connection;
use handover_queue::Queues;
use handover_sandbox::Server;
use handover_tests::World;
use redis::aio::MultiplexedConnection;

/// A user's key and what is known.
pub(crate) type Image = BTreeMap<String, String>;

/// What is asked of each server: rows of a user and a text.
const ASKED: [(&str, Server, &str); 7] = [
    (
        "tracking",
        Server::Destination,
        "SELECT m.user_key, m.state || ' ' || coalesce((SELECT string_agg(concat_ws(' ', a.kind, a.outcome, a.row_count,
                    a.reason ->> 'kind', octet_length(a.digest)), ', ' ORDER BY a.attempt) FROM handover.attempt a
                    WHERE a.migration_id = m.migration_id AND a.user_key = m.user_key), 'never')
                || coalesce((SELECT ' OPEN ' || o.state FROM handover.open_attempt o
                    WHERE o.migration_id = m.migration_id AND o.user_key = m.user_key), '')
                || CASE WHEN EXISTS (SELECT FROM handover.request r WHERE r.migration_id = m.migration_id
                    AND r.user_key = m.user_key) THEN ' REQUESTED' ELSE '' END
           FROM handover.member m WHERE m.user_key = ANY ($1)",
    ),
    (
        "identity",
        Server::Identity,
        "SELECT user_key, concat_ws(' ', (SELECT string_agg(k, ',' ORDER BY k) FROM jsonb_object_keys(migrated) k),
                'PAUSED ' || open_state) FROM identity.users WHERE user_key = ANY ($1)",
    ),
    (
        "legacy",
        Server::Legacy,
        "SELECT owner_id::text, count(*) || ' ' || md5(string_agg(row, E'\\n' ORDER BY row)) FROM (
             SELECT i.owner_id, ((to_jsonb(r) - 'deleted_at') ||
                    jsonb_build_object('gone', r.deleted_at IS NOT NULL))::text AS row
               FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id
             UNION ALL SELECT i.owner_id, to_jsonb(x)::text FROM shop.reminder_recipient x
               JOIN shop.invoice_reminder r ON r.id = x.reminder_id JOIN shop.invoice i ON i.id = r.invoice_id) rows
           WHERE owner_id::text = ANY ($1) GROUP BY owner_id",
    ),
    (
        "destination",
        Server::Destination,
        "SELECT owner_id::text, count(*) || ' ' || md5(string_agg(row, E'\\n' ORDER BY row)) FROM (
             SELECT owner_id, (to_jsonb(r) - 'imported_at')::text AS row FROM reminders.reminder r
             UNION ALL SELECT r.owner_id, (to_jsonb(x) - 'id')::text FROM reminders.recipient x
               JOIN reminders.reminder r ON r.id = x.reminder_id) rows
           WHERE owner_id::text = ANY ($1) GROUP BY owner_id",
    ),
    ("legacy fence", Server::Legacy, FENCED),
    ("destination fence", Server::Destination, FENCED),
    (
        "marker",
        Server::Legacy,
        "SELECT user_key, concat_ws(' ', octet_length(digest), loaded_by = version) FROM handover_carry.marker
          WHERE user_key = ANY ($1)",
    ),
];

const FENCED: &str =
    "SELECT user_key, string_agg(concat_ws(' ', migration, state, drained), ', ' ORDER BY migration)
    FROM handover_fence.fenced WHERE user_key = ANY ($1) GROUP BY user_key";

/// Sessions by which a world is looked at again and again.
pub(crate) struct Eyes<'w> {
    world: &'w World,
    sessions: BTreeMap<Server, Connection>,
    redis: MultiplexedConnection,
    queues: Queues,
}

impl<'w> Eyes<'w> {
    pub(crate) async fn open(world: &'w World) -> Result<Self> {
        let mut sessions = BTreeMap::new();
        for server in [Server::Legacy, Server::Destination, Server::Identity] {
            sessions.insert(server, world.client(server).await?);
        }
        Ok(Self { world, sessions, redis: world.redis().await?, queues: world.queues()? })
    }

    /// How many jobs wait for a stage; none where a busy machine does not tell.
    pub(crate) async fn waiting(&self, stage: &str) -> u64 {
        self.queues.depth(stage).await.map_or(0, |depth| depth.waiting)
    }

    /// What is known of these users.
    pub(crate) async fn image(&self, users: &[String]) -> Result<Image> {
        let mut image: Image = users.iter().map(|user| (user.clone(), String::new())).collect();
        let mut add = |user: &str, name: &str, text: &str| {
            if let Some(known) = image.get_mut(user) {
                known.extend([name, ": ", text, "\n"]);
            }
        };
        for (name, server, sql) in ASKED {
            for row in self.sessions[&server].query(sql, &[&users]).await? {
                add(row.get(0), name, row.get(1));
            }
        }
        let mut asking = redis::cmd("HMGET");
        asking.arg(self.world.key("identity")).arg(users);
        let fields: Vec<Option<String>> = asking.query_async(&mut self.redis.clone()).await?;
        for (user, field) in users.iter().zip(fields) {
            // Without the revision, which counts the changes.
            let field = field.unwrap_or_default();
            add(user, "mirror", field.split_once(' ').map_or("", |(_, states)| states));
        }
        Ok(image)
    }

    /// What is not at rest; nothing where everything is: nobody is open or paused, no queue holds a job, and the mirror
    /// is what Identity's truth is.
    pub(crate) async fn unrest(&self) -> Result<Option<String>> {
        for stage in StageName::ALL {
            let depth = self.queues.depth(stage.as_str()).await?;
            if depth.waiting + depth.inflight + depth.delayed > 0 {
                return Ok(Some(format!("queue {stage}: {depth:?}")));
            }
        }
        let open =
            "SELECT (SELECT count(*) FROM handover.open_attempt) + (SELECT count(*) FROM handover.request)
                    + (SELECT sum(paused) FROM handover.admission)::int8";
        let untold = "SELECT (SELECT count(*) FROM identity.outbox)
                      + (SELECT count(*) FROM identity.users WHERE open_migration IS NOT NULL)";
        for (server, sql) in [(Server::Destination, open), (Server::Identity, untold)] {
            let many: i64 = self.sessions[&server].query_one(sql, &[]).await?.get(0);
            if many > 0 {
                return Ok(Some(format!("{many} are open, paused or not told of ({})", server.name())));
            }
        }
        let mirror = self.world.engine.identity.verify_mirror().await?;
        Ok((!mirror.is_equal()).then(|| format!("the mirror is not the truth: {:?}", mirror.differences)))
    }
}

/// Fails, with each difference, where two images are not the same.
pub(crate) fn ensure_same(found: &Image, expected: &Image) -> Result<()> {
    let differ = |user: &&String| found.get(*user) != expected.get(*user);
    let text: Vec<String> = found
        .keys()
        .filter(differ)
        .map(|user| {
            let (found, expected) = (&found[user], expected.get(user).map_or("", String::as_str));
            format!("user {user} is\n{found}and would be, undisturbed,\n{expected}")
        })
        .collect();
    ensure!(text.is_empty(), "{} users differ: {}", text.len(), text.join(""));
    Ok(())
}
