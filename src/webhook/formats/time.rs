//! Timestamps of RFC 3339, as text.

/// Whether the text is a timestamp: `2018-04-05T17:31:00.5Z`, with `Z` or an offset.
pub(super) fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    // The shape first: every place up to the seconds is fixed.
    let shape = |range: std::ops::Range<usize>| {
        bytes.get(range.clone()).is_some_and(|part| {
            part.iter().zip(&b"0000-00-00T00:00:00"[range]).all(|(byte, shape)| {
                match shape {
                    b'0' => byte.is_ascii_digit(),
                    // RFC 3339 allows lower case, and a space.
                    b'T' => matches!(byte, b'T' | b't' | b' '),
                    other => byte == other,
                }
            })
        })
    };
    if !shape(0..19) {
        return false;
    }
    let number =
        |at: usize, digits: usize| bytes[at..at + digits].iter().fold(0, |n, byte| n * 10 + u32::from(byte - b'0'));
    let (year, month, day) = (number(0, 4), number(5, 2), number(8, 2));
    // A leap second is a second too.
    if !(1..=12).contains(&month)
        || !(1..=days(year, month)).contains(&day)
        || number(11, 2) > 23
        || number(14, 2) > 59
        || number(17, 2) > 60
    {
        return false;
    }
    let mut rest = &bytes[19..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', hour @ .., b':', tens, ones] => {
            matches!(hour, [b'0' | b'1', b'0'..=b'9'] | [b'2', b'0'..=b'3'])
                && matches!((tens, ones), (b'0'..=b'5', b'0'..=b'9'))
        }
        _ => false,
    }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::is_timestamp;

    #[test]
    fn timestamps_are_told_from_other_texts() {
        for text in [
            "2018-04-05T17:31:00Z",
            "2018-04-05t17:31:00z",
            "2018-04-05 17:31:00Z",
            "2018-04-05T17:31:00.123456789123+23:59",
            "2000-02-29T23:59:60-00:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert!(is_timestamp(text), "{text}");
        }
        for text in [
            "",
            "2018-04-05",
            "2018-04-05T17:31:00",
            "2018-04-05T17:31:00.Z",
            "2018-04-05T17:31Z",
            "2018-4-05T17:31:00Z",
            "2018-00-05T17:31:00Z",
            "2018-13-05T17:31:00Z",
            "2018-02-29T17:31:00Z",
            "1900-02-29T17:31:00Z",
            "2018-04-31T17:31:00Z",
            "2018-04-05T24:31:00Z",
            "2018-04-05T17:60:00Z",
            "2018-04-05T17:31:61Z",
            "2018-04-05T17:31:00+24:00",
            "2018-04-05T17:31:00+2:00",
            "2018-04-05T17:31:00+02:60",
            "2018-04-05T17:31:00Zz",
            "2018-04-05T17:31:00é",
            "２018-04-05T17:31:00Z",
        ] {
            assert!(!is_timestamp(text), "{text}");
        }
    }
}
