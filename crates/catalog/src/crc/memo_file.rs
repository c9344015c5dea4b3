//! The file behind a memo: records of 20 bytes, appended, never changed.
//!
//! ```text
//! 12  the key, three little-endian words
//!  4  the value
//!  4  check: CRC-32 of the 16 bytes before, inverted
//! ```
//!
//! Each record is one `write` on an `O_APPEND` descriptor, so several processes may write at the
//! same time. A record torn by a crash is skipped: reading resumes at the next byte where a check
//! fits.
//!
//! No library: the format is this drawing, and a torn or foreign record costs nothing but itself.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::fingerprint::Fingerprint;

const RECORD: usize = 20;

#[derive(Debug)]
pub(crate) struct MemoFile {
    file: File,
    len: u64,
    /// Maximum length in bytes; records beyond it are dropped until the next start.
    full: u64,
}

impl MemoFile {
    /// Opens the file in `folder` and hands out its records, oldest first. One of more than
    /// `capacity` records is rewritten with the newer half of them.
    pub(crate) fn open(
        folder: &Path,
        name: &str,
        capacity: usize,
        mut learn: impl FnMut(Fingerprint, u32),
    ) -> io::Result<MemoFile> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(name);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600).custom_flags(libc_nofollow());
        let mut file = options.open(&path)?;
        let bound = capacity as u64 * RECORD as u64;
        if file.metadata()?.len() > bound {
            let mut records = 0_usize;
            each_record(&file, |_, _| records += 1)?;
            let skip = records.saturating_sub(capacity / 2);
            file = rewrite(&file, &path, &options, skip)?;
        }
        each_record(&file, &mut learn)?;
        let len = file.metadata()?.len();
        Ok(MemoFile { file, len, full: bound.saturating_mul(2) })
    }

    pub(crate) fn append(&mut self, key: Fingerprint, value: u32) -> io::Result<()> {
        if self.len >= self.full {
            return Ok(());
        }
        self.len += RECORD as u64;
        self.file.write_all(&encode(key, value))
    }
}

/// A link in the place of the file is not followed, because others may be able to write to the
/// cache folder.
fn libc_nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

fn encode(key: Fingerprint, value: u32) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    for (bytes, word) in record.chunks_exact_mut(4).zip([key.0[0], key.0[1], key.0[2], value]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let check = !crc32fast::hash(&record[..16]);
    record[16..].copy_from_slice(&check.to_le_bytes());
    record
}

fn decode(record: &[u8; RECORD]) -> Option<(Fingerprint, u32)> {
    let word = |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    let check = !crc32fast::hash(&record[..16]);
    (word(16) == check).then(|| (Fingerprint([word(0), word(4), word(8)]), word(12)))
}

/// Reads from the start, in pieces: garbage may be long.
fn each_record(file: &File, mut learn: impl FnMut(Fingerprint, u32)) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    let mut from = file;
    from.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(256 * 1024, from);
    let mut record = [0; RECORD];
    let mut filled = 0;
    loop {
        match reader.read(&mut record[filled..]) {
            Ok(0) => return Ok(()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled < RECORD {
            continue;
        }
        if let Some((key, value)) = decode(&record) {
            learn(key, value);
            filled = 0;
        } else {
            record.copy_within(1.., 0);
            filled -= 1;
        }
    }
}

/// Writes all but the first `skip` records to a new file and puts it in the place of the old one.
/// A process that still has the old file open loses what it writes, which only costs time.
fn rewrite(old: &File, path: &Path, options: &OpenOptions, skip: usize) -> io::Result<File> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    let new = options.clone().create_new(true).open(&fresh)?;
    let mut writer = io::BufWriter::new(&new);
    let (mut seen, mut failed) = (0_usize, Ok(()));
    each_record(old, |key, value| {
        seen += 1;
        if seen > skip && failed.is_ok() {
            failed = writer.write_all(&encode(key, value));
        }
    })?;
    failed?;
    writer.flush()?;
    drop(writer);
    std::fs::rename(&fresh, path)?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Fingerprint {
        Fingerprint([number, number ^ 7, 99])
    }

    fn load(folder: &Path, capacity: usize) -> (MemoFile, Vec<u32>) {
        let mut crcs = Vec::new();
        let file = MemoFile::open(folder, "memo", capacity, |known, crc| {
            assert_eq!(known, key(crc));
            crcs.push(crc);
        });
        (file.unwrap(), crcs)
    }

    #[test]
    fn torn_and_garbage_records_are_skipped() {
        let temp = tempfile::tempdir().unwrap();
        let (mut file, none) = load(temp.path(), 100);
        assert!(none.is_empty());
        file.append(key(1), 1).unwrap();
        file.file.write_all(&encode(key(2), 2)[..13]).unwrap();
        file.append(key(3), 3).unwrap();
        file.file.write_all(&[0xaa; 77]).unwrap();
        file.append(key(4), 4).unwrap();
        file.file.write_all(&encode(key(5), 5)[..19]).unwrap();
        assert_eq!(load(temp.path(), 100).1, [1, 3, 4]);
    }

    #[test]
    fn two_writers_share_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let (mut one, _) = load(temp.path(), 100);
        let (mut two, _) = load(temp.path(), 100);
        for number in 0..10 {
            one.append(key(number * 2), number * 2).unwrap();
            two.append(key(number * 2 + 1), number * 2 + 1).unwrap();
        }
        assert_eq!(load(temp.path(), 100).1, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_over_its_bound_loses_its_older_half_at_start() {
        let temp = tempfile::tempdir().unwrap();
        let (mut file, _) = load(temp.path(), 10);
        (0..50).for_each(|number| file.append(key(number), number).unwrap());
        // It grew to twice the bound and no further.
        assert_eq!(std::fs::metadata(temp.path().join("memo")).unwrap().len(), 20 * RECORD as u64);
        let (mut file, crcs) = load(temp.path(), 10);
        assert_eq!(crcs, [15, 16, 17, 18, 19]);
        file.append(key(77), 77).unwrap();
        assert_eq!(load(temp.path(), 10).1, [15, 16, 17, 18, 19, 77]);
    }
}
