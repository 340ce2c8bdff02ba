//! Reads what `strace -f -y -xx` writes: calls of several threads, with all strings in hexadecimal.

use std::collections::HashMap;

/// The type of an HTTP/2 frame that carries a message.
const DATA: u8 = 0;
const FRAME_HEADER_BYTES: usize = 9;

/// One system call that succeeded.
#[derive(Debug)]
pub(super) struct Call {
    name: String,
    /// The path, or the name of the socket, behind its first argument.
    pub(super) file: String,
    /// What was read or written.
    pub(super) bytes: Vec<u8>,
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
    result.split(' ').next()?.parse::<u64>().ok()?;
    let (_, file) = arguments.split_once('<')?;
    let (file, content) = file.split_once('>')?;
    // Every other piece between quotation marks is one; there are none inside, all is hexadecimal.
    let bytes = content.split('"').skip(1).step_by(2).flat_map(unescape).collect();
    let file = String::from_utf8(unescape(file)).ok()?;
    Some(Call { name: name.to_owned(), file, bytes, began, ended })
}

/// Bytes out of `\x0a\xff`.
fn unescape(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    let byte = |hex| u8::from_str_radix(hex, 16).expect("two digits");
    text.split("\\x").skip(1).map(byte).collect()
}

/// Whether HTTP/2 frames hold a message. A server sends whole frames at a time.
pub(super) fn has_data_frame(mut bytes: &[u8]) -> bool {
    while let Some((header, rest)) = bytes.split_at_checked(FRAME_HEADER_BYTES) {
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        if header[3] == DATA && length > 0 {
            return true;
        }
        bytes = rest.get(length..).expect("a send ends with a frame");
    }
    assert_eq!(bytes.len(), 0, "a send ends with a frame");
    false
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
fn only_a_frame_with_a_message_is_an_answer() {
    let (settings, data) = ([0, 0, 0, 4, 1, 0, 0, 0, 0], [0, 0, 2, 0, 0, 0, 0, 0, 1, 8, 1]);
    assert!(!has_data_frame(&settings));
    assert!(has_data_frame(&[&settings[..], &data[..]].concat()));
}
