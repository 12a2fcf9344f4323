//! What the derives say to code that they can't work with: no file in the folders beside this one compiles, with the
//! messages that stand next to it. Run with `TRYBUILD=overwrite` to write those anew, then read what changed.

/// Errors that the derives make themselves.
#[test]
fn misuse_is_told_what_why_and_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}

/// Errors that the compiler makes from what the derives write. It lists the types that would do, and names `Quat` by the
/// module that is chosen for the target's vector unit; the messages written down are those of one target.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[test]
fn a_type_that_can_not_be_sent_is_told_once_with_those_that_can() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail_types/*.rs");
}
