//! The parts of a snapshot packet, `docs/wire-format.md` section 5: header, lists, chunks, and what stands before a row.
//! The server's encoder puts them together for each connection; the client's decoder takes them apart.
//! Rows stand between these parts, see `row.rs` and `predicted`; which ghosts and baselines is the callers' to know.

mod chunk;
mod ghost;
mod header;
mod lists;
mod mask;

pub use chunk::{BodyForm, ChunkCover, ChunkGap, ChunkStep};
pub use ghost::{GhostBody, read_ghost_body, write_ghost_body};
pub use header::{SnapshotClock, SnapshotHeader};
pub(crate) use header::{read_return_time, write_return_time};
pub(crate) use lists::check_ghost_id;
pub use lists::{DespawnEntry, DespawnReason, PrefabEntry, read_despawns, read_prefabs, write_despawns, write_prefabs};
pub use mask::{MOST_MASK_BITS, mask_bits, read_mask, write_mask};

/// Writes with one and reads with the other; everything that was written must be read, unless that is an error.
#[cfg(test)]
fn read_back<T>(
    write: impl FnOnce(&mut crate::BitWriter),
    read: impl FnOnce(&mut crate::BitReader<'_>) -> Result<T, crate::DecodeError>,
) -> Result<T, crate::DecodeError> {
    let mut out = crate::BitWriter::new();
    write(&mut out);
    let mut input = crate::BitReader::with_bits(out.as_bytes(), out.bit_len());
    let result = read(&mut input);
    assert!(result.is_err() || input.is_empty(), "everything was read");
    result
}
