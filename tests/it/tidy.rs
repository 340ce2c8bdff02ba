//! Rules of the architecture that can be read off the sources.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::root;

/// The longest file, in lines.
const LINES_MAX: usize = 400;

/// Every file below `dir` whose name ends so, by its path from the root; what is made by tools is left out.
fn files(dir: &str, ends: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    visit(&root().join(dir), &mut found);
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ends.iter().any(|end| name.ends_with(end))
    };
    found.retain(wanted);
    assert!(!found.is_empty(), "nothing in {dir}");
    found.into_iter().map(read).collect()
}

fn visit(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        if path.is_symlink() || name == "target" || name == ".git" || name == "node_modules" {
            continue;
        }
        if path.is_dir() { visit(&path, found) } else { found.push(path) }
    }
}

fn read(path: PathBuf) -> (String, String) {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text)
}

/// The lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Whether a line names a crate: as a word of its own, followed by a path or the end of a `use`.
fn names_crate(line: &str, name: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(name).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + name.len()..]);
        let used = before.trim_end() == "use" || before.trim_end().ends_with(" use");
        !before.ends_with(is_word)
            && !before.ends_with("crate::engine::")
            && (after.starts_with("::") || (used && after.starts_with([';', ' '])))
    })
}

/// Asserts that only files in `allowed` name one of these crates.
fn only_in(dir: &str, crates: &[&str], allowed: &[&str]) {
    let mut seen = false;
    for (path, text) in files(dir, &[".rs"]) {
        let offence = code(&text).find(|line| crates.iter().any(|name| names_crate(line, name)));
        let is_allowed = allowed.iter().any(|prefix| path.starts_with(prefix));
        seen |= is_allowed && offence.is_some();
        assert!(
            is_allowed || offence.is_none(),
            "{path} must not name {crates:?}: {}",
            offence.unwrap_or_default()
        );
    }
    assert!(seen || allowed.is_empty(), "{crates:?}: the rule finds not even what is allowed");
}

/// The dependencies of a package, tests and builds included.
fn dependencies(manifest: &str) -> Vec<String> {
    let (_, text) = read(root().join(manifest));
    let mut inside = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            names.push(name.to_owned());
        }
    }
    assert!(!names.is_empty(), "{manifest} has no dependencies");
    names
}

#[test]
fn only_the_engine_of_the_storage_names_sled() {
    only_in("storage/src", &["sled"], &["storage/src/engine/"]);
    only_in("server/src", &["sled"], &[]);
    only_in("client/src", &["sled"], &[]);
    for manifest in ["server/Cargo.toml", "client/Cargo.toml"] {
        assert!(!dependencies(manifest).contains(&"sled".to_owned()), "{manifest}");
    }
}

#[test]
fn only_the_traces_of_server_and_client_name_opentelemetry() {
    only_in("server/src", &["opentelemetry"], &["server/src/observability/"]);
    only_in("storage/src", &["opentelemetry"], &[]);
    let client = ["client/src/lib.rs", "client/src/trace.rs", "client/src/command/trace.rs"];
    only_in("client/src", &["opentelemetry"], &client);
}

#[test]
fn only_the_room_of_kafka_names_rdkafka() {
    only_in("server/src", &["rdkafka"], &["server/src/kafka.rs", "server/src/kafka/"]);
    only_in("storage/src", &["rdkafka"], &[]);
    only_in("client/src", &["rdkafka"], &[]);
}

#[test]
fn only_the_schema_registry_of_the_mirror_speaks_http_by_itself() {
    only_in("server/src", &["ureq"], &["server/src/mirror/registry.rs"]);
}

#[test]
fn only_the_live_source_of_the_feed_names_lightstreamer() {
    only_in("client/src", &["lightstreamer_rs"], &["client/src/iss/live.rs"]);
    only_in("server/src", &["lightstreamer_rs"], &[]);
}

#[test]
fn only_the_servers_program_knows_the_client() {
    only_in("server/src", &["downlink_client"], &["server/src/main/", "server/src/tests"]);
    only_in("storage/src", &["downlink_client"], &[]);
}

#[test]
fn only_the_grpc_door_of_the_server_its_events_on_the_wire_and_the_client_know_the_wire() {
    let wire = [
        "tonic",
        "tonic_types",
        "tonic_health",
        "tonic_reflection",
        "tonic_prost",
        "downlink_proto",
        "prost",
    ];
    only_in(
        "server/src",
        &wire,
        &[
            "server/src/grpc.rs",
            "server/src/grpc/",
            "server/src/wire.rs",
            "server/src/wire/",
            "server/src/tests.rs",
            "server/src/tests/",
        ],
    );
    only_in("storage/src", &wire, &[]);
}

#[test]
fn the_rooms_of_kafka_know_neither_the_grpc_side_nor_each_other() {
    let rooms = [
        ("server/src/kafka", ["crate::grpc", "crate::mirror", "crate::replica"]),
        ("server/src/mirror", ["crate::grpc", "crate::replica", "super::grpc"]),
        ("server/src/replica", ["crate::grpc", "crate::mirror", "super::mirror"]),
        ("server/src/wire", ["crate::grpc", "crate::mirror", "crate::replica"]),
    ];
    let sources = files("server/src", &[".rs"]);
    for (room, others) in rooms {
        let is_inside = |path: &str| path == format!("{room}.rs") || path.starts_with(&format!("{room}/"));
        let inside: Vec<_> = sources.iter().filter(|(path, _)| is_inside(path)).collect();
        assert!(inside.len() > 3, "{room} is a room");
        for (path, text) in inside {
            let offence = code(text).find(|line| others.iter().any(|other| line.contains(other)));
            assert!(offence.is_none(), "{path} must not know the others: {}", offence.unwrap_or_default());
        }
    }
}

#[test]
fn the_storage_knows_neither_the_wire_nor_a_runtime_and_the_client_knows_only_the_wire() {
    for name in dependencies("storage/Cargo.toml") {
        assert!(
            !["tokio", "tonic", "prost", "downlink-proto"].contains(&&*name),
            "storage depends on {name}"
        );
    }
    for name in dependencies("client/Cargo.toml") {
        assert!(!["downlink-storage", "downlink-server"].contains(&&*name), "client depends on {name}");
    }
}

#[test]
fn no_source_file_is_longer_than_400_lines_and_each_says_first_what_it_is_for() {
    let sources = ["server", "client", "storage", "tests", "proto"].map(|dir| files(dir, &[".rs"]));
    let build = [read(root().join("build.rs"))];
    let python: Vec<_> =
        files("client/python", &[".py"]).into_iter().filter(|(path, _)| !path.contains("/v1/")).collect();
    let mut offences = Vec::new();
    for (path, text) in sources.iter().flatten().chain(&build).chain(&python) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            offences.push(format!("{path} has {lines} lines"));
        }
        if !text.starts_with("//! ") && !text.starts_with("\"\"\"") {
            offences.push(format!("{path} does not begin with what it is for"));
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    // Put together, so that this file does not name them either.
    let homes = ["home", "root", "Users", "work"].map(|dir| format!("/{dir}/"));
    let ends = [".rs", ".toml", ".md", ".proto", ".sh", ".py", ".yaml", ".yml", ".env", "run", "peers"];
    let mut offences = Vec::new();
    for (path, text) in files(".", &ends) {
        for (number, line) in (1..).zip(text.lines()) {
            if homes.iter().any(|home| names_path(line, home)) {
                offences.push(format!("{path}:{number}: {line}"));
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

/// Whether the path begins here, and is not a part of a longer one such as "https://host/root/".
fn names_path(line: &str, home: &str) -> bool {
    let joins =
        |character: char| character.is_alphanumeric() || ['.', '-', '_', '}', '/', '~'].contains(&character);
    line.match_indices(home).any(|(start, _)| !line[..start].ends_with(joins))
}

#[test]
fn the_rules_notice_what_they_forbid() {
    for line in ["use sled::Db;", "let db = sled::open(path)?;", "pub use sled;", "    use sled as store;"] {
        assert!(names_crate(line, "sled"), "{line}");
    }
    for line in
        ["mod sled;", "let unsledded = 1;", "use crate::engine::sled::SledEngine;", "\"sled is here\""]
    {
        assert!(!names_crate(line, "sled"), "{line}");
    }
    assert!(names_path("let path = \"/h/x\";", "/h/") && !names_path("https://host/h/x", "/h/"));
}
