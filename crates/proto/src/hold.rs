//! A type-erased guard that lives as long as a row or its record, such as its share of a memory budget.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A guard that a row or a record and its clones share; dropped with the last of them.
#[derive(Clone, Default)]
pub struct Hold(Option<Arc<dyn Any + Send + Sync>>);

impl Hold {
    /// Holds `guard`.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(guard)))
    }

    /// The guard, if it is one of this kind.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.as_deref().and_then(<dyn Any + Send + Sync>::downcast_ref)
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hold(guard)" } else { "Hold(nothing)" })
    }
}
