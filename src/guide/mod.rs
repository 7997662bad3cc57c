//! Guides: how the parts are used together. The reference has the details; a guide says which part to take, and why.
//!
//! - [`webhooks`]: events to an HTTP endpoint, from the signature to the dead letter, and what the receiver does.
//! - [`service`]: one broadcaster for a service, its bounds, metrics and end, and its tests.
//! - [`sinks`]: a sink of your own: a function, a type, a stage; the contract and its check.
//! - [`go_events`]: the names of docker/go-events and what they are here; what stays and what differs.
//! - [`operating`]: metrics, alerts, sizes, the end of a process.
//!
//! The modules of the guide are empty: they are in the documentation only. Every example in them is a test. The examples take whatever features
//! they need; those are listed on the [crate's page](crate#features).

// What the pages refer to.
#[cfg(feature = "prometheus")]
#[allow(unused_imports, reason = "for links")]
use crate::telemetry::{Exporter, serve};
#[cfg(feature = "test-util")]
#[allow(unused_imports, reason = "for links")]
use crate::test_util::{Audit, Gate, ManualClock, check_contract};
#[cfg(feature = "webhook")]
#[allow(unused_imports, reason = "for links")]
use crate::webhook::{
    AddressPolicy, DeliveryError, Webhook, WebhookBuilder, formats,
    signature::{self, Secret, Signer, Verifier},
};
#[allow(unused_imports, reason = "for links")]
use crate::*;

#[doc = include_str!("webhooks.md")]
#[cfg_attr(not(feature = "webhook"), doc = include_str!("without_webhook.md"))]
#[cfg_attr(not(feature = "test-util"), doc = include_str!("without_test_util.md"))]
pub mod webhooks {}

#[doc = include_str!("service.md")]
#[cfg_attr(not(feature = "prometheus"), doc = include_str!("without_prometheus.md"))]
#[cfg_attr(not(feature = "test-util"), doc = include_str!("without_test_util.md"))]
pub mod service {}

#[doc = include_str!("sinks.md")]
#[cfg_attr(not(feature = "test-util"), doc = include_str!("without_test_util.md"))]
pub mod sinks {}

#[doc = include_str!("go_events.md")]
#[cfg_attr(not(feature = "test-util"), doc = include_str!("without_test_util.md"))]
pub mod go_events {}

#[doc = include_str!("operating.md")]
#[cfg_attr(not(feature = "test-util"), doc = include_str!("without_test_util.md"))]
pub mod operating {}
