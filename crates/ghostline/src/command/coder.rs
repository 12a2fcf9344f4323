//! How the commands of a buffer become a block of a packet, and come back: as rows of lanes, or in bits that the type brings itself. A client writes
//! (`write`), a server reads (`read`).

#[cfg(feature = "server")]
mod read;
#[cfg(feature = "client")]
mod write;

#[cfg(feature = "server")]
use ghostline_wire::DecodedBlock;
use ghostline_wire::RowLayout;
use std::marker::PhantomData;

use super::data::{CommandData, CommandValue};

#[cfg(feature = "server")]
pub(super) use read::CommandReader;
#[cfg(feature = "client")]
pub(super) use write::CommandWriter;
#[cfg(feature = "client")]
use write::{Entries, WrittenRows};

/// Writes and reads the commands of a type, as far as the build's sides do.
pub(super) trait CommandCoder<T: CommandValue>:
    CommandWriter<T> + CommandReader<T> + Send + Sync + 'static
{
}

impl<T: CommandValue, C: CommandWriter<T> + CommandReader<T> + Send + Sync + 'static> CommandCoder<T> for C {}

/// No client, nothing to write.
#[cfg(not(feature = "client"))]
pub(super) trait CommandWriter<T> {}
#[cfg(not(feature = "client"))]
impl<T, C> CommandWriter<T> for C {}

/// No server, nothing to read.
#[cfg(not(feature = "server"))]
pub(super) trait CommandReader<T> {}
#[cfg(not(feature = "server"))]
impl<T, C> CommandReader<T> for C {}

/// Commands as rows.
pub(super) struct RowCoder {
    layout: RowLayout,
    #[cfg(feature = "client")]
    written: WrittenRows,
    #[cfg(feature = "server")]
    block: DecodedBlock,
}

impl RowCoder {
    pub(super) fn of<T: CommandData>() -> Self {
        let layout = RowLayout::new(&[T::schema()]);
        Self {
            layout,
            #[cfg(feature = "client")]
            written: WrittenRows::default(),
            #[cfg(feature = "server")]
            block: DecodedBlock::default(),
        }
    }
}

/// Commands in their own bits.
pub(super) struct OwnCoder<T> {
    #[cfg(feature = "client")]
    entries: Entries<T>,
    value: PhantomData<fn() -> T>,
}

impl<T> Default for OwnCoder<T> {
    fn default() -> Self {
        Self {
            #[cfg(feature = "client")]
            entries: Entries::default(),
            value: PhantomData,
        }
    }
}
