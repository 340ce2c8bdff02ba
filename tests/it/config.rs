//! Settings: which layer wins, what is refused, and that nothing happens before all of them are checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::harness::{Server, binary, run, server_command, succeed};

/// Ends because a setting cannot be used.
const USAGE: i32 = 2;

/// `downlink-server` without any settings.
fn bare() -> Command {
    Command::new(binary("downlink-server"))
}

/// The settings that `--print-config` gives, by name.
fn printed(command: &mut Command) -> BTreeMap<String, String> {
    let text = succeed(command.arg("--print-config"));
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

fn file(dir: &Path, text: &str) -> std::path::PathBuf {
    let path = dir.join("downlink.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let defaults = printed(&mut bare());
    let values = |settings: &BTreeMap<String, String>| {
        let keys = ["batch_events_max", "read_batch_events", "page_entries", "data_dir", "listen"];
        keys.map(|key| settings[key].clone())
    };
    let standard = ["1000", "1000", "1000", "data", "127.0.0.1:50051"];
    assert_eq!(values(&defaults), standard);

    let text = "batch_events_max = 11\nread_batch_events = 12\npage_entries = 13\n\
        data_dir = \"from-file\"\nlisten = \"127.0.0.1:1\"\n";
    let path = file(dir.path(), text);
    let with_file = || {
        let mut command = bare();
        command.arg("--config").arg(&path);
        command
    };
    assert_eq!(values(&printed(&mut with_file())), ["11", "12", "13", "from-file", "127.0.0.1:1"]);

    let with_environment = || {
        let mut command = with_file();
        command.env("DOWNLINK_READ_BATCH_EVENTS", "22").env("DOWNLINK_PAGE_ENTRIES", "23");
        command.env("DOWNLINK_DATA_DIR", "from-env").env("DOWNLINK_LISTEN", "127.0.0.1:2");
        command
    };
    assert_eq!(values(&printed(&mut with_environment())), ["11", "22", "23", "from-env", "127.0.0.1:2"]);

    let mut command = with_environment();
    command.args(["--set", "page_entries=33", "--data-dir", "from-flag", "--listen", "127.0.0.1:3"]);
    assert_eq!(values(&printed(&mut command)), ["11", "22", "33", "from-flag", "127.0.0.1:3"]);

    let mut command = bare();
    command.env("DOWNLINK_CONFIG", &path);
    assert_eq!(printed(&mut command)["page_entries"], "13", "the file can be named by a variable too");
}

#[test]
fn what_is_printed_is_a_file_that_gives_the_same_settings() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        ["--set", "event_time_past_seconds_max=5", "--set", "log_filter=warn", "--data-dir", "a \"b\" \\"];
    let first = succeed(bare().args(settings).arg("--print-config"));
    let path = file(dir.path(), &first);
    let second = succeed(bare().arg("--config").arg(path).arg("--print-config"));
    assert_eq!(first, second);
    assert!(first.contains("\nevent_time_past_seconds_max = 5\n"), "{first}");
    let explained = first.lines().filter(|line| line.contains(" = ")).count();
    assert!(explained > 40 && first.lines().filter(|line| line.starts_with('#')).count() >= explained);
}

/// A server with these settings must refuse to start: exit code 2, this text, and no trace on the disk.
#[track_caller]
fn refused(mut command: Command, dir: &Path, expected: &[&str]) {
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(USAGE), "{command:?}: {said}");
    for text in expected {
        assert!(said.contains(text), "{command:?}: {text:?} is not in {said:?}");
    }
    assert!(output.stdout.is_empty(), "it did not listen");
    assert!(!dir.join("log").exists(), "{command:?}: nothing was created");
}

#[test]
fn a_setting_that_does_not_exist_or_does_not_fit_ends_the_server_with_2_before_anything_happens() {
    let dir = tempfile::tempdir().unwrap();
    let command = || server_command(&dir.path().join("log"));
    let with_file = |text: &str| {
        let mut command = command();
        command.arg("--config").arg(file(dir.path(), text));
        command
    };
    let with_variable = |name: &str, value: &str| {
        let mut command = command();
        command.env(name, value);
        command
    };
    let with_flags = |flags: &[&str]| {
        let mut command = command();
        command.args(flags);
        command
    };
    let refused = |command, expected: &[&str]| refused(command, dir.path(), expected);
    refused(with_file("bogus = 1"), &["bogus", "downlink.toml"]);
    refused(with_file("[server]\nlisten = \"127.0.0.1:0\""), &["server", "downlink.toml"]);
    refused(with_file("batch_events_max = 0"), &["batch_events_max", "downlink.toml", "100000"]);
    refused(with_file("batch_events_max = \"many\""), &["batch_events_max", "downlink.toml"]);
    refused(with_file("batch_events_max = "), &["downlink.toml"]);
    refused(with_variable("DOWNLINK_BATCH_EVENTS_MAX", "-1"), &["DOWNLINK_BATCH_EVENTS_MAX"]);
    refused(with_variable("DOWNLINK_LOG_FORMAT", "colourful"), &["DOWNLINK_LOG_FORMAT", "json"]);
    refused(with_variable("DOWNLINK_CONFIG", "/nowhere/at.all"), &["/nowhere/at.all"]);
    refused(with_flags(&["--set", "bogus=1"]), &["bogus"]);
    refused(with_flags(&["--set", "batch_events_max"]), &["KEY=VALUE"]);
    refused(with_flags(&["--set", "batch_bytes_max=8388608"]), &["batch_bytes_max", "message_bytes_max"]);
    refused(with_flags(&["--set", "log_filter=,,=,"]), &["log_filter"]);
    refused(with_flags(&["--no-such-flag"]), &["--no-such-flag"]);
    let mut command = bare();
    command.arg("--data-dir").arg(dir.path().join("log")).args(["--listen", "nowhere"]);
    refused(command, &["--listen"]);
}

#[test]
fn variables_of_other_programs_do_not_keep_the_server_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = server_command(dir.path());
    command.env("DOWNLINK_URL", "http://elsewhere").env("DOWNLINK_PORT", "tcp://10.0.0.1:50051");
    Server::spawn(command).unwrap();
}

#[test]
fn directory_and_address_can_come_from_the_environment_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bare();
    command.env("DOWNLINK_DATA_DIR", dir.path().join("log")).env("DOWNLINK_LISTEN", "127.0.0.1:0");
    let server = Server::spawn(command).unwrap();
    assert!(server.address().starts_with("127.0.0.1:"));
    assert!(dir.path().join("log").is_dir());
}

#[test]
fn a_port_in_use_is_named_and_is_no_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("one"));
    let mut command = bare();
    command.arg("--data-dir").arg(dir.path().join("two")).args(["--listen", server.address()]);
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(server.address()) && said.contains("--listen"), "{said}");
}

#[test]
fn a_directory_in_use_is_refused_with_its_holders_pid_and_free_again_when_it_dies() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Server::start(dir.path());
    let pid = holder.pid().to_string();
    let output = run(&mut server_command(dir.path()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&pid) && said.contains(&*dir.path().to_string_lossy()), "{pid}: {said}");
    holder.kill();
    Server::start(dir.path());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "not a directory").unwrap();
    let output = run(&mut server_command(&path));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&*path.to_string_lossy()), "{said}");
}
