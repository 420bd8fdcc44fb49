//! The state: namespaces of ordered keys, changed by transactions that can be rolled back.
