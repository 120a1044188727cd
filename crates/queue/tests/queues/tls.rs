//! TLS: the server must prove who it is. The certificates beside this file are for tests only; the key
//! of their authority was thrown away.

use std::path::PathBuf;

use handover_queue::{Error, Queues, RedisTarget};

use crate::support::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/queues/tls").join(name)
}

async fn server() -> Server {
    Server::start_with(|port| {
        let path = |name: &str| file(name).display().to_string();
        let options = [
            ("--port", "0".to_owned()),
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path("server.pem")),
            ("--tls-key-file", path("server.key")),
            ("--tls-ca-cert-file", path("ca.pem")),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    })
    .await
}

fn target(server: &Server, ca_file: Option<&str>) -> RedisTarget {
    let url = format!("rediss://localhost:{}/", server.port);
    RedisTarget { ca_file: ca_file.map(file), ..RedisTarget::new(url.into()) }
}

#[tokio::test]
async fn every_kind_of_connection_speaks_tls_with_the_configured_authority() {
    let server = server().await;
    let queues = Queues::connect(&target(&server, Some("ca.pem"))).await.unwrap();
    queues.push("copy", &entries(2)).await.unwrap();
    assert_eq!(queues.depth("copy").await.unwrap().waiting, 2);
    assert!(queues.doorbell().wait("copy", LEASE).await.unwrap());
    assert_eq!(users(&claim(&queues, 9).await), ["0", "1"]);
}

#[tokio::test]
async fn a_server_whose_certificate_another_authority_signed_is_refused() {
    let server = server().await;
    for ca_file in [Some("other_ca.pem"), None] {
        let error = Queues::connect(&target(&server, ca_file)).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{ca_file:?}: {error}");
    }
}

#[tokio::test]
async fn a_missing_certificate_file_is_named() {
    let server = server().await;
    let error = Queues::new(&target(&server, Some("nowhere.pem"))).unwrap_err();
    assert!(matches!(&error, Error::Settings(text) if text.contains("nowhere.pem")), "{error}");
}
