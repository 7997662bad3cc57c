//! The answers on a connection, read strictly: whatever a client has sent, what comes back is HTTP with JSON in it, to the last byte.

use serde_json::Value;

/// One answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// How many events were accepted.
    pub(super) accepted: u64,
    /// When to try again, in seconds.
    pub(super) retry_after: Option<u64>,
    /// Nothing comes after it.
    pub(super) closes: bool,
}

/// Reads the answer at the beginning. `None` if there is not yet all of it; else it and what is behind it.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Answered, &[u8])>, String> {
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at(end + 4);
    let wrong = |what: &str| Err(format!("{what} in {:?}", String::from_utf8_lossy(head)));
    let Ok(text) = std::str::from_utf8(&head[..end]) else { return wrong("no UTF-8") };
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status =
        line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_once(' ')).filter(|(_, reason)| !reason.is_empty());
    let status = status.filter(|(digits, _)| digits.len() == 3).and_then(|(digits, _)| digits.parse::<u16>().ok());
    let Some(status) = status else { return wrong("no status") };
    let mut answered = Answered { status, accepted: 0, retry_after: None, closes: false };
    let (mut length, mut is_json) = (None, false);
    for header in lines {
        let Some((name, value)) = header.split_once(": ") else { return wrong("no header") };
        let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !is_token || value.bytes().any(|byte| byte.is_ascii_control()) {
            return wrong("a bad header");
        }
        match name {
            "content-length" if length.is_none() => length = value.parse::<usize>().ok(),
            "content-length" => return wrong("two lengths"),
            "content-type" => is_json = value == "application/json",
            "connection" => answered.closes = value == "close",
            "retry-after" => answered.retry_after = value.parse().ok(),
            _ => {}
        }
    }
    if status == 100 {
        return Ok(Some((answered, rest)));
    }
    let (Some(length), true) = (length, is_json) else { return wrong("no length, or no JSON") };
    let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("{status}: {error}"))?;
    match status {
        202 => answered.accepted = body["accepted"].as_u64().ok_or("202 without a number")?,
        _ if body["error"].is_string() => {}
        _ => return wrong("no reason"),
    }
    if matches!(status, 429 | 503) && answered.retry_after.is_none() {
        return wrong("no time to try again");
    }
    Ok(Some((answered, rest)))
}

/// Reads everything that came until the end of a connection.
pub(super) fn all(mut bytes: &[u8]) -> Result<Vec<Answered>, String> {
    let mut answers: Vec<Answered> = Vec::new();
    while !bytes.is_empty() {
        if answers.last().is_some_and(|answer| answer.closes) {
            return Err(format!("something after the last answer: {:?}", String::from_utf8_lossy(bytes)));
        }
        let Some((answer, rest)) = first(bytes)? else {
            return Err(format!("half an answer: {:?}", String::from_utf8_lossy(bytes)));
        };
        answers.push(answer);
        bytes = rest;
    }
    Ok(answers)
}
