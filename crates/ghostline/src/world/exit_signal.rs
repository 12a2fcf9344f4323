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
    /// Begins to watch for Ctrl-C, and for `SIGTERM` and `SIGHUP` where there are signals. The second one ends the process at
    /// once. A process that was started to outlive its terminal (`nohup`) goes on without hearing of `SIGHUP`.
    ///
    /// A handler that the program has of its own stays in force beside this one on Unix; on Windows nothing is noticed here then.
    pub fn watch() -> Self {
        let signal = Self::default();
        if let Err(error) = watch_into(&signal.0) {
            tracing::warn!(
                "requests to end this process are not noticed: {error}. Its peers will see it go silent instead"
            );
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

#[cfg(unix)]
fn watch_into(asked: &Arc<AtomicBool>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal == SIGHUP && outlives_its_terminal() {
            continue;
        }
        // In this order: the first one finds nobody to have asked before.
        flag::register_conditional_shutdown(signal, EXIT_CODE, Arc::clone(asked))?;
        flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}

/// Whether whoever started this process had it ignore `SIGHUP`, as far as the system tells.
#[cfg(unix)]
fn outlives_its_terminal() -> bool {
    const SIGHUP_BIT: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & SIGHUP_BIT != 0)
}

#[cfg(windows)]
fn watch_into(asked: &Arc<AtomicBool>) -> Result<(), ctrlc::Error> {
    let asked = Arc::clone(asked);
    ctrlc::try_set_handler(move || {
        if asked.swap(true, Ordering::AcqRel) {
            std::process::exit(EXIT_CODE);
        }
    })
}

#[cfg(not(any(unix, windows)))]
fn watch_into(_asked: &Arc<AtomicBool>) -> std::io::Result<()> {
    Ok(())
}
