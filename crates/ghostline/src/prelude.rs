//! What a game imports.

pub use crate::command::{CommandAppExt, CommandBuffer, InputEvent};
pub use crate::connection::{
    CommandTarget, ConnectionApproved, ConnectionChanged, ConnectionError, ConnectionEvents, ConnectionState,
    ConnectionStatus, ConnectionUniqueId, ConnectionWorldExt, DisconnectReason, DisconnectText, InGameAppExt,
    LinkedEntityGroup, ListenRequestState, LocalConnection, NetworkId, NetworkStreamConnection, NetworkStreamDriver,
    NetworkStreamInGame, NetworkStreamIsReconnected, NetworkStreamRequestConnect, NetworkStreamRequestDisconnect,
    NetworkStreamRequestListen, NetworkStreamRequestListenResult, ResumeToken,
};
pub use crate::ghost::{
    AutoCommandTarget, GhostAppExt, GhostInstance, GhostMode, GhostOptimizationMode, GhostOwner, GhostOwnerIsLocal,
    GhostPrefab, SpawnGhostExt,
};
pub use crate::prediction::{
    ErrorSmoothing, PredictedGhost, PredictionAppExt, PredictionSettings, RollbackGroup, Simulate, Smoothed,
    SmoothingAppExt, first_time_predicted,
};
pub use crate::rpc::{
    GhostRef, MaxRpcAgeFrames, ReceiveRpcCommandRequest, RpcAppExt, RpcCollection, RpcSender, SendRpcCommandRequest,
    SendRpcError,
};
pub use crate::schedule::{
    AfterNetworkReceive, BeforeNetworkReceive, GhostInput, Initialization, LateSimulation,
    PredictedFixedStepSimulation, PredictedSimulation, Presentation, Simulation,
};
pub use crate::snapshot::{GhostCount, GhostSendSystemData, NetworkStreamSnapshotTargetSize};
pub use crate::time::{ClientServerTickRate, ClientTickRate, NetworkTime, UnscaledClientTime};
pub use crate::wire::NetworkTick;
pub use crate::world::{
    AddSystemsIn, ClientServerBootstrap, Initialized, MigrationAppExt, PlayType, WorldCommands, WorldFlags, WorldId,
    WorldKind, WorldOrder, Worlds, is_client, is_server, is_thin_client,
};
pub use crate::{ApprovalRpcCommand, CommandData, FixedString, GhostComponent, InputComponentData, RpcCommand};
