//! Names of components, as they appear in metrics and in `Debug`.

use std::sync::Arc;

use crate::error::BuildError;
use crate::sink::SinkId;

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// Whether `name` can be a metric's label value that a person can read.
pub(crate) fn check(name: &str) -> Result<(), BuildError> {
    let valid = (1..=LONGEST).contains(&name.len()) && !name.chars().any(char::is_control);
    if valid { Ok(()) } else { Err(BuildError::Name) }
}

/// The name that was given, or one made of what the component is and its id.
pub(crate) fn or_default(name: Option<String>, kind: &str, id: SinkId) -> Result<Arc<str>, BuildError> {
    match name {
        Some(name) => check(&name).map(|()| name.into()),
        None => Ok(default(kind, id)),
    }
}

pub(crate) fn default(kind: &str, id: SinkId) -> Arc<str> {
    format!("{kind}-{id}").into()
}
