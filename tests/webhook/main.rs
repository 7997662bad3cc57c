//! The HTTP sink against receivers on the loopback interface.

#![cfg(feature = "webhook")]

mod addresses;
mod connection;
mod delivery;
mod exchange;
mod formats;
mod options;
#[path = "../common/receiver.rs"]
mod receiver;
mod signature;
mod tls;

use std::net::TcpListener;

use sinkworks::webhook::{DeliveryError, Webhook};
use sinkworks::{Failure, WriteError};

#[derive(Clone, serde::Serialize)]
pub(crate) struct Pushed {
    tag: &'static str,
    size: u64,
}

pub(crate) const EVENT: Pushed = Pushed { tag: "a\"b", size: 7 };

pub(crate) fn failure(answer: Result<(), WriteError>) -> Failure {
    match answer {
        Err(WriteError::Failed(failure)) => failure,
        other => panic!("expected a failure, not {other:?}"),
    }
}

pub(crate) fn cause(failure: &Failure) -> &DeliveryError {
    failure.cause().downcast_ref().expect("a delivery error")
}

/// A webhook to a receiver of these tests.
pub(crate) fn webhook(url: &str) -> Webhook {
    Webhook::builder(url).allow_loopback().build().unwrap()
}

/// A loopback port at which nothing listens.
pub(crate) fn refusing() -> String {
    format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}
