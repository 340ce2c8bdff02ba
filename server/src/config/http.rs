//! Where HTTP is served, or that it is not.

use std::fmt;
use std::net::SocketAddr;

/// An address, or "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HttpListen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl TryFrom<String> for HttpListen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim() {
            "off" => Ok(Self::Off),
            address => address.parse().map(Self::At).map_err(|_| {
                format!("'{text}' is not an address and a port; write it like 127.0.0.1:9464, or \"off\"")
            }),
        }
    }
}

impl From<HttpListen> for String {
    fn from(listen: HttpListen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for HttpListen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => formatter.write_str("off"),
            Self::At(address) => address.fmt(formatter),
        }
    }
}
