//! Runs the models, and the mutations that each must catch. `ci/loom.sh` builds it with `--cfg sinkworks_loom`.
//!
//! Usage: `loom-tests [FILTER]` runs the models whose name contains FILTER. A model is run once as it is and must hold; then once per
//! mutation, in a process of its own, and must fail.

#[cfg(sinkworks_loom)]
fn main() -> std::process::ExitCode {
    sinkworks::models::main()
}

#[cfg(not(sinkworks_loom))]
fn main() -> std::process::ExitCode {
    eprintln!("loom-tests: built without `--cfg sinkworks_loom`: there is nothing to run; use ci/loom.sh");
    std::process::ExitCode::from(2)
}
