//! Layers the settings: defaults, the TOML file, the environment, the flags.

use std::ffi::OsString;
use std::path::PathBuf;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use super::{Config, SETTINGS};

const PREFIX: &str = "DOWNLINK_";
/// Variables that begin so are settings of the mirror's Kafka client; they may be secrets, and are not printed.
pub const MIRROR_VARIABLES: &str = "DOWNLINK_MIRROR_CLIENT_";
/// The same for the client of a replica.
pub const FOLLOW_VARIABLES: &str = "DOWNLINK_FOLLOW_CLIENT_";

/// A setting that cannot be used, in one sentence: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {error}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// There is no such setting.
    #[error("unknown setting `{key}` in {place}: remove it, or see --print-config for the names there are")]
    Unknown {
        /// The name.
        key: String,
        /// Where it stands.
        place: String,
    },
    /// The value does not fit.
    #[error("setting `{key}` in {place}: {problem}")]
    Value {
        /// The name.
        key: String,
        /// Where it stands.
        place: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The file is no TOML.
    #[error("{place} cannot be understood: {problem}")]
    Syntax {
        /// Where.
        place: String,
        /// What the parser says.
        problem: String,
    },
}

/// What comes from outside, beside the defaults.
#[derive(Debug, Default)]
pub struct Overrides {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment: names and values, others than `DOWNLINK_*` included.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags: the name of the setting and its value.
    pub flags: Vec<(String, String)>,
}

/// The settings in force, checked, and the `DOWNLINK_*` variables that mean nothing to the server.
///
/// # Errors
/// The first setting that cannot be used.
pub fn load(overrides: Overrides) -> Result<(Config, Vec<String>), Error> {
    let mut figment = Figment::from(Serialized::defaults(Config::standard()));
    if let Some(path) = overrides.file {
        // Read here as well, because figment does not say why a file cannot be read.
        std::fs::read_to_string(&path).map_err(|error| Error::File { path: path.clone(), error })?;
        figment = figment.merge(Toml::file_exact(path));
    }
    let (environment, strangers) = environment_layer(overrides.environment);
    let flags = Layer { place: "the flags".to_owned(), pairs: overrides.flags };
    figment = figment.merge(environment).merge(flags);

    let config: Config = figment.extract().map_err(|error| explain(&figment, error))?;
    config.check().map_err(|(key, problem)| Error::Value {
        key: key.to_owned(),
        place: place(&figment, key),
        problem,
    })?;
    Ok((config, strangers))
}

/// The variables that are settings, and the names of the others that look like ours. Those are not errors:
/// `DOWNLINK_URL` is the client's, and Kubernetes makes up `DOWNLINK_PORT` for a service of that name.
fn environment_layer(environment: Vec<(OsString, OsString)>) -> (Layer, Vec<String>) {
    let mut layer = Layer { place: "the environment".to_owned(), pairs: Vec::new() };
    let mut strangers = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let key = key.to_ascii_lowercase();
        if SETTINGS.iter().any(|setting| setting.key == key) {
            layer.pairs.push((key, value.to_string_lossy().into_owned()));
        } else if key != "config"
            && ![MIRROR_VARIABLES, FOLLOW_VARIABLES].iter().any(|ours| name.starts_with(ours))
        {
            strangers.push(name);
        }
    }
    (layer, strangers)
}

/// Names and values as people typed them.
struct Layer {
    place: String,
    pairs: Vec<(String, String)>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (key, raw) in &self.pairs {
            let is_number = SETTINGS.iter().any(|setting| setting.key == key && setting.range.is_some());
            // A directory may be called "1"; only what is a number is read as one. Empty means unset.
            let value = match raw.trim() {
                "" if is_number => Value::serialize(None::<u64>)?,
                number if is_number => number.parse().unwrap_or_else(|never| match never {}),
                _ => Value::from(raw.clone()),
            };
            dict.insert(key.clone(), value);
        }
        Ok(Profile::Default.collect(dict))
    }
}

/// Where the value of `key` comes from.
fn place(figment: &Figment, key: &str) -> String {
    figment.find_metadata(key).map_or_else(|| "the defaults".to_owned(), |found| describe(found, key))
}

fn describe(metadata: &Metadata, key: &str) -> String {
    match (&metadata.source, &*metadata.name) {
        (Some(Source::File(path)), _) => path.display().to_string(),
        (None, "the environment") => format!("the environment ({PREFIX}{})", key.to_ascii_uppercase()),
        (_, "the flags") if matches!(key, "listen" | "http_listen" | "data_dir" | "log_format") => {
            format!("the flags (--{})", key.replace('_', "-"))
        }
        (_, "the flags") => "the flags (--set)".to_owned(),
        (_, name) => name.to_owned(),
    }
}

fn explain(figment: &Figment, error: figment::Error) -> Error {
    use figment::error::Kind;

    let key = error.path.join(".");
    let source = error.metadata.clone();
    let place = |key: &str| source.as_ref().map_or_else(|| place(figment, key), |found| describe(found, key));
    if let Kind::UnknownField(key, _) = error.kind {
        return Error::Unknown { place: place(&key), key };
    }
    let given = figment.find_value("listen").ok().filter(|_| key == "listen");
    let problem = match given.as_ref().and_then(Value::as_str) {
        Some(given) => format!("'{given}' is not an address and a port; write it like 127.0.0.1:50051"),
        None => error.kind.to_string(),
    };
    // Syntax errors have no key.
    if key.is_empty() {
        let problem = problem.split_whitespace().collect::<Vec<_>>().join(" ");
        return Error::Syntax { place: place(&key), problem };
    }
    Error::Value { place: place(&key), key, problem }
}
