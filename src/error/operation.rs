//! What was being done when something went wrong.

use std::fmt;
use std::panic::Location;

/// What is being done, for the message of an error. Costs nothing until there is one.
#[derive(Clone, Copy)]
pub(crate) struct Operation<'a> {
    /// `get`, `set`, ...
    pub(crate) verb: &'static str,
    /// A key or a function, shown behind the verb.
    pub(crate) object: Option<&'a str>,
    /// Where.
    pub(crate) namespace: Option<&'a str>,
    /// The public call in the user's source.
    pub(crate) caller: &'static Location<'static>,
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key over its limit is a reason to fail; the message need not repeat all of it.
        const SHOWN_CHARS_MAX: usize = 120;
        f.write_str(self.verb)?;
        if let Some(object) = self.object {
            match object.char_indices().nth(SHOWN_CHARS_MAX) {
                None => write!(f, " {object:?}")?,
                Some((cut, _)) => write!(f, " {:?}...", &object[..cut])?,
            }
        }
        if let Some(namespace) = self.namespace {
            match namespace.char_indices().nth(SHOWN_CHARS_MAX) {
                None => write!(f, " in namespace {namespace:?}")?,
                Some((cut, _)) => write!(f, " in namespace {:?}...", &namespace[..cut])?,
            }
        }
        Ok(())
    }
}
