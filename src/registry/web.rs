//! An HTTP client for servers that are no registries: the files of ADD and of build contexts.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Either, TcpConnector, Transport,
};

use super::tls::{TlsConnector, TlsSettings, TlsTransport, client_config};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client with the system's certificates and the environment's proxies. With `https_only`, not
/// even a redirect leads to plain HTTP.
pub fn web_agent(https_only: bool) -> Agent {
    agent(Agent::config_builder().timeout_connect(Some(CONNECT_TIMEOUT)).https_only(https_only).build())
}

/// The same with any settings.
pub(super) fn agent(config: Config) -> Agent {
    let plain = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default());
    Agent::with_parts(config, plain.chain(LazyTls::default()), DefaultResolver::default())
}

/// Reads the system's certificates when they are first needed.
#[derive(Debug, Default)]
struct LazyTls(OnceLock<Arc<ClientConfig>>);

impl<In: Transport> Connector<In> for LazyTls {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let config = match self.0.get() {
            Some(config) => Arc::clone(config),
            None => {
                let made = client_config(&TlsSettings::default()).map_err(|fault| ureq::Error::Other(fault.into()))?;
                Arc::clone(self.0.get_or_init(|| made))
            }
        };
        TlsConnector(config).connect(details, Some(transport))
    }
}
