//! `docs/attacks.md` names a test for each attack; here its claims are held to the source tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rows of all tables: attack, and the tests that it names.
fn rows() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("docs/attacks.md")).expect("the table");
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|---") && !line.starts_with("| Attack |");
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "three cells: {line}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
        let tests = cells[2].split(", ").map(|test| test.trim_matches('`').to_owned()).collect();
        (cells[0].to_owned(), tests)
    };
    text.lines().filter(is_row).map(row).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the tests in a source file: the functions under a `test` attribute.
fn tests_in(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if !(line == "#[test]" || line.starts_with("#[tokio::test")) {
            continue;
        }
        let signature = lines.find(|line| !line.starts_with("#[") && !line.starts_with("//")).unwrap_or_default();
        let name = signature.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
        found.extend(name.map(str::to_owned));
    }
    found
}

#[test]
fn every_test_that_the_table_names_exists() {
    let rows = rows();
    assert!(rows.len() > 50, "{} rows", rows.len());
    let mut missing = Vec::new();
    for (attack, tests) in rows {
        for test in tests {
            let found = test.split_once("::").is_some_and(|(file, name)| {
                fs::read_to_string(root().join(file)).is_ok_and(|source| tests_in(&source).contains(name))
            });
            if !found {
                missing.push(format!("{attack}: {test}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_attack_that_is_played_stands_in_the_table() {
    let named: BTreeSet<String> = rows().into_iter().flat_map(|(_, tests)| tests).collect();
    let folder = root().join("tests/attacks");
    let mut missing = Vec::new();
    for entry in fs::read_dir(folder).expect("the attacks").map(|entry| entry.expect("readable")) {
        let file = entry.file_name().into_string().expect("UTF-8");
        let source = fs::read_to_string(entry.path()).expect("readable");
        let tests = tests_in(&source).into_iter().map(|name| format!("tests/attacks/{file}::{name}"));
        missing.extend(tests.filter(|test| !named.contains(test)));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
