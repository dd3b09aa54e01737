//! Which messages have certainly not been claimed before: saves looking each one up while a history is read for the
//! first time.

use dashboard_core::ids::MessageId;

/// 4 MiB. With three bits each, one in 1,400 of a million messages is looked up without need, one in five of ten
/// million.
const WORDS: usize = 1 << 19;
const BITS_EACH: u32 = 3;

/// A Bloom filter over all messages of a database that was empty when it was opened.
#[derive(Debug)]
pub(super) struct Unseen(Vec<u64>);

impl Unseen {
    pub(super) fn new() -> Self {
        Self(vec![0; WORDS])
    }

    /// Enters a message; whether it certainly was not there.
    pub(super) fn insert(&mut self, message: MessageId) -> bool {
        let mut is_new = false;
        for index in 0..BITS_EACH {
            // 25 bits of the hash name a bit.
            let bit = usize::try_from((message.number() >> (index * 25)) & 0x1ff_ffff).unwrap_or(0);
            let word = &mut self.0[bit / 64];
            is_new |= *word & (1 << (bit % 64)) == 0;
            *word |= 1 << (bit % 64);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_never_new_again() {
        let mut unseen = Unseen::new();
        let message = |number: u32| MessageId::of(&number.to_string());
        let new = (0..100_000).filter(|&number| unseen.insert(message(number))).count();
        assert!(new > 99_900, "{new}");
        assert!((0..100_000).all(|number| !unseen.insert(message(number))));
    }
}
