//! Whom a webhook trusts, and who it is, where it connects with TLS.
//!
//! What is given is checked when the webhook is built: the HTTP client would pass over a root that it cannot read, and panic over a key that does not belong to its certificate, both of them when it
//! first connects.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use super::error::WebhookError;

/// The options that concern TLS, as PEM.
#[derive(Default)]
pub(super) struct Identity {
    pub(super) roots: Option<Vec<u8>>,
    /// A chain, the webhook's own certificate first, and its key.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Identity {
    pub(super) fn check(self) -> Result<TlsConfig, WebhookError> {
        let mut config = TlsConfig::builder();
        let mut store = RootCertStore::empty();
        if let Some(pem) = &self.roots {
            let roots = certificates(pem).ok_or(WebhookError::RootCertificates)?;
            for root in &roots {
                store.add(root.clone()).map_err(|_| WebhookError::RootCertificates)?;
            }
            config = config.root_certs(RootCerts::Specific(Arc::new(for_client(&roots))));
        }
        if let Some((chain, key)) = &self.client {
            let chain = certificates(chain).ok_or(WebhookError::ClientCertificate)?;
            let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| WebhookError::ClientCertificate)?;
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .and_then(|builder| builder.with_root_certificates(store).with_client_auth_cert(chain.clone(), private))
                .map_err(|_| WebhookError::ClientCertificate)?;
            let key = PrivateKey::from_pem(key).map_err(|_| WebhookError::ClientCertificate)?;
            config = config.client_cert(Some(ClientCert::new_with_certs(&for_client(&chain), key)));
        }
        Ok(config.build())
    }
}

/// The certificates of a text, if it has some and nothing that is none of PEM.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

/// The same, as the HTTP client wants them.
fn for_client(certificates: &[CertificateDer<'_>]) -> Vec<Certificate<'static>> {
    certificates.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}
