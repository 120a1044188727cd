//! Encryption and passwords on every way: Postgres with verified certificates and SCRAM, Redis with its own
//! certificate and an ACL user that may touch handover's keys only.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use handover_postgres::{Connection, Database};
use handover_sandbox::Server;
use handover_tests::{Fleet, PROGRAMS, Setup, World, until};
use tokio::net::{TcpListener, TcpStream};

const REMINDERS: &str = "invoice-reminders";
/// With characters that an address must spell otherwise.
const PASSWORD: &str = "p@ss w/ord%";
const IN_A_URL: &str = "p%40ss%20w%2Ford%25";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/queue/tests/queues/tls").join(name)
}

/// Has the server itself write lines to a file, so that it owns the file.
async fn write(world: &World, server: Server, path: &str, text: &str) -> Result<()> {
    let lines = handover_postgres::quote_literal(text.trim_end());
    let program = handover_postgres::quote_literal(&format!("umask 077; cat > {path}"));
    let sql = format!("COPY (SELECT unnest(string_to_array({lines}, E'\\n'))) TO PROGRAM {program}");
    world.sql(server, &sql).await
}

/// Lets the role in by TLS and SCRAM alone.
async fn secure(world: &World, server: Server, role: &str) -> Result<()> {
    let row = "SELECT current_setting('data_directory'), current_setting('hba_file')";
    let row = world.client(server).await?.query_one(row, &[]).await?;
    let (folder, hba): (String, String) = (row.get(0), row.get(1));
    for (name, source) in [("test.pem", "server.pem"), ("test.key", "server.key")] {
        write(world, server, &format!("{folder}/{name}"), &std::fs::read_to_string(file(source))?).await?;
    }
    let rules = format!(
        "hostssl all {role} 127.0.0.1/32 scram-sha-256\nhostnossl all {role} all reject\nlocal all all trust\n\
         host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust"
    );
    write(world, server, &hba, &rules).await?;
    for setting in ["ssl_cert_file = 'test.pem'", "ssl_key_file = 'test.key'", "ssl = on"] {
        world.sql(server, &format!("ALTER SYSTEM SET {setting}")).await?;
    }
    let _reloading = world.client(server).await?.query("SELECT pg_reload_conf()", &[]).await?;
    until("the server speaks TLS", || async {
        Ok(plain(world, server).await?.query_one("SELECT current_setting('ssl') = 'on'", &[]).await?.get(0))
    })
    .await
}

/// A session of the tests' own, which is let in without TLS.
async fn plain(world: &World, server: Server) -> Result<Connection> {
    let url = format!("{}?sslmode=disable", world.url(server)?);
    Ok(Database::new("test", &url.into())?.connect().await?)
}

/// A Redis that speaks TLS alone, to one user with the rights that docs/redis.md asks for.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    async fn start(world: &World) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let text = |name| file(name).display().to_string();
        let user = format!(
            "handover on >{} ~{}:* +@connection +@scripting +@list +@sortedset +@hash +@stream +del +type +time +info +pexpire",
            PASSWORD.replace(' ', ""),
            world.prefix
        );
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
        command.args(["--tls-cert-file", &text("server.pem"), "--tls-key-file", &text("server.key")]);
        command.args(["--tls-ca-cert-file", &text("ca.pem"), "--save", "", "--bind", "127.0.0.1"]);
        command.arg("--user").args(user.split(' ')).args(["--user", "default", "off"]);
        let child = command.stdout(Stdio::null()).spawn().context("redis-server")?;
        until("redis listens", || async { Ok(TcpStream::connect(("127.0.0.1", port)).await.is_ok()) })
            .await?;
        Ok(Self { child, port })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The settings of an installation that trusts nobody.
fn settings(world: &World, role: &str, redis: &Redis) -> Result<Vec<(String, String)>> {
    let servers = [
        ("LEGACY__PRIMARY_URL", Server::Legacy),
        ("LEGACY__REPLICA_URL", Server::Replica),
        ("DESTINATION__URL", Server::Destination),
        ("IDENTITY__URL", Server::Identity),
    ];
    let mut all = Vec::new();
    for (name, server) in servers {
        let url = world.url(server)?;
        let (_, place) = url.rsplit_once('@').context("a user")?;
        let place = place.replace("127.0.0.1", "localhost");
        all.push((name.to_owned(), format!("postgres://{role}:{IN_A_URL}@{place}")));
    }
    let ca = file("ca.pem").display().to_string();
    let redis = format!("rediss://handover:{}@localhost:{}/", IN_A_URL.replace("%20", ""), redis.port);
    all.extend(
        [("REDIS__URL", redis), ("REDIS__CA_FILE", ca.clone()), ("POSTGRES__CA_FILE", ca)]
            .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(all)
}

async fn handover(world: &World, settings: &[(String, String)], arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = world.command("handover")?;
    command.envs(settings.iter().map(|(name, value)| (format!("HANDOVER_{name}"), value)));
    let output = command.args(arguments).stdin(Stdio::null()).output().await?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), text.into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn users_move_over_verified_tls_with_scram_and_an_acl_user() -> Result<()> {
    let world = World::new(Setup { own_servers: true, ..Setup::default() }).await?;
    let role = "secured";
    let make =
        format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD {}", handover_postgres::quote_literal(PASSWORD));
    for server in [Server::Legacy, Server::Destination, Server::Identity] {
        world.sql(server, &make).await?;
    }
    world.caught_up().await?;
    for server in [Server::Legacy, Server::Replica, Server::Destination, Server::Identity] {
        secure(&world, server, role).await?;
    }
    let redis = Redis::start(&world).await?;
    let settings = settings(&world, role, &redis)?;
    let pairs: Vec<(&str, &str)> = settings.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let mut fleet = Fleet::new(&world)?;
    for program in PROGRAMS {
        fleet.start_with(program, &pairs)?;
    }
    for arguments in [
        ["cohort", "create", "c", "--migration", REMINDERS].as_slice(),
        &["cohort", "add", "c", "1", "2", "3"],
        &["launch", "c"],
    ] {
        let (code, text) = handover(&world, &settings, arguments).await?;
        ensure!(code == 0, "{arguments:?}: {code}: {text}");
    }
    let (code, text) = handover(&world, &settings, &["status", "c", "--watch", "--json"]).await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\"completed\":3"), "{text}");
    for server in [Server::Legacy, Server::Replica, Server::Destination, Server::Identity] {
        let sql = "SELECT count(*) FILTER (WHERE NOT ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                    WHERE usename = 'secured'";
        let row = plain(&world, server).await?.query_one(sql, &[]).await?;
        let (clear, all): (i64, i64) = (row.get(0), row.get(1));
        assert!(clear == 0 && all > 0, "{server:?}: {clear} of {all} sessions in clear text");
    }
    refuses_what_is_not_right(&world, &settings).await
}

/// Another authority, another password: neither is let pass, and no secret is told.
async fn refuses_what_is_not_right(world: &World, settings: &[(String, String)]) -> Result<()> {
    let with = |name: &str, edit: &dyn Fn(&str) -> String| -> Vec<(String, String)> {
        let change = |(key, value): &(String, String)| {
            let value = if key == name { edit(value) } else { value.clone() };
            (key.clone(), value)
        };
        settings.iter().map(change).collect()
    };
    let other = file("other_ca.pem").display().to_string();
    let cases = [
        (with("POSTGRES__CA_FILE", &|_| other.clone()), ["status"].as_slice(), "certificate"),
        (with("DESTINATION__URL", &|url| url.replace(IN_A_URL, "wrong")), &["status"], "password"),
        (with("REDIS__CA_FILE", &|_| other.clone()), &["queues"], "certificate"),
    ];
    for (settings, arguments, expected) in cases {
        let (code, text) = handover(world, &settings, arguments).await?;
        assert_eq!(code, 6, "{arguments:?}: {text}");
        assert!(text.contains(expected), "no `{expected}` in: {text}");
        assert!(!text.contains(PASSWORD) && !text.contains(IN_A_URL) && !text.contains("wrong"), "{text}");
    }
    Ok(())
}
