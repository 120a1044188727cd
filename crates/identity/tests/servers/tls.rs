//! Encrypted ways: the mirror's, and the client's. The certificates are those of the queue's tests.

use std::path::PathBuf;
use std::sync::Arc;

use handover_identity::{ClientOptions, IdentityClient, IdentitySource as _, Mirror, MirrorOptions, Trust};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::service::{Service, TOKEN};
use crate::support::{OwnRedis, Stage};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../queue/tests/queues/tls").join(name)
}

#[tokio::test]
async fn the_mirror_speaks_tls_and_believes_its_own_authority_only() {
    let redis = OwnRedis::start_encrypted(&file("server.pem"), &file("server.key"), &file("ca.pem")).await;
    let mut options = MirrorOptions::new(format!("rediss://localhost:{}/", redis.port).into());
    for (ca_file, answers) in [(Some("ca.pem"), true), (Some("other_ca.pem"), false), (None, false)] {
        options.ca_file = ca_file.map(file);
        let answer = Mirror::new(&options).unwrap().heartbeat().await;
        assert_eq!(answer.is_ok(), answers, "{ca_file:?}: {answer:?}");
    }
}

/// A proxy that ends TLS before the service, as an operator would put one there.
async fn proxy(service: u16) -> u16 {
    let chain =
        CertificateDer::pem_file_iter(file("server.pem")).expect("a proxy").collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a proxy");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("a proxy");
    let config =
        config.with_no_client_auth().with_single_cert(chain.expect("a proxy"), key).expect("a proxy");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a proxy");
    let port = listener.local_addr().expect("a proxy").port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(near).await else { return };
                let mut far = TcpStream::connect(("127.0.0.1", service)).await.expect("a proxy");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn the_client_speaks_tls_and_believes_its_own_authority_only() {
    let stage = Stage::new().await;
    let service = Service::of(&stage.identity).await;
    let port = proxy(service.port).await;
    let mut options = ClientOptions::new(format!("https://localhost:{port}"));
    options.token = Some(TOKEN.into());
    for (ca_file, answers) in [(Some("ca.pem"), true), (Some("other_ca.pem"), false), (None, false)] {
        options.ca_file = ca_file.map(file);
        let answer = IdentityClient::new(&options).unwrap().look_up("1", Trust::Truth).await;
        assert_eq!(answer.is_ok(), answers, "{ca_file:?}: {answer:?}");
    }
    options.url = format!("http://localhost:{port}");
    options.ca_file = Some(file("ca.pem"));
    assert!(IdentityClient::new(&options).is_err(), "an authority for what is not encrypted");
}
