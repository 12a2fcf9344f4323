//! A world that isn't one of ghostline's yet: entities and resources, no systems. What a creator populates, and what a migration ticket is
//! turned into.

use bevy_app::{First, SubApp};
use bevy_ecs::prelude::World;
use bevy_ecs::schedule::Schedules;

use super::kind::WorldKind;
use super::world_error::WorldError;

/// An existing world for [`Worlds::create_server_world_in`](super::Worlds::create_server_world_in) and its siblings.
///
/// ```
/// # use ghostline::prelude::*;
/// # use ghostline::world::PreparedWorld;
/// # use bevy_ecs::prelude::*;
/// # fn game(_: &mut bevy_app::App) {}
/// #[derive(Resource)]
/// struct Level(u32);
///
/// let mut prepared = PreparedWorld::new();
/// prepared.world_mut().insert_resource(Level(2)); // the game's plugin finds it when it is built
/// let mut worlds = Worlds::new(ClientServerBootstrap::new(game));
/// let id = worlds.create_server_world_in("server", prepared)?;
/// assert_eq!(worlds.get(id).unwrap().world().resource::<Level>().0, 2);
/// # Ok::<(), ghostline::world::WorldError>(())
/// ```
pub struct PreparedWorld {
    name: String,
    kind: Option<WorldKind>,
    app: SubApp,
}

impl Default for PreparedWorld {
    fn default() -> Self {
        Self::new()
    }
}

impl From<World> for PreparedWorld {
    fn from(mut world: World) -> Self {
        world.init_resource::<Schedules>();
        let mut app = SubApp::new();
        *app.world_mut() = world;
        Self { app, ..Self::new() }
    }
}

impl PreparedWorld {
    /// An empty world that can become one of any kind.
    pub fn new() -> Self {
        Self { name: String::new(), kind: None, app: SubApp::new() }
    }

    /// A world that can become one of this kind only.
    pub(super) fn of_kind(name: &str, kind: WorldKind) -> Self {
        Self { name: name.to_owned(), kind: Some(kind), app: SubApp::new() }
    }

    /// Its name: of a migrated one that of the stored world, else empty. A creator gives it a new one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind that it must become; `None` if that is open. A migrated world keeps the kind that it had.
    pub fn kind(&self) -> Option<WorldKind> {
        self.kind
    }

    pub(super) fn set_kind(&mut self, kind: WorldKind) {
        self.kind = Some(kind);
    }

    /// The ECS world.
    pub fn world(&self) -> &World {
        self.app.world()
    }

    /// The ECS world.
    pub fn world_mut(&mut self) -> &mut World {
        self.app.world_mut()
    }

    /// The first schedule that has systems, by name: a world is prepared before its systems are added.
    pub(super) fn schedule_with_systems(&self) -> Option<String> {
        let schedules = self.world().get_resource::<Schedules>()?;
        // Bevy's own message update is in `First` of every new `SubApp`.
        let allowed = |schedule: &bevy_ecs::schedule::Schedule| {
            usize::from(schedule.label() == bevy_ecs::schedule::ScheduleLabel::intern(&First))
        };
        let mut found: Vec<String> = schedules
            .iter()
            .filter(|(_, schedule)| schedule.graph().systems.len() > allowed(schedule))
            .map(|(_, schedule)| format!("{:?}", schedule.label()))
            .collect();
        found.sort();
        found.into_iter().next()
    }

    /// The world, to become one of this kind.
    pub(super) fn into_app(self, kind: WorldKind) -> Result<SubApp, WorldError> {
        if let Some(prepared) = self.kind.filter(|&prepared| prepared != kind) {
            return Err(WorldError::PreparedForAnotherKind { prepared, wanted: kind });
        }
        if let Some(schedule) = self.schedule_with_systems() {
            return Err(WorldError::HasSystems { schedule });
        }
        Ok(self.app)
    }
}
