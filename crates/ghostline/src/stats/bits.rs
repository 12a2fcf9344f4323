//! What the bits of snapshots are spent on: every bit of every packet belongs to a component of a ghost type, or to a named overhead.
//! Counted in server worlds that have the resource; printed as a table.

use bevy_ecs::prelude::Resource;
use ghostline_wire::GhostSchema;
use std::fmt;

/// The bits of all snapshot packets that a server world sent since it has this resource, by what they are spent on. Together they are the packets:
/// [`total_bits`](Self::total_bits) grows by 8 × [`sent_snapshot_bytes`](crate::stats::NetworkStats::sent_snapshot_bytes).
///
/// Nothing is counted in a world without it, and nothing is paid for that. Insert the default to have it counted, remove it to end that:
///
/// ```
/// # #[cfg(feature = "server")] {
/// use ghostline::stats::SnapshotBits;
/// # let mut world = bevy_ecs::world::World::new();
/// world.insert_resource(SnapshotBits::default());
/// // … after a while, in a system or from outside:
/// let bits = world.resource::<SnapshotBits>();
/// println!("{bits}");
/// # }
/// ```
///
/// It is for looking closely: counting reads what was sent once more, though rows that several clients got alike only once. What is sent is the same
/// as without.
#[derive(Resource, Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotBits {
    /// Packets.
    pub packets: u64,
    /// What stands at their beginning: kind, sequence, epoch, tick; the clock and the number of ghosts.
    pub header_bits: u64,
    /// The list of ghost types, which is for clients that don't know them all yet.
    pub prefab_bits: u64,
    /// The list of ghosts that are gone.
    pub despawn_bits: u64,
    /// Which chunks have no news, and the end of the packet's content.
    pub gap_bits: u64,
    /// What fills up the last byte.
    pub padding_bits: u64,
    /// What could not be told apart: 0, unless something is wrong with ghostline.
    pub unknown_bits: u64,
    /// Every ghost type, in the order of their registration. Empty before the first snapshot.
    pub types: Vec<GhostTypeBits>,
}

/// The bits that are spent on the ghosts of one type.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GhostTypeBits {
    /// Name of the ghost type.
    pub name: String,
    /// Rows sent: one is all components of one ghost at one tick.
    pub rows: u64,
    /// Of them, rows that stood for themselves, because the client had no baseline.
    pub absolute_rows: u64,
    /// What stands before the rows of a chunk of 64 ghosts: which of them changed, and from what their rows are predicted.
    pub chunk_bits: u64,
    /// Definitions of the models that rows are coded with.
    pub model_bits: u64,
    /// What stands before a row: its form; when the ghost was spawned, or the baseline of a row that is not predicted.
    pub form_bits: u64,
    /// Its components, in the order of their registration with the type.
    pub components: Vec<ComponentBits>,
}

/// The bits that are spent on one component of one ghost type.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ComponentBits {
    /// Name of the component.
    pub name: String,
    /// Its values, with the flags that say whether it changed and which of its fields.
    pub bits: u64,
}

impl SnapshotBits {
    /// All bits: 8 for each byte of the packets.
    pub fn total_bits(&self) -> u64 {
        let overhead = self.overheads().iter().map(|(_, bits)| bits).sum::<u64>();
        overhead + self.types.iter().map(GhostTypeBits::total_bits).sum::<u64>()
    }

    /// Counts from 0 on again. What is a matter of names stays, so that no memory is allocated anew.
    pub fn clear(&mut self) {
        let mut types = std::mem::take(&mut self.types);
        types.iter_mut().for_each(GhostTypeBits::clear);
        *self = Self { types, ..Self::default() };
    }

    /// The bits of a component, by the names of ghost type and component; `None` if there is no such.
    pub fn of(&self, ghost_type: &str, component: &str) -> Option<u64> {
        let ty = self.types.iter().find(|ty| ty.name == ghost_type)?;
        Some(ty.components.iter().find(|part| part.name == component)?.bits)
    }

    fn overheads(&self) -> [(&'static str, u64); 6] {
        [
            ("headers", self.header_bits),
            ("ghost types told", self.prefab_bits),
            ("despawns", self.despawn_bits),
            ("chunks without news", self.gap_bits),
            ("padding", self.padding_bits),
            ("unknown", self.unknown_bits),
        ]
    }

    /// Brings the list of types in line with those of a server. Types that are there already go on.
    pub(crate) fn name_types<'a>(&mut self, schemas: impl ExactSizeIterator<Item = &'a GhostSchema>) {
        self.types.resize_with(schemas.len(), GhostTypeBits::default);
        for (ty, schema) in self.types.iter_mut().zip(schemas) {
            if !ty.is_of(schema) {
                *ty = GhostTypeBits::new(schema);
            }
        }
    }
}

impl GhostTypeBits {
    fn new(schema: &GhostSchema) -> Self {
        let component = |name: &String| ComponentBits { name: name.clone(), bits: 0 };
        let components = schema.components.iter().map(|part| component(&part.name)).collect();
        Self { name: schema.name.clone(), components, ..Self::default() }
    }

    fn is_of(&self, schema: &GhostSchema) -> bool {
        self.name == schema.name
            && self.components.iter().map(|part| &part.name).eq(schema.components.iter().map(|part| &part.name))
    }

    fn clear(&mut self) {
        let (name, mut components) = (std::mem::take(&mut self.name), std::mem::take(&mut self.components));
        components.iter_mut().for_each(|component| component.bits = 0);
        *self = Self { name, components, ..Self::default() };
    }

    /// All bits of the type.
    pub fn total_bits(&self) -> u64 {
        let components = self.components.iter().map(|component| component.bits).sum::<u64>();
        self.chunk_bits + self.model_bits + self.form_bits + components
    }
}

/// Bytes, the share of everything, and what it is per row.
impl fmt::Display for SnapshotBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.total_bits();
        writeln!(f, "{:<34} {:>12} {:>7} {:>9}", "snapshots", "bytes", "share", "bits/row")?;
        let mut line = |name: &str, bits: u64, rows: u64| {
            let share = if all == 0 { 0.0 } else { bits as f64 * 100.0 / all as f64 };
            write!(f, "{name:<34} {:>12.1} {share:>6.1}%", bits as f64 / 8.0)?;
            if rows > 0 {
                write!(f, " {:>9.2}", bits as f64 / rows as f64)?;
            }
            writeln!(f)
        };
        for ty in self.types.iter().filter(|ty| ty.total_bits() > 0) {
            line(&ty.name, ty.total_bits(), ty.rows)?;
            for component in &ty.components {
                line(&format!("  {}", component.name), component.bits, ty.rows)?;
            }
            line("  before each row", ty.form_bits, ty.rows)?;
            line("  before each chunk", ty.chunk_bits, ty.rows)?;
            line("  models", ty.model_bits, ty.rows)?;
        }
        for (name, bits) in self.overheads().into_iter().filter(|(_, bits)| *bits > 0) {
            line(name, bits, 0)?;
        }
        line("all", all, 0)?;
        let (rows, absolute) =
            self.types.iter().fold((0, 0), |(rows, absolute), ty| (rows + ty.rows, absolute + ty.absolute_rows));
        write!(f, "{} packets, {rows} rows, of which {absolute} absolute", self.packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghostline_wire::ComponentSchema;

    fn schema(name: &str, components: &[&str]) -> GhostSchema {
        let component = |name: &&str| ComponentSchema { name: (*name).to_owned(), fields: Vec::new() };
        let components = components.iter().map(component).collect();
        GhostSchema { name: name.to_owned(), options: String::new(), components }
    }

    fn counted() -> SnapshotBits {
        let schemas = [schema("player", &["Position", "Health"]), schema("rock", &["Position"])];
        let mut bits = SnapshotBits::default();
        bits.name_types(schemas.iter());
        let player = &mut bits.types[0];
        (player.rows, player.absolute_rows, player.chunk_bits, player.model_bits, player.form_bits) =
            (10, 1, 20, 30, 15);
        (player.components[0].bits, player.components[1].bits) = (400, 15);
        (bits.packets, bits.header_bits, bits.padding_bits) = (2, 300, 20);
        bits
    }

    #[test]
    fn the_total_is_the_sum_of_all_parts() {
        let bits = counted();
        assert_eq!(bits.types[0].total_bits(), 480);
        assert_eq!(bits.total_bits(), 800);
        assert_eq!((bits.of("player", "Position"), bits.of("rock", "Position")), (Some(400), Some(0)));
        assert_eq!((bits.of("player", "Score"), bits.of("tree", "Position")), (None, None));
    }

    #[test]
    fn the_table_has_a_line_for_each_component_and_leaves_out_what_never_was() {
        let text = counted().to_string();
        let expected = [
            "snapshots                                 bytes   share  bits/row",
            "player                                     60.0   60.0%     48.00",
            "  Position                                 50.0   50.0%     40.00",
            "  Health                                    1.9    1.9%      1.50",
            "  before each row                           1.9    1.9%      1.50",
            "  before each chunk                         2.5    2.5%      2.00",
            "  models                                    3.8    3.8%      3.00",
            "headers                                    37.5   37.5%",
            "padding                                     2.5    2.5%",
            "all                                       100.0  100.0%",
            "2 packets, 10 rows, of which 1 absolute",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn counting_can_begin_anew_and_go_on_when_types_stay_the_same() {
        let mut bits = counted();
        bits.name_types([schema("player", &["Position", "Health"])].iter());
        assert_eq!((bits.types.len(), bits.of("player", "Position")), (1, Some(400)));
        bits.name_types([schema("player", &["Position", "Armour"])].iter());
        assert_eq!(bits.of("player", "Position"), Some(0), "another type of that name");
        let mut bits = counted();
        bits.clear();
        assert_eq!((bits.total_bits(), bits.packets, bits.types[0].rows), (0, 0, 0));
        assert_eq!(bits.of("player", "Health"), Some(0));
    }
}
