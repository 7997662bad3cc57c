//! Signatures as the [Standard Webhooks](https://www.standardwebhooks.com) specification has them (`v1`, HMAC-SHA256): for the sender and for the receiver.
//!
//! A request has three headers: `webhook-id`, the same for each attempt to deliver an event, so that a receiver can tell a repetition; `webhook-timestamp`, the time of the
//! attempt in seconds since 1970; and `webhook-signature`, one signature for each secret of the sender, of `id.timestamp.body`.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use sinkworks::webhook::signature::{Secret, Signer, Verifier, VerifyError};
//!
//! let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
//! let headers = Signer::new(secret.clone()).sign("msg_1", SystemTime::now(), b"{}");
//! let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
//!
//! // What a receiver does. `header` is the look-up of its HTTP library.
//! let verifier = Verifier::new(secret).tolerance(Duration::from_secs(60));
//! assert_eq!(verifier.verify(header, b"{}")?, "msg_1");
//! assert_eq!(verifier.verify(header, b"{ }"), Err(VerifyError::Mismatch));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To change a secret, the sender signs with both for a while ([`Signer::and`]), and the receiver accepts either ([`Verifier::or`]).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use ring::rand::SecureRandom;
use subtle::{Choice, ConstantTimeEq};

/// The header with the id of the event.
pub const ID: &str = "webhook-id";
/// The header with the time of the attempt.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// The longest id in bytes: what goes into a header, and into a receiver's table of ids, has a bound.
const MAX_ID: usize = 256;

/// A key that sender and receiver share: 24 to 64 bytes, written as `whsec_` and Base64. Its bytes cannot be got back, and no text form shows them.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// The secret with these bytes.
    ///
    /// # Errors
    ///
    /// [`SecretError::Length`] unless they are 24 to 64.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
        } else {
            Err(SecretError::Length { bytes: bytes.len() })
        }
    }

    /// A new secret of 32 bytes that nobody can guess, with the text that sender and receiver keep: the secret alone does not show it.
    ///
    /// ```
    /// use sinkworks::webhook::signature::Secret;
    ///
    /// let (secret, text) = Secret::generate();
    /// assert!(text.starts_with("whsec_") && text.parse::<Secret>().is_ok());
    /// assert_eq!(format!("{secret:?}"), "Secret(…)");
    /// ```
    ///
    /// # Panics
    ///
    /// If the operating system has no random bytes to give.
    pub fn generate() -> (Self, String) {
        let mut bytes = [0; 32];
        ring::rand::SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
        (Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)), format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes)))
    }

    fn tag(&self, parts: [&[u8]; 5]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        // Long enough for every secret that is not too long; the rest need not be decoded to be refused.
        if encoded.len() > 128 {
            return Err(SecretError::Length { bytes: encoded.len() / 4 * 3 });
        }
        Self::from_bytes(&BASE64_STANDARD.decode(encoded).map_err(|_| SecretError::Encoding)?)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a text is no [`Secret`]. It has nothing of the text in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It does not begin with `whsec_`.
    #[error("a secret must begin with whsec_")]
    Prefix,
    /// What follows is no Base64, with padding.
    #[error("a secret must be in Base64 after whsec_")]
    Encoding,
    /// It has fewer than 24 bytes or more than 64.
    #[error("a secret must have 24 to 64 bytes, not {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
}

/// Signs what is sent, with one secret or several. No text form shows them.
#[derive(Clone)]
pub struct Signer(Vec<Secret>);

impl Signer {
    /// Signs with this secret.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self(vec![secret])
    }

    /// Signs with this secret too, so that receivers that have either accept what is sent.
    #[must_use]
    pub fn and(mut self, secret: Secret) -> Self {
        self.0.push(secret);
        self
    }

    /// The three headers for one attempt to send `body`, names in lower case. For senders other than a [`Webhook`](super::Webhook), which signs by itself.
    ///
    /// The id must be one that [`is_valid_id`] accepts, or no receiver will. A time before 1970 counts as 1970.
    #[must_use]
    pub fn sign(&self, id: &str, now: SystemTime, body: &[u8]) -> [(&'static str, String); 3] {
        let timestamp = seconds(now).to_string();
        let mut signatures = String::with_capacity(self.0.len() * 48);
        for secret in &self.0 {
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            signatures.push_str(VERSION);
            let tag = secret.tag([id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
            BASE64_STANDARD.encode_string(tag.as_ref(), &mut signatures);
        }
        [(ID, id.to_owned()), (TIMESTAMP, timestamp), (SIGNATURE, signatures)]
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("secrets", &self.0.len()).finish()
    }
}

/// Whether a text can be the id of an event: 1 to 256 printable characters of ASCII, and no full stop, which ends the id in what is signed.
#[must_use]
pub fn is_valid_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.')
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Tells a receiver whether a request comes from who has the secret, and that it is no old one sent again. No text form shows the secret.
///
/// It does not know what it has seen before: within the tolerance a request can be sent again. A receiver that this would harm keeps the ids that it has
/// seen for that long.
#[derive(Clone)]
pub struct Verifier {
    secrets: Vec<Secret>,
    tolerance: Duration,
}

impl Verifier {
    /// Accepts what is signed with this secret.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self { secrets: vec![secret], tolerance: Duration::from_secs(5 * 60) }
    }

    /// Accepts what is signed with this secret as well.
    #[must_use]
    pub fn or(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// How far the time of a request may be from the time now, to either side. Five minutes unless set.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Whether the request is signed, and by the system's clock not too old. `header` gives the value of a header by its name, which is in lower case; `body` must be the
    /// bytes that were received. Answers the id of the event.
    ///
    /// How long it takes says nothing about how much of a signature is right.
    ///
    /// # Errors
    ///
    /// A [`VerifyError`] that says why it is not.
    pub fn verify<'h>(&self, header: impl Fn(&str) -> Option<&'h str>, body: &[u8]) -> Result<&'h str, VerifyError> {
        self.verify_at(SystemTime::now(), header, body)
    }

    /// As [`verify`](Self::verify), at a time that is given: for tests, and for clocks of one's own.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_at<'h>(
        &self,
        now: SystemTime,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> Result<&'h str, VerifyError> {
        let header = |name: &'static str| header(name).ok_or(VerifyError::Missing { header: name });
        let (id, timestamp, signatures) = (header(ID)?, header(TIMESTAMP)?, header(SIGNATURE)?);
        if !is_valid_id(id) {
            return Err(VerifyError::Id);
        }
        // Digits only: the number's own parser takes a sign.
        let is_number = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let sent: u64 = timestamp.parse().ok().filter(|_| is_number).ok_or(VerifyError::Timestamp)?;
        let (now, tolerance) = (seconds(now), self.tolerance.as_secs());
        if now.saturating_sub(sent) > tolerance {
            return Err(VerifyError::TooOld);
        }
        if sent.saturating_sub(now) > tolerance {
            return Err(VerifyError::TooNew);
        }
        let given: Vec<Vec<u8>> = signatures
            .split(' ')
            .filter_map(|signature| BASE64_STANDARD.decode(signature.strip_prefix(VERSION)?).ok())
            .collect();
        if given.is_empty() {
            return Err(VerifyError::NoSignature);
        }
        let mut is_right = Choice::from(0);
        for secret in &self.secrets {
            let tag = secret.tag([id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
            for signature in &given {
                is_right |= signature.ct_eq(tag.as_ref());
            }
        }
        if bool::from(is_right) { Ok(id) } else { Err(VerifyError::Mismatch) }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("secrets", &self.secrets.len()).field("tolerance", &self.tolerance).finish()
    }
}

/// Why a request is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is missing.
    #[error("the header {header} is missing")]
    Missing {
        /// The header's name.
        header: &'static str,
    },
    /// The id is none that [`is_valid_id`] accepts.
    #[error("the header webhook-id is not valid")]
    Id,
    /// The timestamp is no number of seconds.
    #[error("the header webhook-timestamp is not valid")]
    Timestamp,
    /// The timestamp is further in the past than the tolerance.
    #[error("the request is too old")]
    TooOld,
    /// The timestamp is further in the future than the tolerance.
    #[error("the request is from the future")]
    TooNew,
    /// There is no signature of version `v1`.
    #[error("the header webhook-signature has no signature of version v1")]
    NoSignature,
    /// No signature is right: the secret, the id, the time or the body is another one.
    #[error("no signature is right")]
    Mismatch,
}
