//! Tests from the outside.
