//! Who presses the keys: a bot on every thin client, and on the client too while nobody else does. Input components are filled here;
//! the library sends them. Every press is counted, so that the report can ask whether the server saw it exactly once.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;

use crate::game::{PlayerInput, Still};
use crate::keys::Hands;
use crate::random::Chance;

/// A bot jumps once in so many frames on average.
const JUMPS_ONCE_IN: u32 = 50;
/// A bot fires once in so many frames on average.
const FIRES_ONCE_IN: u32 = 25;
/// A bot turns once in so many frames on average.
const TURNS_ONCE_IN: u32 = 40;

/// The players' side of the game; on a server it adds nothing.
pub struct Players {
    pub seed: u64,
}

impl Plugin for Players {
    fn build(&self, app: &mut App) {
        app.init_resource::<RaisedPresses>()
            .init_resource::<Bot>()
            .init_resource::<Hands>()
            .insert_resource(Seed(self.seed))
            .add_systems_in(WorldFlags::CLIENT, GhostInput, steer)
            .add_systems_in(WorldFlags::THIN_CLIENT, GhostInput, (take_a_seat, steer).chain());
    }
}

/// How often each key was pressed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Presses {
    pub jumps: u64,
    pub shots: u64,
}

/// What was pressed in this client's world.
#[derive(Resource, Default, Clone, Copy, PartialEq, Eq, Debug)]
pub struct RaisedPresses(pub Presses);

#[derive(Resource, Clone, Copy)]
struct Seed(u64);

/// The bot of this client: its chance, and where it goes. It begins when the client has its number.
#[derive(Resource, Default, Debug)]
struct Bot(Option<BotAtWork>);

#[derive(Debug)]
struct BotAtWork {
    chance: Chance,
    right: i8,
    forward: i8,
}

impl BotAtWork {
    fn new(seed: u64, id: NetworkId) -> Self {
        Self { chance: Chance::new(seed, u64::from(id.0)), right: 1, forward: 0 }
    }

    /// What it does in this frame, as if it had hands.
    fn hands(&mut self) -> Hands {
        if self.chance.one_in(TURNS_ONCE_IN) {
            self.right = direction(&mut self.chance);
            self.forward = direction(&mut self.chance);
        }
        Hands {
            on_keyboard: false,
            right: self.right,
            forward: self.forward,
            jumps: u32::from(self.chance.one_in(JUMPS_ONCE_IN)),
            shots: u32::from(self.chance.one_in(FIRES_ONCE_IN)),
        }
    }
}

/// A thin client has no ghosts, so its input lies on an entity of its own, which is the command target of its connection.
fn take_a_seat(
    mut commands: Commands,
    mut connections: Query<(&NetworkId, &mut CommandTarget), Added<NetworkStreamInGame>>,
) {
    for (&id, mut target) in &mut connections {
        let seat =
            commands.spawn((GhostOwner(id), PlayerInput::default(), CommandBuffer::<PlayerInput>::default())).id();
        target.entity = Some(seat);
    }
}

fn steer(
    still: Res<Still>,
    seed: Res<Seed>,
    hands: Res<Hands>,
    mut bot: ResMut<Bot>,
    mut raised: ResMut<RaisedPresses>,
    connection: Query<&NetworkId>,
    mut inputs: Query<(&GhostOwner, &mut PlayerInput)>,
) {
    let Ok(&own) = connection.single() else { return };
    let Some((_, mut input)) = inputs.iter_mut().find(|(owner, _)| owner.0 == own) else { return };
    if still.0 {
        *input = PlayerInput::default();
        return;
    }
    let bot = bot.0.get_or_insert_with(|| BotAtWork::new(seed.0, own));
    let hands = if hands.on_keyboard { *hands } else { bot.hands() };
    (input.right, input.forward) = (hands.right, hands.forward);
    for _ in 0..hands.jumps {
        input.jump.set();
        raised.0.jumps += 1;
    }
    for _ in 0..hands.shots {
        input.fire.set();
        raised.0.shots += 1;
    }
}

fn direction(chance: &mut Chance) -> i8 {
    chance.between(-1.5, 1.5).round() as i8
}
