//! A file whose events go into the log: told from others by its contents, so that reading it again adds nothing.

use std::fs::File;
use std::io::{self, Read, Seek};

/// CRC-32 of the file's bytes: another file of the same name is another producer.
pub(super) fn checksum(mut file: &File) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// The file from its beginning.
pub(super) fn rewound(file: &File) -> io::Result<File> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    Ok(file)
}
