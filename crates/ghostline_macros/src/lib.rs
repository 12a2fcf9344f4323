//! ghostline_macros
