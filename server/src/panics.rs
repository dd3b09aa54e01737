//! Panics are logged with their place. What they say is left out where it might be text of a conversation.

use std::cell::Cell;
use std::panic;

thread_local! {
    static WITHOUT_MESSAGE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; should it panic, only the place is logged: a parser's panic may quote what it parsed.
pub(crate) fn without_message<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            WITHOUT_MESSAGE.set(self.0);
        }
    }
    let _restore = Restore(WITHOUT_MESSAGE.replace(true));
    work()
}

/// Logs panics from now on as described [above](self).
pub fn log() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = if WITHOUT_MESSAGE.get() { None } else { panic.payload_as_str() };
        let thread = std::thread::current();
        tracing::error!(thread = thread.name(), place, message = message.unwrap_or("not logged"), "panicked");
    }));
}
