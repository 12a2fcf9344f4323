//! A row against a prediction, `docs/wire-format.md` section 5.6: what snapshots are mostly made of.
//! Both ends predict a row from rows that both surely hold (`base`); what is left over is coded (`coder`) with the parameters of a model
//! (`model`) that the server chose. The same bits go to all clients that share base and model.

mod base;
mod coder;
mod model;
mod rice;

pub use base::{BaseRows, ModelName, PredictionBase, Steps};
pub use coder::{RowCoder, RowForm};
pub use model::{CLASSES, FieldModel, Order, RowModel, SILENT};
