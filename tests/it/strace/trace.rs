//! Reads what `strace -f -y -xx` writes: calls of several threads, with all strings in hexadecimal.

use std::collections::HashMap;
use std::path::Path;

/// One system call that succeeded.
#[derive(Clone, Debug)]
pub(super) struct Call {
    name: String,
    /// The path, or the name of the socket, behind its first argument.
    pub(super) file: String,
    /// What was read or written; the beginning of it, where it is long.
    pub(super) bytes: Vec<u8>,
    /// How much was.
    moved: usize,
    /// Of a call that creates, the name that is new; of one that renames, the old one and the new one.
    names: Vec<String>,
    /// The lines in which it began and in which it had ended.
    pub(super) began: usize,
    pub(super) ended: usize,
}

impl Call {
    pub(super) fn is_receive(&self) -> bool {
        self.is_one_of(&["read", "readv", "recvfrom", "recvmsg"]) && self.is_socket()
    }

    pub(super) fn is_send(&self) -> bool {
        self.is_one_of(&["write", "writev", "sendto", "sendmsg"]) && self.is_socket()
    }

    pub(super) fn is_write(&self) -> bool {
        self.is_one_of(&["write", "writev", "pwrite64", "pwritev"])
    }

    pub(super) fn is_sync(&self) -> bool {
        self.is_one_of(&["fdatasync", "fsync"])
    }

    /// The file or directory that this call may have brought into being.
    pub(super) fn created(&self) -> Option<&Path> {
        let [name] = &self.names[..] else { return None };
        Some(Path::new(name))
    }

    /// The old name and the new one.
    pub(super) fn renamed(&self) -> Option<(&Path, &Path)> {
        let [from, to] = &self.names[..] else { return None };
        Some((Path::new(from), Path::new(to)))
    }

    /// Whether the trace has all that was read or written.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() == self.moved
    }

    fn is_socket(&self) -> bool {
        self.file.starts_with("socket:") || self.file.starts_with("TCP")
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }
}

/// The calls in the order in which they began.
pub(super) fn parse(trace: &str) -> Vec<Call> {
    let mut unfinished = HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(beginning) = text.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (line, beginning.to_owned()));
        } else if let Some(rest) = text.strip_prefix("<... ") {
            let (began, beginning) = unfinished.remove(thread).expect("a call that goes on has begun");
            let (_, rest) = rest.split_once("resumed>").expect("a call that goes on");
            calls.extend(call(&format!("{beginning}{rest}"), began, line));
        } else {
            calls.extend(call(text, line, line));
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

/// `None` for signals, exits and calls that failed.
fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, arguments) = text.split_once('(')?;
    let (arguments, result) = arguments.rsplit_once(" = ")?;
    let result: usize = result.split([' ', '<']).next()?.parse().ok()?;
    // Every other piece between quotation marks is one; there are none inside, all is hexadecimal.
    let strings = || arguments.split('"').skip(1).step_by(2).map(unescape);
    let opens = name.starts_with("open");
    if opens && !arguments.contains("O_CREAT") {
        return None;
    }
    let (mut file, mut bytes, mut names) = (Vec::new(), Vec::new(), Vec::new());
    if opens || name.starts_with("mkdir") || name.starts_with("rename") {
        names = strings().map(|name| String::from_utf8(name).expect("a path")).collect();
    } else {
        file = unescape(arguments.split_once('<')?.1.split_once('>')?.0);
        bytes = strings().flatten().collect();
    }
    let file = String::from_utf8(file).ok()?;
    Some(Call { name: name.to_owned(), file, bytes, moved: result, names, began, ended })
}

/// Bytes out of `\x0a\xff`.
fn unescape(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    let byte = |hex| u8::from_str_radix(hex, 16).expect("two digits");
    text.split("\\x").skip(1).map(byte).collect()
}

#[test]
fn a_call_in_two_pieces_is_one_that_lasts() {
    let trace = "7 fdatasync(4</a/db> <unfinished ...>\n8 write(5<socket:[1]>, \"\\x00\\x41\", 2) = 2\n\
        7 <... fdatasync resumed>) = 0\n7 read(4</a/db>, 0x7f, 8) = -1 EAGAIN (none)\n8 +++ exited with 0 +++\n";
    let calls = parse(trace);
    assert_eq!(calls.len(), 2);
    assert!(calls[0].is_sync() && calls[0].file == "/a/db" && calls[0].began == 0 && calls[0].ended == 2);
    assert!(calls[1].is_send() && calls[1].bytes == b"\0A" && calls[1].ended == 1);
}

#[test]
fn names_that_are_made_or_changed_are_told_from_files_that_are_opened() {
    let trace = "7 openat(AT_FDCWD</>, \"\\x2f\\x61\", O_RDWR|O_CREAT, 0666) = 4</a>\n\
        7 rename(\"\\x2f\\x61\", \"\\x2f\\x62\") = 0\n7 openat(AT_FDCWD</>, \"\\x2f\\x62\", O_RDWR) = 4</b>\n";
    let calls = parse(trace);
    assert_eq!(calls[0].created(), Some(Path::new("/a")));
    assert_eq!(calls[1].renamed(), Some((Path::new("/a"), Path::new("/b"))));
    assert!(calls[1].created().is_none() && calls.len() == 2);
}
