//! Names and globs, as a list or, in a variable or a flag, with commas between them.

/// Some names and globs.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Written")]
pub struct Globs(pub Vec<String>);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Written {
    List(Vec<String>),
    Line(String),
}

impl From<Written> for Globs {
    fn from(written: Written) -> Self {
        match written {
            Written::List(globs) => Self(globs),
            Written::Line(line) => {
                let globs = line.split(',').map(str::trim).filter(|glob| !glob.is_empty());
                Self(globs.map(str::to_owned).collect())
            }
        }
    }
}
