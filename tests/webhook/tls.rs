//! Whose certificate is accepted, and which one is shown.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use sinkworks::webhook::{DeliveryError, Webhook, WebhookBuilder, WebhookError};
use sinkworks::{Class, Sink};

use crate::receiver::raw;
use crate::{EVENT, cause, failure};

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate of one, and its key.
struct Certified {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certify(&self, name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        Certified { certificate, key }
    }

    fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(self.0.der().clone()).unwrap();
        store
    }
}

impl Certified {
    fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// Takes one connection with this certificate, from anybody or from those with a certificate of `clients`, and answers one request with 204. Joined, it tells whether there was one.
fn receiver(own: &Certified, clients: Option<&Authority>) -> (String, JoinHandle<bool>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.store()), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => config.with_no_client_auth(),
    };
    let config = config.with_single_cert(vec![own.certificate.der().clone()], own.private()).unwrap();
    let serve = move |stream: TcpStream| {
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(session, stream));
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            // What is refused ends within the handshake.
            let Ok(1..) = stream.read_line(&mut line) else { return false };
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        stream.read_exact(&mut vec![0; length]).unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
        true
    };
    let (address, served) = raw(serve);
    (format!("https://127.0.0.1:{}/hook", address.port()), served)
}

/// Posts the event with these options. Whether it arrived, which both sides must agree on.
fn arrives(
    own: &Certified,
    clients: Option<&Authority>,
    options: impl FnOnce(WebhookBuilder) -> WebhookBuilder,
) -> bool {
    let (url, served) = receiver(own, clients);
    let answer = {
        let webhook = options(Webhook::builder(&url).allow_loopback()).build().unwrap();
        webhook.write(&EVENT)
    };
    let arrived = served.join().unwrap();
    if arrived {
        answer.unwrap();
    } else {
        let failure = failure(answer);
        assert_eq!(failure.class(), Class::Transient);
        assert!(matches!(cause(&failure), DeliveryError::Connection(_)), "{failure:?}");
    }
    arrived
}

#[test]
fn an_endpoint_must_have_a_certificate_of_a_trusted_authority_for_its_host() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.certify("127.0.0.1");
    assert!(!arrives(&own, None, |builder| builder), "the public authorities do not know it");
    assert!(arrives(&own, None, |builder| builder.root_certificates(authority.0.pem())));
    assert!(!arrives(&own, None, |builder| builder.root_certificates(other.0.pem())));
    let both = other.0.pem() + &authority.0.pem();
    assert!(arrives(&own, None, |builder| builder.root_certificates(both)));
    let elsewhere = authority.certify("example.com");
    assert!(!arrives(&elsewhere, None, |builder| builder.root_certificates(authority.0.pem())));
}

#[test]
fn an_endpoint_that_asks_is_shown_the_certificate() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (own, known, unknown) = (servers.certify("127.0.0.1"), clients.certify("client"), servers.certify("client"));
    let as_client = |builder: WebhookBuilder, client: &Certified| {
        builder
            .root_certificates(servers.0.pem())
            .client_certificate(client.certificate.pem(), client.key.serialize_pem())
    };
    assert!(arrives(&own, Some(&clients), |builder| as_client(builder, &known)));
    assert!(!arrives(&own, Some(&clients), |builder| as_client(builder, &unknown)));
    assert!(!arrives(&own, Some(&clients), |builder| builder.root_certificates(servers.0.pem())));
    assert!(arrives(&own, None, |builder| as_client(builder, &known)), "nobody asked");
}

#[test]
fn certificates_that_cannot_be_used_are_refused_when_the_webhook_is_built() {
    let authority = Authority::new();
    let (one, other) = (authority.certify("a"), authority.certify("b"));
    let (pem, key) = (one.certificate.pem(), one.key.serialize_pem());
    let builder = || Webhook::builder("https://example.com/");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for roots in
        ["", "nothing", &key, "-----BEGIN CERTIFICATE-----\nAA", no_certificate, &(pem.clone() + no_certificate)]
    {
        let error = builder().root_certificates(roots).build().unwrap_err();
        assert_eq!(error, WebhookError::RootCertificates, "{roots}");
    }
    let foreign = other.key.serialize_pem();
    for (chain, key) in [("", &*key), (&pem, ""), (&pem, &pem), (&key, &key), (no_certificate, &key), (&pem, &foreign)]
    {
        let error = builder().client_certificate(chain, key).build().unwrap_err();
        assert_eq!(error, WebhookError::ClientCertificate, "{chain} {key}");
    }
    let good = builder().root_certificates(authority.0.pem()).client_certificate(pem, key);
    assert!(!format!("{good:?}").contains("PRIVATE"));
    good.build().unwrap();
}
