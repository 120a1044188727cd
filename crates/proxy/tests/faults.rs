//! Each command, with a server that answers a Redis command with a line of its own.

use std::time::Duration;

use anyhow::{Context as _, Result};
use handover_proxy::{Cut, Mode, Protocol, Proxy, Strike};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const COMMAND: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that counts the commands it has got, and the proxy before it.
struct Stage {
    got: watch::Receiver<u64>,
    proxy: Proxy,
}

impl Stage {
    async fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("redis://{}/0", listener.local_addr()?);
        let (count, got) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, count.clone()));
            }
        });
        Ok(Self { got, proxy: Proxy::before(&url, Protocol::Redis).await? })
    }

    async fn client(&self) -> Result<TcpStream> {
        let address = self.proxy.url().trim_start_matches("redis://").trim_end_matches("/0");
        Ok(TcpStream::connect(address).await?)
    }

    /// A client whose first command was answered.
    async fn heard(&self) -> Result<TcpStream> {
        let mut client = self.client().await?;
        anyhow::ensure!(ask(&mut client).await? == "+PONG\r\n");
        Ok(client)
    }

    async fn has_got(&mut self, many: u64) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.got.wait_for(|got| *got >= many)).await??;
        Ok(())
    }
}

async fn serve(stream: TcpStream, count: watch::Sender<u64>) {
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == "PING" {
            count.send_modify(|count| *count += 1);
            if to.write_all(b"+PONG\r\n").await.is_err() {
                return;
            }
        }
    }
}

async fn ask(client: &mut TcpStream) -> Result<String> {
    client.write_all(COMMAND).await?;
    let mut answer = vec![0; 64];
    let many = tokio::time::timeout(PATIENCE, client.read(&mut answer)).await.context("no answer")??;
    Ok(String::from_utf8_lossy(&answer[..many]).into_owned())
}

#[tokio::test]
async fn a_cut_ends_connections_by_rst_or_fin_and_new_ones_pass() -> Result<()> {
    let stage = Stage::new().await?;
    let (mut reset, mut finished) = (stage.heard().await?, [0; 1]);
    assert_eq!(stage.proxy.cut(Cut::Reset), 1);
    let error = reset.read(&mut finished).await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut fin = stage.heard().await?;
    stage.proxy.cut(Cut::Fin);
    assert_eq!(fin.read(&mut finished).await?, 0);
    stage.heard().await?;
    assert_eq!((stage.proxy.struck(), stage.proxy.queries()), (2, 3));
    Ok(())
}

#[tokio::test]
async fn refused_are_new_connections_only() -> Result<()> {
    let stage = Stage::new().await?;
    let mut old = stage.heard().await?;
    stage.proxy.set(Mode::Refuse);
    let mut new = stage.client().await?;
    assert!(ask(&mut new).await.map_or(true, |answer| answer.is_empty()));
    assert_eq!(ask(&mut old).await?, "+PONG\r\n");
    stage.proxy.set(Mode::Pass);
    stage.heard().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_stalled_arrives_later_and_whole() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mut client = stage.heard().await?;
    stage.proxy.set(Mode::Stall);
    client.write_all(COMMAND).await?;
    tokio::time::timeout(PATIENCE, stage.proxy.until_struck(1)).await?;
    assert_eq!(*stage.got.borrow(), 1, "the second command waits in the proxy");
    stage.proxy.set(Mode::Delay(Duration::from_millis(5)));
    stage.has_got(2).await?;
    assert_eq!(ask(&mut client).await?, "+PONG\r\n");
    Ok(())
}

#[tokio::test]
async fn what_a_vanished_peer_was_sent_is_swallowed_and_the_connection_reset_when_it_is_back() -> Result<()> {
    let stage = Stage::new().await?;
    let (mut client, mut idle) = (stage.heard().await?, stage.heard().await?);
    stage.proxy.set(Mode::HalfOpen);
    client.write_all(COMMAND).await?;
    tokio::time::timeout(PATIENCE, stage.proxy.until_struck(1)).await?;
    let mut new = stage.client().await?;
    tokio::time::timeout(PATIENCE, stage.proxy.until_struck(2)).await?;
    stage.proxy.set(Mode::Pass);
    for hurt in [&mut client, &mut new] {
        let error = hurt.read(&mut [0; 1]).await.expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(*stage.got.borrow(), 2, "it never came");
    assert_eq!(ask(&mut idle).await?, "+PONG\r\n", "nothing of this one was lost");
    Ok(())
}

#[tokio::test]
async fn the_nth_query_is_cut_before_the_server_sees_it_or_before_its_answer() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mut client = stage.heard().await?;
    stage.proxy.arm(Strike::before_query(2).containing("PING"));
    assert_eq!(ask(&mut client).await?, "+PONG\r\n");
    assert!(ask(&mut client).await.is_err());
    assert_eq!(*stage.got.borrow(), 2);
    let mut client = stage.heard().await?;
    stage.proxy.arm(Strike::before_answer(1).fin());
    assert_eq!(ask(&mut client).await?, "", "an end in place of the answer");
    stage.has_got(4).await?;
    assert_eq!(stage.proxy.struck(), 2);
    assert!(!stage.proxy.disarm(), "it has struck");
    stage.heard().await?;
    Ok(())
}

#[tokio::test]
async fn after_so_many_bytes_the_connection_ends_within_a_message() -> Result<()> {
    let stage = Stage::new().await?;
    let mut client = stage.heard().await?;
    stage.proxy.arm(Strike::after_bytes(COMMAND.len() as u64 + 3).fin());
    assert_eq!(ask(&mut client).await?, "+PO");
    assert_eq!(client.read(&mut [0; 1]).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_is_dropped_takes_its_connections_with_it() -> Result<()> {
    let stage = Stage::new().await?;
    let mut client = stage.heard().await?;
    drop(stage.proxy);
    assert!(client.read(&mut [0; 1]).await.map_or(true, |many| many == 0));
    Ok(())
}
