//! The settings of a driver and their validation.
//! They come from the game's configuration and are checked once, when a driver is made.

use core::fmt;
use core::time::Duration;

use thiserror::Error;

use crate::limits;

/// What a game can set on a driver. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DriverSettings {
    /// Time between two attempts to connect. 1 ..= [`limits::MAX_TIMEOUT_MS`], default 1,000.
    pub connect_timeout_ms: u32,
    /// Attempts before connecting fails; times `connect_timeout_ms` this is the deadline.
    /// 1 ..= [`limits::MAX_CONNECT_ATTEMPTS`], default 10.
    pub max_connect_attempts: u32,
    /// Silence after which a connection is given up, counted from when the other side was heard last. An in-process
    /// connection is given up only while its link counts as a socket or is cut.
    /// 1 ..= [`limits::MAX_TIMEOUT_MS`], default 10,000.
    pub disconnect_timeout_ms: u32,
    /// Silence after which a sign of life is sent. Below `disconnect_timeout_ms`;
    /// 1 ..= [`limits::MAX_TIMEOUT_MS`], default 500.
    pub heartbeat_timeout_ms: u32,
    /// Of the time between two polls, what counts at most toward `connect_timeout_ms` and `disconnect_timeout_ms`, so that a
    /// program which stands still in a debugger keeps its connections. 0: all of it.
    /// 0 ..= [`limits::MAX_TIMEOUT_MS`], default 100 in builds with debug assertions, else 0.
    pub max_frame_time_ms: u32,
    /// Largest message on the unreliable pipeline.
    /// [`limits::MIN_MESSAGE_BYTES`] ..= [`limits::MAX_MESSAGE_BYTES`], default [`limits::DEFAULT_MESSAGE_BYTES`].
    pub max_message_bytes: usize,
    /// Messages that may wait per connection and direction, counted for unreliable and reliable ones separately.
    /// 1 ..= [`limits::MAX_QUEUE_MESSAGES`], default 1,024.
    pub queue_messages: usize,
    /// Bytes that may wait per connection and direction, counted for unreliable and reliable ones separately.
    /// [`limits::MIN_QUEUE_BYTES`] ..= [`limits::MAX_QUEUE_BYTES`], default 4 MiB.
    pub queue_bytes: usize,
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 1_000,
            max_connect_attempts: 10,
            disconnect_timeout_ms: 10_000,
            heartbeat_timeout_ms: 500,
            max_frame_time_ms: if cfg!(debug_assertions) { 100 } else { 0 },
            max_message_bytes: limits::DEFAULT_MESSAGE_BYTES,
            queue_messages: 1_024,
            queue_bytes: 4 * 1024 * 1024,
        }
    }
}

impl DriverSettings {
    /// Checks every setting.
    ///
    /// # Errors
    /// All that is wrong, not just the first mistake.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        let timeout = (1, limits::MAX_TIMEOUT_MS as usize);
        let ranges = [
            ("connect_timeout_ms", self.connect_timeout_ms as usize, timeout),
            ("max_connect_attempts", self.max_connect_attempts as usize, (1, limits::MAX_CONNECT_ATTEMPTS as usize)),
            ("disconnect_timeout_ms", self.disconnect_timeout_ms as usize, timeout),
            ("heartbeat_timeout_ms", self.heartbeat_timeout_ms as usize, timeout),
            ("max_frame_time_ms", self.max_frame_time_ms as usize, (0, limits::MAX_TIMEOUT_MS as usize)),
            ("max_message_bytes", self.max_message_bytes, (limits::MIN_MESSAGE_BYTES, limits::MAX_MESSAGE_BYTES)),
            ("queue_messages", self.queue_messages, (1, limits::MAX_QUEUE_MESSAGES)),
            ("queue_bytes", self.queue_bytes, (limits::MIN_QUEUE_BYTES, limits::MAX_QUEUE_BYTES)),
        ];
        let mut errors: Vec<SettingsError> = ranges
            .into_iter()
            .filter(|&(_, value, (min, max))| value < min || value > max)
            .map(|(setting, value, (min, max))| SettingsError::OutOfRange { setting, value, min, max })
            .collect();
        if self.heartbeat_timeout_ms >= self.disconnect_timeout_ms {
            errors.push(SettingsError::HeartbeatTooSlow {
                heartbeat_timeout_ms: self.heartbeat_timeout_ms,
                disconnect_timeout_ms: self.disconnect_timeout_ms,
            });
        }
        if errors.is_empty() { Ok(()) } else { Err(InvalidSettings { errors }) }
    }

    /// Time from `connect` until the attempt fails: `connect_timeout_ms` × `max_connect_attempts`.
    pub fn connect_deadline(&self) -> Duration {
        Duration::from_millis(u64::from(self.connect_timeout_ms).saturating_mul(u64::from(self.max_connect_attempts)))
    }
}

/// One mistake in [`DriverSettings`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value is outside its range.
    #[error("{setting} is {value}, but must be in {min} ..= {max}")]
    OutOfRange {
        /// The field's name.
        setting: &'static str,
        /// What it was set to.
        value: usize,
        /// Smallest permitted value.
        min: usize,
        /// Largest permitted value.
        max: usize,
    },
    /// A sign of life would come too late to keep an idle connection.
    #[error(
        "heartbeat_timeout_ms ({heartbeat_timeout_ms}) must be below disconnect_timeout_ms ({disconnect_timeout_ms})"
    )]
    HeartbeatTooSlow {
        /// The setting of this name.
        heartbeat_timeout_ms: u32,
        /// The setting of this name.
        disconnect_timeout_ms: u32,
    },
}

/// Everything that is wrong with some [`DriverSettings`]; never empty.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub struct InvalidSettings {
    /// The mistakes, in the order of the fields.
    pub errors: Vec<SettingsError>,
}

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid driver settings")?;
        for (index, error) in self.errors.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { "; " })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(DriverSettings::default().validate(), Ok(()));
        assert_eq!(DriverSettings::default().connect_deadline(), Duration::from_secs(10));
    }

    #[test]
    fn every_mistake_is_listed() {
        let settings = DriverSettings {
            connect_timeout_ms: 0,
            max_connect_attempts: 0,
            disconnect_timeout_ms: 0,
            heartbeat_timeout_ms: 0,
            max_frame_time_ms: limits::MAX_TIMEOUT_MS + 1,
            max_message_bytes: 63,
            queue_messages: 0,
            queue_bytes: 0,
        };
        let invalid = settings.validate().unwrap_err();
        assert_eq!(invalid.errors.len(), 9);
        let text = invalid.to_string();
        for name in [
            "connect_timeout_ms",
            "max_connect_attempts",
            "disconnect_timeout_ms",
            "heartbeat_timeout_ms",
            "max_frame_time_ms",
            "max_message_bytes is 63, but must be in 64 ..= 1452",
            "queue_messages",
            "queue_bytes",
        ] {
            assert!(text.contains(name), "{name} is missing in {text}");
        }
    }

    #[test]
    fn the_ends_of_a_range_are_inside_it() {
        for (max_message_bytes, valid) in [(63, false), (64, true), (1_452, true), (1_453, false)] {
            let settings = DriverSettings { max_message_bytes, ..DriverSettings::default() };
            assert_eq!(settings.validate().is_ok(), valid, "{max_message_bytes}");
        }
    }
}
