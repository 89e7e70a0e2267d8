//! TLS of the server: certificates from files, read again when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::watched::Watched;

/// The files of a TLS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// PEM: the server's certificate, then those that it was signed with.
    pub(crate) certificate: PathBuf,
    /// PEM: the certificate's private key.
    pub(crate) key: PathBuf,
    /// PEM: authorities of client certificates; with it every client must show one.
    pub(crate) client_authorities: Option<PathBuf>,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("failed to read the certificates in {path}", path = .0.display())]
    Certificates(PathBuf, #[source] io::Error),
    #[error("failed to read the private key in {path}", path = .0.display())]
    Key(PathBuf, #[source] io::Error),
    #[error("there is no certificate in {path}", path = .0.display())]
    Empty(PathBuf),
    #[error("the authorities in {path} cannot be used", path = .0.display())]
    Authorities(PathBuf, #[source] VerifierBuilderError),
    #[error("the certificate {path} and its key cannot be used", path = .0.display())]
    Pair(PathBuf, #[source] rustls::Error),
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl TlsFiles {
    /// Loads the files, and loads them again when they change.
    pub(crate) fn watch(self) -> Result<Watched<ServerConfig>, TlsError> {
        let mut paths = vec![self.certificate.clone(), self.key.clone()];
        paths.extend(self.client_authorities.clone());
        Watched::open(paths, move || self.load())
    }

    fn load(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| TlsError::Authorities(path.clone(), e))?)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|error| TlsError::Key(self.key.clone(), pem_error(error)))?;
        let mut config = builder
            .with_single_cert(chain(&self.certificate)?, key)
            .map_err(|error| TlsError::Pair(self.certificate.clone(), error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The certificates in a PEM file.
pub(crate) fn certificates_in(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    found.map_err(pem_error)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = certificates_in(path).map_err(|error| TlsError::Certificates(path.to_owned(), error))?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain(path)?);
    Ok(roots)
}

fn pem_error(error: pem::Error) -> io::Error {
    match error {
        pem::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
