//! What the derives say to code that they can't work with. Each file in `compile_fail` must not compile, with the
//! messages beside it. Run with `TRYBUILD=overwrite` to write these anew, and read what changed.

#[test]
fn misuse_is_told_what_why_and_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
