//! What a game imports.

pub use crate::command::{CommandAppExt, CommandBuffer, InputEvent};
pub use crate::connection::{
    CommandTarget, ConnectionEvents, ConnectionStatus, ConnectionWorldExt, DisconnectReason, InGameAppExt,
    LocalConnection, NetworkId, NetworkStreamConnection, NetworkStreamDriver, NetworkStreamInGame,
    NetworkStreamRequestDisconnect,
};
pub use crate::ghost::{
    AutoCommandTarget, GhostAppExt, GhostInstance, GhostMode, GhostOwner, GhostOwnerIsLocal, GhostPrefab, SpawnGhostExt,
};
pub use crate::prediction::{PredictedGhost, PredictionAppExt, PredictionSettings, Simulate, first_time_predicted};
pub use crate::rpc::{ReceiveRpcCommandRequest, RpcAppExt, SendRpcCommandRequest};
pub use crate::schedule::{
    AfterNetworkReceive, BeforeNetworkReceive, GhostInput, Initialization, LateSimulation,
    PredictedFixedStepSimulation, PredictedSimulation, Presentation, Simulation,
};
pub use crate::snapshot::{GhostCount, NetworkStreamSnapshotTargetSize};
pub use crate::time::{ClientServerTickRate, ClientTickRate, NetworkTime, UnscaledClientTime};
pub use crate::wire::NetworkTick;
pub use crate::world::{
    AddSystemsIn, ClientServerBootstrap, PlayType, WorldFlags, WorldKind, WorldOrder, Worlds, is_client, is_server,
    is_thin_client,
};
pub use crate::{CommandData, GhostComponent, InputComponentData, RpcCommand};
