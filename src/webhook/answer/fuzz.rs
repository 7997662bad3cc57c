//! Whatever an endpoint writes into `Retry-After`, the answer is a delay up to the cap, or none.

use proptest::collection::vec;
use proptest::prelude::*;
use ureq::http::HeaderValue;

use super::*;
use crate::fuzz::explore;

/// A time that HTTP's dates can hold, whole seconds.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn asked(value: &[u8], cap: Duration) -> Option<Duration> {
    retry_after(&HeaderValue::from_bytes(value).ok()?, now(), cap)
}

#[test]
fn whatever_is_asked_is_at_most_the_cap() {
    let words = prop_oneof![
        vec(any::<u8>(), 0..40),
        "[0-9]{0,30}".prop_map(String::into_bytes),
        "(Sun|Mon|Tuesday), ?[0-9]{1,3}[ -](Nov|Feb|Xxx)[ -][0-9]{1,5} [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,3} (GMT|UTC)?"
            .prop_map(String::into_bytes),
    ];
    explore("Retry-After", &(words, any::<u32>()), |(value, cap)| {
        let cap = Duration::from_secs(cap.into());
        let delay = asked(&value, cap);
        assert!(delay.is_none_or(|delay| delay <= cap));
        let text = String::from_utf8_lossy(&value);
        let digits = !text.trim().is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_digit());
        if digits && HeaderValue::from_bytes(&value).is_ok() {
            let seconds = text.trim().parse().map_or(Duration::MAX, Duration::from_secs);
            assert_eq!(delay, Some(seconds.min(cap)));
        }
    });
}

#[test]
fn a_date_is_the_time_until_then() {
    explore("Retry-After dates", &(-2_000_000_000..2_000_000_000_i64, any::<u32>()), |(ahead, cap)| {
        let (cap, distance) = (Duration::from_secs(cap.into()), Duration::from_secs(ahead.unsigned_abs()));
        let then = if ahead < 0 { now().checked_sub(distance) } else { now().checked_add(distance) };
        // HTTP's dates begin in 1970.
        let Some(then) = then.filter(|then| *then >= SystemTime::UNIX_EPOCH) else { return };
        let delay = if ahead < 0 { Duration::ZERO } else { distance };
        assert_eq!(asked(httpdate::fmt_http_date(then).as_bytes(), cap), Some(delay.min(cap)));
    });
}
