//! Writes every parser's seeds to `corpus/<target>/`, where the fuzzer starts from.

use std::path::Path;

fn main() -> std::io::Result<()> {
    for parser in &sect_fuzz::PARSERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(parser.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in (parser.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
