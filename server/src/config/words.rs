//! Settings that are one of a few words.

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogOutput {
    /// Standard output, where the line is that scripts wait for.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// What the values of the mirror's messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorValues {
    /// Protobuf messages `downlink.v1.Event`.
    Protobuf,
    /// The same as JSON.
    Json,
}

/// What the server feeds its log with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Feed {
    /// Nothing: others append.
    None,
    /// The live telemetry of the International Space Station.
    Iss,
    /// That of a simulated station.
    Demo,
}
