//! How events travel, as an argument.

use clap::ValueEnum;
use downlink_client::Encoding;

/// How events travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EncodingWord {
    /// A message for each event.
    Rows,
    /// Packed arrays.
    Columns,
}

impl EncodingWord {
    /// The word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Columns => "columns",
        }
    }
}

impl From<EncodingWord> for Encoding {
    fn from(word: EncodingWord) -> Self {
        match word {
            EncodingWord::Rows => Self::Rows,
            EncodingWord::Columns => Self::Columns,
        }
    }
}
