//! The manual pages name every command and every setting of the daemon and of the cloud server, and nothing that they
//! lack.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;
use sect::cloud;
use sect::thing::args::Args;
use sect::thing::config::Config;

/// A page as it reads: without fonts, macros and escapes.
fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man").join(name);
    let text = std::fs::read_to_string(path).expect("the page is there");
    text.replace("\\-", "-").replace("\\fI", "").replace("\\fR", "").replace("\\(dq", "'")
}

/// What stands between one heading and the next.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("\n.SH {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let body = &page[start + 1..];
    &body[..body.find("\n.SH ").unwrap_or(body.len())]
}

/// The names that a page puts at the head of its entries.
fn entries(section: &str) -> BTreeSet<String> {
    let lines: Vec<_> = section.lines().collect();
    let heads = lines.windows(2).filter(|pair| pair[0] == ".TP").map(|pair| pair[1]);
    heads.flat_map(names).collect()
}

/// The words in bold of a heading that are names: every other argument of `.BR`, without what stands for a value.
fn names(head: &str) -> Vec<String> {
    // Between quotes the arguments are one each; outside of them, one a word.
    let arguments = head.split('"').enumerate().flat_map(|(place, part)| match place % 2 {
        0 => part.split_whitespace().collect(),
        _ => vec![part],
    });
    let bold = arguments.skip(1).step_by(2);
    bold.filter(|word| word.starts_with(|first: char| first.is_ascii_lowercase())).map(str::to_owned).collect()
}

/// The keys of a table of the daemon's settings.
fn keys(table: &str) -> BTreeSet<String> {
    let header = if table.is_empty() { String::new() } else { format!("{table}\n") };
    let error = Config::parse(Path::new("x"), &format!("{header}no-such-key = 1\n")).expect_err("no such key");
    expected(&error.to_string())
}

/// What a parser says that it expected instead.
fn expected(message: &str) -> BTreeSet<String> {
    let expected = message.split_once(", expected ").expect("it says what it knows").1;
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_command_and_option_is_in_the_manual() {
    let page = page("sectd.8");
    let command = Args::command();
    let known: BTreeSet<_> =
        command.get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned()).collect();
    let mut told = entries(section(&page, "COMMANDS"));
    assert!(told.remove("help"), "clap has it without being asked");
    assert_eq!(told, known);
    for argument in command.get_subcommands().chain([&command]).flat_map(clap::Command::get_arguments) {
        if let Some(long) = argument.get_long() {
            assert!(page.contains(&format!("--{long}")), "--{long}");
        }
    }
}

#[test]
fn every_setting_is_in_the_manual_and_no_other() {
    let page = page("sectd.toml.5");
    let (mut tables, mut top) = (Vec::new(), BTreeSet::new());
    for key in keys("") {
        let as_table = Config::parse(Path::new("x"), &format!("[{key}]\nno-such-key = 1\n")).expect_err("unknown");
        let as_list = Config::parse(Path::new("x"), &format!("[[{key}]]\nno-such-key = 1\n")).expect_err("unknown");
        if as_table.to_string().contains("unknown field") {
            tables.push(format!("[{key}]"));
        } else if as_list.to_string().contains("unknown field") {
            tables.push(format!("[[{key}]]"));
        } else {
            top.insert(key);
        }
    }
    assert!(tables.len() > 8 && top.len() == 2, "{tables:?} {top:?}");
    assert_eq!(entries(section(&page, "TOP LEVEL")), top);
    for table in tables {
        assert_eq!(entries(section(&page, &table)), keys(&table), "{table}");
    }
}

#[test]
fn every_command_and_option_of_the_cloud_server_is_in_its_manual() {
    let page = page("sect-cloud.8");
    let command = cloud::args::Args::command();
    let mut known = BTreeSet::new();
    for one in command.get_subcommands() {
        match one.get_name() {
            "provision" => known.extend(one.get_subcommands().map(|made| format!("provision {}", made.get_name()))),
            name => _ = known.insert(name.to_owned()),
        }
        let below = one.get_subcommands().flat_map(clap::Command::get_arguments);
        for argument in one.get_arguments().chain(below).chain(command.get_arguments()) {
            if let Some(long) = argument.get_long() {
                assert!(page.contains(&format!("--{long}")), "--{long}");
            }
        }
    }
    let told = entries(section(&page, "COMMANDS"));
    let mut told: BTreeSet<_> =
        told.iter().map(|head| head.split(" --").next().unwrap_or_default().trim().to_owned()).collect();
    assert!(told.remove("help"), "clap has it without being asked");
    assert_eq!(told, known);
}

#[test]
fn the_settings_that_the_cloud_servers_package_ships_are_its_defaults_and_all_of_them() {
    let shipped = include_str!("../provisioning/deb/sect-cloud/sect-cloud.toml");
    let parse = |text: &str| cloud::config::Config::parse(Path::new("x"), text);
    // Where a default is told, there is a line `# key = value`.
    let told = |line: &str| {
        let key = line.strip_prefix("# ")?.split_once(" = ")?.0;
        key.chars().all(|c| c.is_ascii_lowercase() || c == '-').then(|| line[2..].to_owned())
    };
    let text: Vec<_> = shipped.lines().map(|line| told(line).unwrap_or_else(|| line.to_owned())).collect();
    // Of the key the service has a copy.
    let mut service = cloud::config::Config::default();
    service.server.private_key = "/run/credentials/sect-cloud.service/server.key".into();
    assert_eq!(parse(shipped).expect("as it is shipped"), service);
    assert_eq!(parse(&text.join("\n")).expect("with all that it tells"), service);

    let mut table = String::new();
    let mut written = BTreeSet::new();
    for line in text.iter().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.split_once(" = ") {
            Some((key, _)) => assert!(written.insert(format!("{table}{key}")), "twice: {line}"),
            None => table = line.clone(),
        }
    }
    let mut known = BTreeSet::new();
    for key in expected(&parse("no-such-key = 1").expect_err("no such key").to_string()) {
        match parse(&format!("[{key}]\nno-such-key = 1")).expect_err("unknown").to_string() {
            unknown if unknown.contains("unknown field") => {
                known.extend(expected(&unknown).iter().map(|below| format!("[{key}]{below}")));
            }
            _ => _ = known.insert(key),
        }
    }
    assert_eq!(written, known);
}
