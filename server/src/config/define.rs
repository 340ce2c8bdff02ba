//! The macro that makes a struct, its defaults and a table of names and sentences out of one list.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Feed, Globs, HttpListen, LogFormat, LogOutput, MirrorValues};

/// A value as the table sees it.
pub(super) trait Text {
    /// Its number, if it is one.
    fn number(&self) -> Option<u64>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Text for $number {
            fn number(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )*};
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl Text for $word {
            fn number(&self) -> Option<u64> {
                None
            }
        }
    )*};
}

numbers!(u8, u32, u64, usize);
words!(SocketAddr, Feed, Globs, HttpListen, PathBuf, String, LogFormat, LogOutput, MirrorValues);

impl Text for Option<u64> {
    fn number(&self) -> Option<u64> {
        *self
    }
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $key:ident: $kind:ty = $default:expr $(, $range:expr)?;)+) => {
        /// Every setting, as it is in force.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $key: $kind,)+
        }

        /// Every setting, in the order in which they are printed.
        pub const SETTINGS: &[Setting] = &[
            $(Setting {
                key: stringify!($key),
                doc: &[$($doc),+],
                range: settings!(@range $($range)?),
            },)+
        ];

        impl Config {
            /// The documented defaults.
            #[must_use]
            pub fn standard() -> Self {
                Self { $($key: $default,)+ }
            }

            fn check_ranges(&self) -> Result<(), (&'static str, String)> {
                let numbers = [$((stringify!($key), self.$key.number()),)+];
                for ((key, number), setting) in numbers.into_iter().zip(SETTINGS) {
                    if let (Some(number), Some(range)) = (number, &setting.range)
                        && !range.contains(&number)
                    {
                        let (least, most) = (range.start(), range.end());
                        return Err((key, format!("{number} is out of bounds: choose {least} to {most}")));
                    }
                }
                Ok(())
            }
        }
    };
    (@range) => { None };
    (@range $range:expr) => { Some($range) };
}

pub(super) use settings;
