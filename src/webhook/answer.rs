//! What an endpoint's answer means for the event.

use std::time::{Duration, SystemTime};

use ureq::http::HeaderValue;

use super::error::DeliveryError;
use crate::error::{Failure, WriteError};

/// Turns a status into the answer of a write. `retry_after` is asked for only where a retry makes sense.
pub(super) fn judge(
    status: u16,
    success: &Statuses,
    retry_after: impl FnOnce() -> Option<Duration>,
) -> Result<(), WriteError> {
    let error = DeliveryError::Status(status);
    match status {
        _ if success.contains(status) => Ok(()),
        // Gone: the endpoint wants nothing any more, now or later.
        410 => Err(WriteError::Closed),
        // Request timeout, too early, too many requests: the endpoint asks for the same request again.
        408 | 425 | 429 => Err(transient(error, retry_after())),
        200..=499 => Err(Failure::permanent(error).into()),
        // 5xx, and what is no final status at all: RFC 9110 wants a number out of range taken as a server error.
        _ => Err(transient(error, retry_after())),
    }
}

/// A set of statuses from 200 to 599.
#[derive(Debug, Clone)]
pub(super) struct Statuses([u64; 7]);

impl Statuses {
    /// `None` if there is none, or one that is no final status.
    pub(super) fn new(statuses: impl IntoIterator<Item = u16>) -> Option<Self> {
        let mut bits = [0; 7];
        for status in statuses {
            let (word, bit) = place(status)?;
            bits[word] |= bit;
        }
        bits.iter().any(|word| *word != 0).then_some(Self(bits))
    }

    fn contains(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }
}

/// All from 200 to 299.
impl Default for Statuses {
    fn default() -> Self {
        Self([u64::MAX, (1 << 36) - 1, 0, 0, 0, 0, 0])
    }
}

fn place(status: u16) -> Option<(usize, u64)> {
    let index = (200..=599).contains(&status).then(|| status - 200)?;
    Some((usize::from(index / 64), 1 << (index % 64)))
}

fn transient(error: DeliveryError, retry_after: Option<Duration>) -> WriteError {
    let failure = Failure::transient(error);
    match retry_after {
        Some(delay) => failure.with_retry_after(delay),
        None => failure,
    }
    .into()
}

/// What of an answer matters.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Of its header `Retry-After`.
    pub(super) retry_after: Option<HeaderValue>,
}

/// The delay that `Retry-After` asks for, in seconds or as a date, but `cap` at most. A date that has passed is no
/// delay, and what cannot be understood is as good as absent.
pub(super) fn retry_after(value: &HeaderValue, now: SystemTime, cap: Duration) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    let delay = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large for the type fails here, and the cap is below it in any case.
        value.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(delay.min(cap))
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    fn asked(value: &'static str) -> Option<u64> {
        // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        retry_after(&HeaderValue::from_static(value), now, Duration::from_secs(100)).map(|delay| delay.as_secs())
    }

    #[test]
    fn retry_after_is_a_number_of_seconds() {
        assert_eq!(asked("0"), Some(0));
        assert_eq!(asked("99"), Some(99));
        assert_eq!(asked("101"), Some(100), "capped");
        assert_eq!(asked("99999999999999999999999"), Some(100), "larger than any integer");
    }

    #[test]
    fn retry_after_is_a_date_in_any_of_the_three_forms() {
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(asked("Sunday, 06-Nov-94 08:50:07 GMT"), Some(30));
        assert_eq!(asked("Sun Nov  6 08:50:07 1994"), Some(30));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0), "passed");
        assert_eq!(asked("Mon, 07 Nov 1994 08:49:37 GMT"), Some(100), "capped");
    }

    #[test]
    fn retry_after_that_makes_no_sense_is_ignored() {
        for value in ["", "-1", "+1", "1.5", "1 s", "soon", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(asked(value), None, "{value:?}");
        }
    }

    fn class(status: u16, success: &Statuses) -> Option<Class> {
        match judge(status, success, || None) {
            Ok(()) => None,
            Err(WriteError::Failed(failure)) => Some(failure.class()),
            Err(other) => panic!("{status}: {other}"),
        }
    }

    #[test]
    fn every_status_has_one_meaning() {
        let success = Statuses::default();
        for status in (100..=999).filter(|status| *status != 410) {
            let expected = match status {
                200..=299 => None,
                408 | 425 | 429 | 100..=199 | 500..=999 => Some(Class::Transient),
                _ => Some(Class::Permanent),
            };
            assert_eq!(class(status, &success), expected, "{status}");
        }
        assert!(matches!(judge(410, &success, || None), Err(WriteError::Closed)));
    }

    #[test]
    fn which_statuses_mean_success_can_be_chosen() {
        let success = Statuses::new([200, 409, 410, 503, 599]).unwrap();
        for status in [200, 409, 410, 503, 599] {
            assert_eq!(class(status, &success), None, "{status}");
        }
        for status in [201, 299, 300, 400] {
            assert_eq!(class(status, &success), Some(Class::Permanent), "{status}");
        }
        assert_eq!(class(500, &success), Some(Class::Transient));
        for wrong in [&[][..], &[199], &[200, 600], &[0], &[65_535]] {
            assert!(Statuses::new(wrong.iter().copied()).is_none(), "{wrong:?}");
        }
    }
}
