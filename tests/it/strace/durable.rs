//! What must have been synced, and by when: contents, and the names that lead to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::trace::Call;

/// A note of what was synced that may be out of date: worth something only as long as it happens to be there.
const WITNESS: &str = "synced";

/// Everything that was written below `dir` before `through` has been synced by `line`. Gives back the files.
pub(super) fn contents<'a>(calls: &'a [Call], dir: &Path, through: usize, line: usize) -> Vec<&'a Path> {
    let mut last_writes = BTreeMap::<&Path, usize>::new();
    for write in calls.iter().filter(|call| call.is_write() && call.began <= through) {
        let file = Path::new(&write.file);
        if file.starts_with(dir) && !file.ends_with(WITNESS) {
            let last = last_writes.entry(file).or_default();
            *last = write.ended.max(*last);
        }
    }
    for (file, last_write) in &last_writes {
        let is_synced = is_synced(calls, file, *last_write, line);
        assert!(is_synced, "{} is not synced by line {line}", file.display());
    }
    last_writes.into_keys().collect()
}

/// Each name on the way from `root` to `path` that this trace has seen made is on disk by `line`.
pub(super) fn names(calls: &[Call], root: &Path, path: &Path, line: usize) {
    for path in path.ancestors().take_while(|path| path.starts_with(root) && *path != root) {
        let all = earlier_names(calls, path, line);
        let made = |call: &&Call| {
            call.ended < line && call.created().is_some_and(|made| all.iter().any(|name| name == made))
        };
        let renamed =
            calls.iter().rfind(|call| call.ended < line && call.renamed().is_some_and(|(_, to)| to == path));
        // Opening what is there already makes nothing.
        let Some(made) = renamed.or_else(|| calls.iter().find(made)) else { continue };
        let parents = all.iter().filter_map(|name| name.parent());
        let is_synced = parents.into_iter().any(|parent| is_synced(calls, parent, made.ended, line));
        assert!(is_synced, "the name of {} may be lost after line {line}", path.display());
    }
}

/// What a rename publishes is whole before, and the rename itself is on disk by `line`.
pub(super) fn published(calls: &[Call], root: &Path, rename: &Call, line: usize) {
    let (from, to) = rename.renamed().expect("a rename");
    contents(calls, from, rename.began, rename.began);
    let inside = calls.iter().filter(|call| call.ended < rename.began).filter_map(|call| {
        let made = call.created().or_else(|| call.renamed().map(|(_, to)| to))?;
        (made.starts_with(from) && made != from && !made.ends_with(WITNESS)).then_some(made)
    });
    for made in inside.filter(|made| !is_gone(calls, made, rename.began)) {
        names(calls, from, made, rename.began);
    }
    names(calls, root, to, line);
}

/// Whether what had this name has been renamed.
fn is_gone(calls: &[Call], name: &Path, line: usize) -> bool {
    let is_gone = |call: &Call| call.renamed().is_some_and(|(from, _)| from == name);
    calls.iter().any(|call| call.ended < line && is_gone(call))
}

/// The name and what it was called before a directory above it was renamed.
fn earlier_names(calls: &[Call], path: &Path, line: usize) -> Vec<PathBuf> {
    let mut names = vec![path.to_owned()];
    let renames = calls.iter().filter(|call| call.ended < line).filter_map(Call::renamed);
    for (from, to) in renames.collect::<Vec<_>>().into_iter().rev() {
        let last = names.last().expect("never empty");
        if let Ok(rest) = last.strip_prefix(to) {
            let earlier = if rest.as_os_str().is_empty() { from.to_owned() } else { from.join(rest) };
            names.push(earlier);
        }
    }
    names
}

/// Whether a sync of `path` began after line `after` and had ended before `before`.
fn is_synced(calls: &[Call], path: &Path, after: usize, before: usize) -> bool {
    let covers = |call: &Call| call.is_sync() && Path::new(&call.file) == path;
    calls.iter().any(|call| covers(call) && call.began > after && call.ended < before)
}
