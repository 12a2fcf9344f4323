//! Commands at their bounds: large ones, many of them, those with bits of their own, and what a server allows nobody to do.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::CommandCodec;
use ghostline::command::CommandArrivalStatistics;
use ghostline::prelude::*;
use ghostline::wire::{BitReader, BitWriter, ComponentSchema, DecodeError, FieldKind, FieldSchema, Smoothing};
use ghostline_testkit::LinkProfile;

/// Bytes of any number, in bits of their own. Which of the two forms was used shows in a mark before them.
#[derive(Clone, Default, PartialEq, Debug)]
struct Blob(Vec<u8>);

const WHOLE: u8 = 0xA5;
const DELTA: u8 = 0x5A;
const MAX_BLOB_BYTES: u32 = 900;

impl Blob {
    fn write(&self, mark: u8, out: &mut BitWriter) {
        out.write_u8(mark);
        out.write_packed(self.0.len() as u32);
        for byte in &self.0 {
            out.write_u8(*byte);
        }
    }

    fn read(mark: u8, input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        if input.read_u8()? != mark {
            return Err(DecodeError::BadValue { what: "mark" });
        }
        let length = input.read_packed()?;
        if length > MAX_BLOB_BYTES {
            return Err(DecodeError::LimitExceeded { what: "blob", limit: MAX_BLOB_BYTES, got: length });
        }
        (0..length).map(|_| input.read_u8()).collect::<Result<Vec<u8>, _>>().map(Self)
    }
}

impl CommandCodec for Blob {
    const NAME: &'static str = "Blob";

    fn encode(&self, out: &mut BitWriter) {
        self.write(WHOLE, out);
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Self::read(WHOLE, input)
    }

    fn encode_delta(&self, newest: &Self, out: &mut BitWriter) {
        // Only what the newest does not have.
        let same = self.0.iter().zip(&newest.0).take_while(|(own, newest)| own == newest).count();
        out.write_packed(same as u32);
        Self(self.0[same..].to_vec()).write(DELTA, out);
    }

    fn decode_delta(newest: &Self, input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let same = input.read_packed()? as usize;
        let mut bytes = newest.0.get(..same).ok_or(DecodeError::BadValue { what: "shared bytes" })?.to_vec();
        bytes.extend(Self::read(DELTA, input)?.0);
        Ok(Self(bytes))
    }
}

/// A command of 512 lanes: two kilobytes, if they are not small.
#[derive(Clone, PartialEq, Debug)]
struct Huge([u32; 512]);

impl Default for Huge {
    fn default() -> Self {
        Self([0; 512])
    }
}

impl CommandData for Huge {
    const LANES: usize = 512;

    fn schema() -> ComponentSchema {
        let field = |index: usize| FieldSchema {
            name: format!("lane{index}"),
            kind: FieldKind::U32,
            quantization: 0,
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        };
        ComponentSchema { name: "Huge".into(), fields: (0..Self::LANES).map(field).collect() }
    }

    fn write_lanes(&self, lanes: &mut [u32]) {
        lanes.copy_from_slice(&self.0);
    }

    fn read_lanes(lanes: &[u32]) -> Self {
        let mut huge = Self::default();
        huge.0.copy_from_slice(lanes);
        huge
    }
}

#[derive(CommandData, Clone, Default, PartialEq, Debug)]
struct Small {
    tick: u32,
}

#[derive(Component, Default)]
struct Tank;

/// What goes into the blob of a tick, and how large huge commands are.
#[derive(Resource, Clone, Copy, Default)]
struct Sizes {
    blob_bytes: usize,
    huge_lanes: usize,
}

struct Tanks;

impl Plugin for Tanks {
    fn build(&self, app: &mut App) {
        app.register_command_with_codec::<Blob>()
            .register_command::<Huge>()
            .register_command::<Small>()
            .init_resource::<Sizes>()
            .register_ghost::<Tank>(GhostPrefab::new("tank").component::<Position>().owner_predicted())
            .add_systems_in(WorldFlags::SERVER | WorldFlags::CLIENT, AfterNetworkReceive, give_buffers)
            .add_systems_in(WorldFlags::CLIENT, GhostInput, fill);
    }
}

fn give_buffers(mut commands: Commands, new: Query<Entity, Added<Tank>>) {
    for tank in &new {
        commands.entity(tank).insert((
            CommandBuffer::<Blob>::default(),
            CommandBuffer::<Huge>::default(),
            CommandBuffer::<Small>::default(),
        ));
    }
}

/// The blob of a tick: begins as all others, ends with the tick.
fn blob_of(tick: NetworkTick, bytes: usize) -> Blob {
    let mut blob: Vec<u8> = (0..bytes).map(|index| (index * 7) as u8).collect();
    blob.extend(tick.index().to_le_bytes());
    Blob(blob)
}

fn fill(
    time: Res<NetworkTime>,
    sizes: Res<Sizes>,
    mut tanks: Query<(&mut CommandBuffer<Blob>, &mut CommandBuffer<Huge>, &mut CommandBuffer<Small>)>,
) {
    let Some(tick) = time.input_target_tick() else { return };
    for (mut blobs, mut huges, mut smalls) in &mut tanks {
        smalls.add(tick, Small { tick: tick.index() });
        if sizes.blob_bytes > 0 {
            blobs.add(tick, blob_of(tick, sizes.blob_bytes));
        }
        if sizes.huge_lanes > 0 {
            let mut huge = Huge::default();
            huge.0[..sizes.huge_lanes].fill(0x5A5A_5A5A ^ tick.index());
            huges.add(tick, huge);
        }
    }
}

fn tank_fleet(sizes: Sizes, profile: LinkProfile, tanks: usize) -> (Fleet, Vec<Entity>) {
    let mut fleet = Fleet::builder().plugin(Tanks).link(profile).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.client(0).world_mut().insert_resource(sizes);
    let owner = fleet.client(0).network_id().unwrap();
    let tanks = (0..tanks).map(|_| fleet.server().world_mut().spawn_ghost::<Tank>(GhostOwner(owner))).collect();
    fleet.ticks(30);
    (fleet, tanks)
}

fn assert_small_is_current(fleet: &mut Fleet, tank: Entity) {
    let tick = fleet.server().server_tick().unwrap();
    let buffer = fleet.server().world().get::<CommandBuffer<Small>>(tank).unwrap();
    assert_eq!(buffer.get_at_tick(tick), Some((tick, &Small { tick: tick.index() })));
}

#[test]
fn a_command_with_bits_of_its_own_is_sent_whole_then_as_differences_and_arrives_under_loss() {
    let (mut fleet, tanks) =
        tank_fleet(Sizes { blob_bytes: 40, huge_lanes: 0 }, LinkProfile::rtt(40).with_periodic_loss(4), 1);
    fleet.ticks(60);
    let tick = fleet.server().server_tick().unwrap();
    let buffer = fleet.server().world().get::<CommandBuffer<Blob>>(tanks[0]).unwrap();
    assert_eq!(buffer.len(), 64);
    for age in 0..40 {
        // Lost packets are made up for by the differences in later ones.
        assert_eq!(buffer.get_at_tick(tick.sub(age)), Some((tick.sub(age), &blob_of(tick.sub(age), 40))));
    }
    let connection = fleet.server().connections()[0];
    let arrivals = fleet.server().world().get::<CommandArrivalStatistics>(connection).unwrap();
    // Four commands whole would be more than 4 × 45 bytes.
    assert!(arrivals.avg_command_payload_size_bits < 2.0 * 45.0 * 8.0, "{arrivals:?}");
}

#[test]
fn five_blocks_of_nearly_a_kilobyte_travel_fragmented() {
    let (mut fleet, tanks) = tank_fleet(Sizes { blob_bytes: 880, huge_lanes: 0 }, LinkProfile::perfect(), 5);
    for _ in 0..20 {
        fleet.tick();
        let tick = fleet.server().server_tick().unwrap();
        for &tank in &tanks {
            let buffer = fleet.server().world().get::<CommandBuffer<Blob>>(tank).unwrap();
            assert_eq!(buffer.get_at_tick(tick), Some((tick, &blob_of(tick, 880))));
            assert_small_is_current(&mut fleet, tank);
        }
    }
    let connection = fleet.server().connections()[0];
    let arrivals = fleet.server().world().get::<CommandArrivalStatistics>(connection).unwrap();
    assert!(arrivals.avg_command_payload_size_bits > 5.0 * 900.0 * 8.0, "{arrivals:?}");
}

// GENT-07
#[test]
fn a_command_beyond_its_bound_is_left_out_with_an_error_and_the_others_go_on() {
    let (mut fleet, tanks) = tank_fleet(Sizes { blob_bytes: 10, huge_lanes: 512 }, LinkProfile::perfect(), 1);
    fleet
        .logs()
        .expect("the commands of type `Huge` are not sent: a command block of .* bytes is above the limit of 1024");
    fleet.ticks(10);
    let world = fleet.server().world();
    assert!(world.get::<CommandBuffer<Huge>>(tanks[0]).unwrap().is_empty());
    assert!(!world.get::<CommandBuffer<Blob>>(tanks[0]).unwrap().is_empty());
    assert_small_is_current(&mut fleet, tanks[0]);
    // Made smaller, it is sent.
    fleet.client(0).world_mut().resource_mut::<Sizes>().huge_lanes = 20;
    fleet.ticks(70);
    let tick = fleet.server().server_tick().unwrap();
    let buffer = fleet.server().world().get::<CommandBuffer<Huge>>(tanks[0]).unwrap();
    assert_eq!(buffer.get_at_tick(tick).unwrap().0, tick);
    assert_eq!(fleet.client(0).connections().len(), 1);
}

#[test]
fn what_clients_sent_can_only_be_read_on_the_server() {
    let (mut fleet, tanks) = tank_fleet(Sizes::default(), LinkProfile::perfect(), 1);
    fleet.logs().expect("was put into a buffer of the server and ignored");
    let tick = fleet.server().server_tick().unwrap();
    let before = fleet.server().world().get::<CommandBuffer<Small>>(tanks[0]).unwrap().len();
    for _ in 0..3 {
        let mut buffer = fleet.server().world_mut().get_mut::<CommandBuffer<Small>>(tanks[0]).unwrap();
        assert!(!buffer.add(tick, Small { tick: 0 }));
    }
    let buffer = fleet.server().world().get::<CommandBuffer<Small>>(tanks[0]).unwrap();
    assert_eq!((buffer.len(), buffer.get_at_tick(tick).unwrap().1.tick), (before, tick.index()));
    assert_eq!(fleet.logs().count("was put into a buffer"), 1, "said once");
}

#[test]
fn each_command_carries_how_far_in_the_past_its_player_saw_the_others() {
    for profile in [LinkProfile::perfect(), LinkProfile::rtt(100), LinkProfile::rtt(200)] {
        let (mut fleet, tanks) = tank_fleet(Sizes::default(), profile, 1);
        fleet.ticks(120);
        let time = fleet.client(0).network_time().clone();
        let behind = time.server_tick.unwrap().ticks_since(time.interpolation_tick.unwrap());
        fleet.ticks(20);
        let tick = fleet.server().server_tick().unwrap();
        let buffer = fleet.server().world().get::<CommandBuffer<Small>>(tanks[0]).unwrap();
        let delay = buffer.interpolation_delay_at(tick);
        assert!(delay.abs_diff(behind as u32) <= 1, "{profile:?}: {delay}, the client is {behind} ticks behind");
    }
}

#[test]
fn redundancy_follows_the_loss_if_asked_to() {
    for (loss, commands) in [(0.0, 4.0..4.01), (15.0, 4.0..6.5), (40.0, 6.0..12.0)] {
        let (mut fleet, _) = tank_fleet(Sizes::default(), LinkProfile::rtt(40).with_loss_percent(loss), 1);
        fleet.client(0).world_mut().resource_mut::<ClientTickRate>().redundancy_follows_loss = true;
        fleet.ticks(200);
        let connection = fleet.server().connections()[0];
        let arrivals = |fleet: &mut Fleet| *fleet.server().world().get::<CommandArrivalStatistics>(connection).unwrap();
        let before = arrivals(&mut fleet);
        fleet.ticks(200);
        let after = arrivals(&mut fleet);
        let packets = (after.num_command_packets_arrived - before.num_command_packets_arrived) as f64;
        let per_packet = (after.num_commands_arrived - before.num_commands_arrived) as f64 / packets;
        assert!(commands.contains(&per_packet), "{loss} %: {per_packet} commands per packet");
    }
}
