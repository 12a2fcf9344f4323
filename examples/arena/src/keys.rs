//! The keyboard of a terminal, as a game needs it. Terminals report presses and repeats, never releases, so the effect of a key fades;
//! what comes out is laid into the client's world, where `bots` reads it.

use bevy_ecs::prelude::Resource;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use std::time::Duration;

/// A direction counts for so long after its last press or repeat.
const FADE: Duration = Duration::from_millis(300);
/// Without a key for so long the bot takes over again.
const PATIENCE: Duration = Duration::from_secs(4);

/// What the player's hands do. A resource of the client's world.
#[derive(Resource, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Hands {
    /// Whether anybody plays; if not, the bot does.
    pub on_keyboard: bool,
    pub right: i8,
    pub forward: i8,
    /// Presses that no input has taken yet.
    pub jumps: u32,
    pub shots: u32,
}

/// The keys that were pressed lately.
#[derive(Default, Debug)]
pub struct Keys {
    last_key: Option<Duration>,
    right: Option<(i8, Duration)>,
    forward: Option<(i8, Duration)>,
    jumps: u32,
    shots: u32,
    link_steps: isize,
    /// Somebody wants to leave.
    pub quit: bool,
}

impl Keys {
    /// Takes in what the terminal reports at `now`.
    pub fn take(&mut self, event: &Event, now: Duration) {
        let Event::Key(key) = event else { return };
        if key.kind == KeyEventKind::Release {
            return;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => self.quit = true,
            KeyCode::Char('q') | KeyCode::Esc => self.quit = true,
            KeyCode::Left | KeyCode::Char('a') => self.right = Some((-1, now)),
            KeyCode::Right | KeyCode::Char('d') => self.right = Some((1, now)),
            KeyCode::Up | KeyCode::Char('w') => self.forward = Some((1, now)),
            KeyCode::Down | KeyCode::Char('s') => self.forward = Some((-1, now)),
            KeyCode::Char(' ') => self.jumps += 1,
            KeyCode::Char('f') | KeyCode::Enter => self.shots += 1,
            // These are no moves: the bot may go on.
            KeyCode::Char(',' | '<') => return self.link_steps -= 1,
            KeyCode::Char('.' | '>') => return self.link_steps += 1,
            _ => return,
        }
        self.last_key = Some(now);
    }

    /// How far the player has gone through the list of links since the last call.
    pub fn take_link_steps(&mut self) -> isize {
        std::mem::take(&mut self.link_steps)
    }

    /// What the hands do at `now`; presses are handed out once.
    pub fn hands(&mut self, now: Duration) -> Hands {
        let held = |key: Option<(i8, Duration)>| match key {
            Some((direction, at)) if now.saturating_sub(at) < FADE => direction,
            _ => 0,
        };
        Hands {
            on_keyboard: self.last_key.is_some_and(|at| now.saturating_sub(at) < PATIENCE),
            right: held(self.right),
            forward: held(self.forward),
            jumps: std::mem::take(&mut self.jumps),
            shots: std::mem::take(&mut self.shots),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keys: &mut Keys, code: KeyCode, ms: u64) {
        keys.take(&Event::Key(code.into()), Duration::from_millis(ms));
    }

    fn hands(keys: &mut Keys, ms: u64) -> Hands {
        keys.hands(Duration::from_millis(ms))
    }

    #[test]
    fn a_direction_fades_and_a_press_counts_once() {
        let mut keys = Keys::default();
        press(&mut keys, KeyCode::Left, 100);
        press(&mut keys, KeyCode::Char(' '), 100);
        press(&mut keys, KeyCode::Char(' '), 120);
        assert_eq!(hands(&mut keys, 130), Hands { on_keyboard: true, right: -1, jumps: 2, ..Hands::default() });
        assert_eq!(hands(&mut keys, 399), Hands { on_keyboard: true, right: -1, ..Hands::default() });
        assert_eq!(hands(&mut keys, 400), Hands { on_keyboard: true, ..Hands::default() });
    }

    #[test]
    fn changing_the_link_is_not_playing() {
        let mut keys = Keys::default();
        for code in ['.', '.', '.', ','] {
            press(&mut keys, KeyCode::Char(code), 100);
        }
        assert_eq!((keys.take_link_steps(), keys.take_link_steps()), (2, 0));
        assert_eq!(hands(&mut keys, 110), Hands::default());
    }

    #[test]
    fn without_keys_the_bot_plays() {
        let mut keys = Keys::default();
        assert!(!hands(&mut keys, 0).on_keyboard);
        press(&mut keys, KeyCode::Char('f'), 1000);
        assert!(hands(&mut keys, 4999).on_keyboard);
        assert!(!hands(&mut keys, 5000).on_keyboard);
    }

    #[test]
    fn every_way_out_leads_out() {
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            let mut keys = Keys::default();
            press(&mut keys, code, 0);
            assert!(keys.quit);
        }
        let mut keys = Keys::default();
        let interrupt = ratatui::crossterm::event::KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        keys.take(&Event::Key(interrupt), Duration::ZERO);
        assert!(keys.quit);
    }
}
