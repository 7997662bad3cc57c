//! What an endpoint's answer means for the event.

use std::time::{Duration, SystemTime};

use ureq::http::HeaderMap;
use ureq::http::header::RETRY_AFTER;

use super::error::DeliveryError;
use crate::error::{Failure, WriteError};

/// Turns a status into the answer of a write. `retry_after` is asked for only where a retry makes sense.
pub(super) fn judge(status: u16, retry_after: impl FnOnce() -> Option<Duration>) -> Result<(), WriteError> {
    let error = DeliveryError::Status(status);
    match status {
        200..=299 => Ok(()),
        // Request timeout, too early, too many requests: the endpoint asks for the same request again.
        408 | 425 | 429 => Err(transient(error, retry_after())),
        300..=499 => Err(Failure::permanent(error).into()),
        // 5xx, and what is no final status at all: RFC 9110 wants a number out of range taken as a server error.
        _ => Err(transient(error, retry_after())),
    }
}

fn transient(error: DeliveryError, retry_after: Option<Duration>) -> WriteError {
    let failure = Failure::transient(error);
    match retry_after {
        Some(delay) => failure.with_retry_after(delay),
        None => failure,
    }
    .into()
}

/// The delay that `Retry-After` asks for, in seconds or as a date, but `cap` at most. A date that has passed is no
/// delay, and what cannot be understood is as good as absent.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime, cap: Duration) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
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
    use ureq::http::HeaderValue;

    use super::*;
    use crate::error::Class;

    fn asked(value: &'static str) -> Option<u64> {
        // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        retry_after(&headers, now, Duration::from_secs(100)).map(|delay| delay.as_secs())
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
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::now(), Duration::MAX), None);
    }

    #[test]
    fn every_status_has_one_meaning() {
        for status in 100..=999 {
            let expected = match status {
                200..=299 => None,
                408 | 425 | 429 | 100..=199 | 500..=999 => Some(Class::Transient),
                _ => Some(Class::Permanent),
            };
            let class = match judge(status, || None) {
                Ok(()) => None,
                Err(WriteError::Failed(failure)) => Some(failure.class()),
                Err(other) => panic!("{status}: {other}"),
            };
            assert_eq!(class, expected, "{status}");
        }
    }
}
