//! RPCs: reliable one-off messages between a client and the server.
