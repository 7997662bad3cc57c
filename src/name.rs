//! Names of components, as they appear in metrics and in `Debug`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use crate::error::BuildError;
use crate::sink::SinkId;

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// A component's name. Clones share the text, and only that is compared.
#[derive(Clone)]
pub(crate) struct Name {
    text: Arc<str>,
    is_given: bool,
}

impl Name {
    /// A name that the user has chosen, if it can be a metric's label value that a person can read.
    pub(crate) fn given(text: &str) -> Result<Self, BuildError> {
        let valid = (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
        if valid { Ok(Self::known(text)) } else { Err(BuildError::Name) }
    }

    /// The same for a name that this crate has chosen.
    pub(crate) fn known(text: &str) -> Self {
        Self { text: text.into(), is_given: true }
    }

    /// One made of what the component is and its id: no other component has it, now or later.
    pub(crate) fn default(kind: &str, id: SinkId) -> Self {
        Self { text: format!("{kind}-{id}").into(), is_given: false }
    }

    /// The name that was given, or a default.
    pub(crate) fn or_default(given: Option<&str>, kind: &str, id: SinkId) -> Result<Self, BuildError> {
        given.map_or_else(|| Ok(Self::default(kind, id)), Self::given)
    }

    /// Whether the user has chosen it, so that another component may have it too.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }
}

impl Deref for Name {
    type Target = Arc<str>;

    fn deref(&self) -> &Arc<str> {
        &self.text
    }
}

impl From<Name> for Arc<str> {
    fn from(name: Name) -> Self {
        name.text
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
