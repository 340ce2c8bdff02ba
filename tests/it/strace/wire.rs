//! The messages of a gRPC call, out of what went through its socket.

use prost::Message;

use super::trace::Call;

/// What a client says first of all.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
/// The type of a frame that carries a part of a message.
const DATA: u8 = 0;
const PADDED: u8 = 8;
/// Whether it is compressed, and its length.
const MESSAGE_HEADER_BYTES: usize = 5;

/// The messages that went one way through a socket with one call of gRPC on it, each with the system call that moved
/// its last byte.
pub(super) fn messages<'a, M: Message + Default>(
    calls: impl Iterator<Item = &'a Call>,
) -> Vec<(M, &'a Call)> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for call in calls {
        assert!(call.is_whole(), "the trace elides what went through the socket");
        bytes.extend_from_slice(&call.bytes);
        ends.push((bytes.len(), call));
    }
    let moved = |position: usize| ends[ends.partition_point(|(end, _)| *end <= position)].1;
    let data = data(&bytes);
    let mut rest = &data[..];
    let mut found = Vec::new();
    while let Some((header, body)) = rest.split_at_checked(MESSAGE_HEADER_BYTES) {
        assert_eq!(header[0].1, 0, "not compressed");
        let length = header[1..].iter().fold(0, |length, (_, byte)| length << 8 | usize::from(*byte));
        let Some((message, behind)) = body.split_at_checked(length) else { break };
        let (last, _) = message.last().unwrap_or(&header[MESSAGE_HEADER_BYTES - 1]);
        let message: Vec<_> = message.iter().map(|(_, byte)| *byte).collect();
        found.push((M::decode(&message[..]).expect("a message"), moved(*last)));
        rest = behind;
    }
    found
}

/// What the frames with data carry, each byte with its position.
fn data(bytes: &[u8]) -> Vec<(usize, u8)> {
    let mut at = if bytes.starts_with(PREFACE) { PREFACE.len() } else { 0 };
    let mut data = Vec::new();
    while let Some(header) = bytes.get(at..at + FRAME_HEADER_BYTES) {
        let length = header[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        at += FRAME_HEADER_BYTES;
        let Some(frame) = bytes.get(at..at + length) else { break };
        if header[3] == DATA {
            assert_eq!(header[4] & PADDED, 0, "not padded");
            data.extend((at..).zip(frame.iter().copied()));
        }
        at += length;
    }
    data
}
