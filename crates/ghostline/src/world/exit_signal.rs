//! Ctrl-C, and what a service manager sends to end a process: noticed, so that the worlds can say goodbye before it ends.
//! Installed by the stand-alone runner, or by a program with a loop of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody asked this process to end. Clones are the same.
///
/// A program that is ended without asking leaves its peers in the dark until their time-outs; one that stops its loop and
/// drops its worlds tells them at once.
#[derive(Clone, Debug, Default)]
pub struct ExitSignal(Arc<AtomicBool>);

impl ExitSignal {
    /// Begins to watch for Ctrl-C (and for `SIGTERM` and `SIGHUP` where there are signals). The second one ends the process at
    /// once. If the program has a handler of its own already, that one stays, and nothing is noticed here.
    pub fn watch() -> Self {
        let signal = Self::default();
        #[cfg(any(unix, windows))]
        {
            let asked = Arc::clone(&signal.0);
            let handler = move || {
                if asked.swap(true, Ordering::AcqRel) {
                    std::process::exit(EXIT_CODE);
                }
            };
            if let Err(error) = ctrlc::try_set_handler(handler) {
                tracing::debug!("Ctrl-C is not watched for: {error}");
            }
        }
        signal
    }

    /// Whether somebody asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What shells report for a program that Ctrl-C has ended.
#[cfg(any(unix, windows))]
const EXIT_CODE: i32 = 130;
