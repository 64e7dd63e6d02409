//! The README's first command.

use std::process::Command;

#[test]
fn the_demo_plays_to_its_end() {
    let output = Command::new(env!("CARGO_BIN_EXE_sect")).arg("demo").output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "STEP 1 ",
        "STEP 2-8",
        "STEP 10, 11",
        "STEP 12, 13",
        "STEP 8, 9",
        "STEP 14, 15",
        "ATTACK",
        "OUTAGE",
        "All 27 checks held",
    ] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
}
