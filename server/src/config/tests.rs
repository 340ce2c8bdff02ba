//! Layers, bounds and messages.

use super::*;

fn with(file: Option<&str>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = file.map(|text| {
        let path = dir.path().join("downlink.toml");
        std::fs::write(&path, text).unwrap();
        path
    });
    let overrides = Overrides {
        file: path,
        environment: environment.iter().map(|(key, value)| (key.into(), value.into())).collect(),
        flags: flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    load(overrides).map(|(config, _)| config).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_within_their_own_bounds() {
    assert_eq!(with(None, &[], &[]), Ok(Config::standard()));
}

#[test]
fn later_layers_win() {
    let file = "batch_events_max = 10\nbatch_bytes_max = 2000\nread_batch_events = 7\n";
    let environment = [("DOWNLINK_BATCH_BYTES_MAX", "3000"), ("DOWNLINK_READ_BATCH_EVENTS", "8")];
    let config = with(Some(file), &environment, &[("read_batch_events", "9")]).unwrap();
    assert_eq!((config.batch_events_max, config.batch_bytes_max, config.read_batch_events), (10, 3000, 9));
}

#[test]
fn what_is_printed_can_be_read_again() {
    let mut config = Config::standard();
    config.data_dir = PathBuf::from("a \"quoted\" \\ directory");
    config.event_time_past_seconds_max = Some(5);
    config.metrics_signals = Globs(vec!["a/*".to_owned(), "b\"".to_owned()]);
    assert_eq!(with(Some(&print(&config)), &[], &[]), Ok(config));
}

#[test]
fn a_directory_named_like_a_number_is_a_directory() {
    let config = with(None, &[("DOWNLINK_DATA_DIR", "17")], &[]).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("17"));
}

#[test]
fn globs_are_a_list_or_have_commas_between_them() {
    let both = Globs(vec!["a/*".to_owned(), "b".to_owned()]);
    let file = with(Some("metrics_signals = [\"a/*\", \"b\"]"), &[], &[]).unwrap();
    let flag = with(None, &[], &[("metrics_signals", "a/*, b")]).unwrap();
    assert_eq!((file.metrics_signals, flag.metrics_signals), (both.clone(), both));
}

#[test]
fn wrong_settings_are_named_with_their_place() {
    let cases = [
        (with(Some("bogus = 1"), &[], &[]), "unknown setting `bogus` in"),
        (with(Some("listen = 5"), &[], &[]), "setting `listen` in"),
        (with(None, &[], &[("listen", "foo")]), "'foo' is not an address and a port"),
        (with(Some("listen = "), &[], &[]), "cannot be understood"),
        (
            with(Some("batch_events_max = 0"), &[], &[]),
            "downlink.toml: 0 is out of bounds: choose 1 to 100000",
        ),
        (
            with(None, &[("DOWNLINK_LISTEN", "nowhere")], &[]),
            "the environment (DOWNLINK_LISTEN): 'nowhere' is not",
        ),
        (with(None, &[("DOWNLINK_BATCH_EVENTS_MAX", "-1")], &[]), "(DOWNLINK_BATCH_EVENTS_MAX)"),
        (with(None, &[], &[("bogus", "1")]), "unknown setting `bogus` in the flags"),
        (with(None, &[], &[("read_batch_events_max", "5")]), "`read_batch_events`"),
        (with(None, &[], &[("commit_events_max", "1048000")]), "lower one of the two"),
        (with(None, &[], &[("disk_reserve_bytes", "16777215")]), "choose 16777216 to"),
    ];
    for (result, expected) in cases {
        let message = result.unwrap_err();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }
}

#[test]
fn other_variables_that_look_like_ours_are_listed_and_ignored() {
    let environment = vec![("DOWNLINK_URL".into(), "x".into()), ("OTHER".into(), "y".into())];
    let (config, strangers) = load(Overrides { environment, ..Overrides::default() }).unwrap();
    assert_eq!((config, strangers), (Config::standard(), vec!["DOWNLINK_URL".to_owned()]));
}
