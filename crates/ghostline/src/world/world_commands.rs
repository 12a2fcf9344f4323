//! How a system makes and disposes worlds: it leaves a command, and the process carries it out when no world runs.
//! Filled by the game in any world, emptied by [`Worlds`] at the end of the frame.

use bevy_ecs::prelude::Resource;

use super::world_error::WorldError;
use super::worlds::Worlds;

/// One command.
type WorldCommand = Box<dyn FnOnce(&mut Worlds) -> Result<(), WorldError> + Send + Sync>;

/// Commands to the worlds of this process, carried out at the end of the frame: the way from a menu to a game and back. A resource of every
/// world. They are carried out in the order in which they were given, world by world in the order in which those were made.
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_ecs::prelude::*;
/// /// The player has chosen to host: a server and a client come, the menu goes.
/// fn host(mut commands: ResMut<WorldCommands>, menu: Res<WorldId>) {
///     let menu = *menu;
///     commands.push(move |worlds| {
///         worlds.create_server_world("server")?;
///         worlds.create_client_world("client")?;
///         worlds.dispose(menu);
///         Ok(())
///     });
/// }
/// ```
#[derive(Resource, Default)]
pub struct WorldCommands {
    commands: Vec<WorldCommand>,
    /// Whether it was said that nobody carries them out.
    complained: bool,
}

/// So many commands wait in one world at most; more are dropped with an error, because then nobody carries them out.
pub const MAX_WORLD_COMMANDS: usize = 256;

impl WorldCommands {
    /// Gives a command. What it returns as an error is logged.
    pub fn push(&mut self, command: impl FnOnce(&mut Worlds) -> Result<(), WorldError> + Send + Sync + 'static) {
        if self.commands.len() < MAX_WORLD_COMMANDS {
            self.commands.push(Box::new(command));
        } else if !std::mem::replace(&mut self.complained, true) {
            tracing::error!(
                "{MAX_WORLD_COMMANDS} commands to the worlds of this process wait already, further ones are dropped: `Worlds::run_frame` carries \
                 them out, and nothing else does"
            );
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Moves all of them to `into`.
    pub(super) fn drain_into(&mut self, into: &mut WorldCommands) {
        into.commands.append(&mut self.commands);
    }

    /// Carries them out.
    pub(super) fn run(&mut self, worlds: &mut Worlds) {
        for command in self.commands.drain(..) {
            if let Err(error) = command(worlds) {
                tracing::error!("a command to the worlds of this process failed: {error}");
            }
        }
    }
}
