//! What a replica keeps beside its log: whose copy the directory is, and from where in the topic it goes on.
//!
//! It cannot be in the log, which has no events but the primary's. Who loses it reads the topic from its beginning.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use downlink_storage::{Beginning, Offset};
use serde::{Deserialize, Serialize};

/// Its file, beside the log's.
pub(super) const FILE: &str = "REPLICA";
/// What it is written to before it takes the place of the one before.
pub(super) const NEW_FILE: &str = "REPLICA.new";

/// The version of what is written.
const VERSION: u32 = 1;

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(default = "first_version")]
    version: u32,
    log_id: String,
    /// Where the log begins.
    first_offset: u64,
    /// The topic that these positions are of.
    pub(super) topic: String,
    /// For each partition, the position at or behind which it has everything from `next_offset` on.
    pub(super) positions: Vec<i64>,
    /// What the log had come to then, at least.
    pub(super) next_offset: u64,
}

impl Kept {
    /// For a log that goes on at `next_offset`, with these positions of a topic.
    pub(super) fn new(beginning: Beginning, topic: &str, next_offset: Offset, positions: Vec<i64>) -> Self {
        Self {
            version: VERSION,
            log_id: beginning.log_id.to_string(),
            first_offset: beginning.first.get(),
            topic: topic.to_owned(),
            positions,
            next_offset: next_offset.get(),
        }
    }

    /// Which log it is a copy of, and where that begins; `None` if it does not make sense.
    pub(super) fn beginning(&self) -> Option<Beginning> {
        Some(Beginning { log_id: self.log_id.parse().ok()?, first: Offset::new(self.first_offset)? })
    }

    /// What is kept in `dir`; `None` if there is none. What makes no sense is an error.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(dir.join(FILE)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let kept: Self = serde_json::from_slice(&text)?;
        if kept.version > VERSION {
            let problem = format!("a newer server has written it, in version {}", kept.version);
            return Err(io::Error::new(ErrorKind::InvalidData, problem));
        }
        let malformed = || io::Error::new(ErrorKind::InvalidData, "it names no log");
        kept.beginning().is_some().then_some(Some(kept)).ok_or_else(malformed)
    }

    /// Keeps it in `dir`, in place of what was kept before.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let mut file = File::create(dir.join(NEW_FILE))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(dir.join(NEW_FILE), dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }

    /// Forgets that the directory is a copy: it is a log of its own from now on.
    pub(super) fn remove(dir: &Path) -> io::Result<()> {
        fs::remove_file(dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }
}

/// The one before there was a field for it.
const fn first_version() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_being_written_when_the_process_died_changes_nothing_and_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NEW_FILE), "{\"log_id").unwrap();
        assert_eq!(Kept::load(dir.path()).unwrap(), None);
        // As it was written before it had a version.
        let fields = r#""log_id":"3e8a8a5e-9b1c-4df5-8f33-5b8f3a1d0c11","first_offset":1,"topic":"a","positions":[7],"next_offset":9"#;
        fs::write(dir.path().join(FILE), format!("{{{fields}}}")).unwrap();
        let kept = Kept::load(dir.path()).unwrap().unwrap();
        assert_eq!((kept.next_offset, &*kept.positions), (9, [7].as_slice()));
        kept.save(dir.path()).unwrap();
        assert_eq!(Kept::load(dir.path()).unwrap(), Some(kept));
        assert!(!dir.path().join(NEW_FILE).exists());
        fs::write(dir.path().join(FILE), format!(r#"{{"version":2,{fields}}}"#)).unwrap();
        assert!(Kept::load(dir.path()).unwrap_err().to_string().contains("version 2"));
    }

    #[test]
    fn what_is_kept_is_found_again_and_nonsense_is_not_taken_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Kept::load(dir.path()).unwrap(), None);
        let beginning = Beginning {
            log_id: "3e8a8a5e-9b1c-4df5-8f33-5b8f3a1d0c11".parse().unwrap(),
            first: Offset::FIRST,
        };
        for positions in [vec![], vec![3, 0, 7_000_000_000]] {
            let kept = Kept::new(beginning, "a.topic", Offset::new(42).unwrap(), positions);
            kept.save(dir.path()).unwrap();
            assert_eq!(Kept::load(dir.path()).unwrap().as_ref(), Some(&kept));
            assert_eq!(kept.beginning(), Some(beginning));
        }
        Kept::remove(dir.path()).unwrap();
        assert_eq!(Kept::load(dir.path()).unwrap(), None);
        for nonsense in
            ["", "{}", r#"{"log_id":"x","first_offset":1,"topic":"","positions":[],"next_offset":1}"#]
        {
            fs::write(dir.path().join(FILE), nonsense).unwrap();
            Kept::load(dir.path()).unwrap_err();
        }
    }
}
