//! The books of an intake held against counts that do not come from them (feature `test-util`).
//!
//! A ledger computes what was delivered from what left and what was dropped, so that it always balances: that it does says nothing. Here the words are
//! compared with what somebody else has counted: the turn that delivered, the receiver that received, the events that are really there.

/// What is known of an intake from both sides, at a moment when no drain works on it and nobody evicts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Books {
    /// The words.
    pub(crate) entered: u64,
    pub(crate) left: u64,
    pub(crate) evicted: u64,
    /// Counted drops, but for what was shed.
    pub(crate) dropped: u64,
    pub(crate) dropped_for_overflow: u64,
    pub(crate) bytes: u64,
    pub(crate) max_bytes: Option<u64>,
    /// Counted by who delivers, where that is known at this moment.
    pub(crate) delivered: Option<u64>,
    /// Events that are really there: held, and pushed.
    pub(crate) inside: u64,
}

impl Books {
    /// What must hold while writers write.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let gone = self.left.checked_add(self.evicted).ok_or("more have gone than can be counted")?;
        let delivered = gone.checked_sub(self.dropped).ok_or("more were dropped than have gone")?;
        if self.delivered.is_some_and(|counted| counted != delivered) {
            return Err("delivered by the words is not what was delivered");
        }
        let pending = self.entered.checked_sub(gone).ok_or("more have gone than entered")?;
        if self.inside > pending {
            return Err("more are there than are pending");
        }
        if self.evicted > self.dropped_for_overflow {
            return Err("more were evicted than dropped for overflow");
        }
        if self.bytes > self.max_bytes.unwrap_or(u64::MAX) {
            return Err("more bytes are held than allowed, or fewer than none");
        }
        Ok(())
    }

    /// What must hold besides when nobody is between taking a place and pushing.
    pub(crate) fn check_at_rest(&self) -> Result<(), &'static str> {
        self.check()?;
        if self.entered - self.left - self.evicted != self.inside {
            return Err("some are pending that are not there");
        }
        if self.inside == 0 && self.bytes != 0 {
            return Err("bytes are held for no event");
        }
        Ok(())
    }

    /// What must hold besides at the end.
    pub(crate) fn check_at_end(&self) -> Result<(), &'static str> {
        self.check_at_rest()?;
        if self.inside == 0 { Ok(()) } else { Err("events are there at the end") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten entered: five delivered, one evicted, two dropped, two waiting.
    fn right() -> Books {
        Books {
            entered: 10,
            left: 7,
            evicted: 1,
            dropped: 3,
            dropped_for_overflow: 1,
            bytes: 8,
            max_bytes: Some(16),
            delivered: Some(5),
            inside: 2,
        }
    }

    fn wrong(change: impl FnOnce(&mut Books)) -> bool {
        let mut books = right();
        change(&mut books);
        books.check_at_rest().is_err()
    }

    #[test]
    fn books_that_are_right_pass() {
        assert_eq!(right().check_at_rest(), Ok(()));
        assert!(right().check_at_end().is_err(), "two are waiting");
        let end = Books { left: 9, delivered: Some(7), inside: 0, bytes: 0, ..right() };
        assert_eq!(end.check_at_end(), Ok(()));
    }

    #[test]
    fn books_that_are_wrong_do_not() {
        assert!(wrong(|books| books.left += 1), "an event settled twice");
        assert!(wrong(|books| books.left -= 1), "an event never settled");
        assert!(wrong(|books| books.dropped += 1), "a drop counted without leaving");
        assert!(wrong(|books| books.evicted += 1), "a wrong count of evictions");
        assert!(wrong(|books| books.delivered = Some(4)), "delivered, but not counted by the turn");
        assert!(wrong(|books| books.bytes = u64::MAX), "released twice");
        let leaked = Books { left: 9, delivered: Some(7), inside: 0, ..right() };
        assert!(leaked.check_at_end().is_err(), "a lost release");
    }
}
