//! Running what is the user's, and may panic, on a thread that has others' work to do.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `code`; `None` if it panicked. What it touches must be fit for use after a panic: a sink is, since it is shared and has to guard itself, and what is
/// dropped is not used again.
pub(crate) fn contain<R>(code: impl FnOnce() -> R) -> Option<R> {
    if cfg!(sinkworks_loom) {
        // What panics in a model is an assertion of it, or loom.
        return Some(code());
    }
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // What was thrown is the user's too, and its drop may panic again. That is the end of it.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(again);
            }
            None
        }
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn a_panic_whose_payload_panics_is_contained() {
        assert_eq!(contain(|| 7), Some(7));
        assert_eq!(contain(|| -> u32 { std::panic::panic_any(Bomb) }), None);
    }
}
