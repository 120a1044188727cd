//! The listening side: the routes on a listener with bounds.

use handover_listen::{Bounds, Tower};
use tokio::net::TcpListener;

use super::{Site, routes};

/// Serves until `stop`; then takes nothing new, and returns when what was under way is answered.
pub async fn serve(listener: TcpListener, site: Site, stop: impl Future<Output = ()> + Send) {
    let service = Tower::new(routes::router(site));
    handover_listen::serve(listener, Bounds::SERVICE, stop, |_| service.clone()).await;
}
