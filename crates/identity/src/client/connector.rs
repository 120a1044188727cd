//! How the client connects: TCP, and TLS for an `https://` service.

use std::path::Path;
use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{ClientError, ClientOptions};

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// The connector. The system's roots are read only where they are needed.
pub(super) fn connector(encrypted: bool, options: &ClientOptions) -> Result<Connector, ClientError> {
    let roots = match (&options.ca_file, encrypted) {
        (None, false) => RootCertStore::empty(),
        (Some(_), false) => {
            return Err(ClientError("an authority is given for a URL that is not https://".to_owned()));
        }
        (Some(path), true) => roots_of(path)?,
        (None, true) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(options.patience));
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    // Never the other one than was asked for: a token must not go out in the clear by way of a redirect or a slip.
    Ok(if encrypted {
        builder.https_only().enable_http1().wrap_connector(tcp)
    } else {
        builder.https_or_http().enable_http1().wrap_connector(tcp)
    })
}

fn roots_of(path: &Path) -> Result<RootCertStore, ClientError> {
    let unreadable = |error: &dyn std::fmt::Display| ClientError(format!("{}: {error}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() { Err(unreadable(&"holds no certificate")) } else { Ok(roots) }
}
