//! Waits until servers answer. Readiness is asked for again and again, since none of the servers tells it
//! by an event; each answer is checked to come from *our* server, because a port that was free a moment ago
//! may have gone to another sandbox's.

use crate::{Error, Server};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{Client, NoTls};

/// How long a server may take. Generous, since tests start dozens of servers on small machines.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
/// Asking costs the server a process each time: on a busy machine, waiting longer is quicker.
const FIRST_STEP: Duration = Duration::from_millis(4);
const LONGEST_STEP: Duration = Duration::from_millis(100);

/// Polls `probe` until it says yes. `ended` is asked in between, and ends the wait with its error.
pub(crate) async fn wait<F>(
    server: Server,
    mut ended: impl FnMut() -> Option<Error>,
    probe: impl Fn() -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), String>>,
{
    let deadline = Instant::now() + LIMIT;
    let mut step = FIRST_STEP;
    loop {
        let Err(log) = probe().await else { return Ok(()) };
        if let Some(error) = ended() {
            return Err(error);
        }
        if Instant::now() >= deadline {
            return Err(Error::NotReady { server: server.name(), after: LIMIT, log });
        }
        tokio::time::sleep(step).await;
        step = LONGEST_STEP.min(step * 5 / 4);
    }
}

/// Opens a plain connection whose task ends with it.
pub(crate) async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Whether the Postgres at this URL is the one whose data lies in this folder, and accepts sessions.
pub(crate) async fn postgres(url: &str, folder: &Path) -> Result<(), String> {
    let client = connect(url).await.map_err(|error| error.to_string())?;
    let row = client.query_one("SHOW data_directory", &[]).await.map_err(|error| error.to_string())?;
    if Path::new(row.get::<_, &str>(0)) == folder { Ok(()) } else { Err("another server's port".to_owned()) }
}

/// Whether the replica streams, and has replayed all that the primary had written when this was asked.
pub(crate) async fn streaming(primary: &str, replica: &str) -> Result<(), String> {
    let ask = async {
        let primary = connect(primary).await?;
        let replica = connect(replica).await?;
        let written: String = primary.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?.get(0);
        let row = replica
            .query_one(
                "SELECT coalesce(pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)
                        AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')",
                &[&written],
            )
            .await?;
        Ok::<bool, tokio_postgres::Error>(row.get(0))
    };
    match ask.await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the replica does not stream yet".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the Redis at this port is the process that we started.
pub(crate) async fn redis(port: u16, pid: u32) -> Result<(), String> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"INFO server\r\nQUIT\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = ask.await.map_err(|error| error.to_string())?;
    let ours = answer.contains(&format!("process_id:{pid}\r\n"));
    if ours { Ok(()) } else { Err("another server's port".to_owned()) }
}
