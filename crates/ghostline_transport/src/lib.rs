//! ghostline_transport
