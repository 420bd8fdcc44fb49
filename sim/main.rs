//! Runner.
fn main() {}
