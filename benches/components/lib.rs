//! Nothing: the benches are in `components.rs`.
