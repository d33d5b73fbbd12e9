//! SHA-256 in hexadecimal digits, of bytes and of files.

use std::fs::File;
use std::io::{self, Read as _};

use overlapped_proto::limits::OUTPUT_BUFFER_BYTES;
use sha2::{Digest as _, Sha256};

/// The digest of some bytes.
///
/// ```
/// let digest = overlapped_fetch::sha256_hex(b"abc");
/// assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
/// ```
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The length and the digest of a file from its beginning.
///
/// # Errors
///
/// It cannot be read.
///
/// # Blocking
///
/// On the disk.
pub fn sha256_of(mut file: &File) -> io::Result<(u64, String)> {
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut block = vec![0; OUTPUT_BUFFER_BYTES];
    loop {
        let count = match file.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        if count == 0 {
            return Ok((bytes, hex(&digest.finalize())));
        }
        digest.update(block.get(..count).unwrap_or_default());
        bytes += count as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
