#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    sect_fuzz::tokens(input);
});
