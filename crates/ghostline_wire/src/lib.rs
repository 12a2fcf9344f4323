//! ghostline_wire
