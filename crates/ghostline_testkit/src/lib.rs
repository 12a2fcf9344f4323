//! ghostline_testkit
