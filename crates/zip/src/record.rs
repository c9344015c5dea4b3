//! Every byte of an archive that is not a file's: the five records, all encoding on one screen.
//!
//! The functions here depend on their arguments only. Sections are those of PKWARE's APPNOTE
//! 6.3.10. All numbers are little-endian. A value of exactly 0xFFFFFFFF (0xFFFF for the count) goes
//! to Zip64 as a larger one does: bare, it is the mark that sends readers looking for a Zip64
//! field.

use crate::{Form, framing, time};

/// The mark in a 32-bit field for "look into the Zip64 field", and the least value that needs one.
const MARK32: u64 = 0xFFFF_FFFF;
/// The same for the 16-bit count of entries.
const MARK16: u64 = 0xFFFF;

/// Folders, deflate and nothing else (4.4.3.2).
const VERSION_PLAIN: u16 = 20;
/// Zip64 (4.4.3.2). Only where it is used: older macOS refuses plain entries that ask for it.
const VERSION_ZIP64: u16 = 45;
/// Made by: UNIX (3) in the upper byte, so that readers take the modes; 4.5 in the lower (4.4.2).
const MADE_BY: u16 = 3 << 8 | 45;

const FLAG_DESCRIPTOR: u16 = 1 << 3; // 4.4.4, bit 3: CRC and sizes follow the bytes
const FLAG_UTF8: u16 = 1 << 11; // 4.4.4, bit 11: the name is UTF-8

const LOCAL: u64 = 30;
const CENTRAL: u64 = 46;
const UT: u64 = 9;

/// What the records of one entry say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryHeader<'a> {
    /// As in the archive; folders end in `/`.
    pub(crate) name: &'a str,
    /// Where the local header begins, in bytes from the archive's start.
    pub(crate) offset: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Bytes of the file in its framing: `size`, or [`framing::framed_len`] of it.
    pub(crate) framed: u64,
    /// 0 while it is not known.
    pub(crate) crc32: u32,
    /// Seconds since 1970.
    pub(crate) modified: Option<i64>,
    pub(crate) form: Form,
    pub(crate) directory: bool,
    pub(crate) executable: bool,
}

impl<'a> EntryHeader<'a> {
    /// The same entry with its CRC-32.
    pub(crate) fn with_crc32(self, crc32: u32) -> EntryHeader<'a> {
        EntryHeader { crc32, ..self }
    }

    /// The framed size is never less than the size, so it decides for both.
    fn zip64(&self) -> bool {
        self.framed >= MARK32
    }

    fn streamed(&self) -> bool {
        self.form == Form::Streamed
    }

    fn flags(&self) -> u16 {
        // Bit 3 has to be the same in both headers: 7-Zip reports "Headers Error" otherwise.
        let descriptor = if self.streamed() { FLAG_DESCRIPTOR } else { 0 };
        // ASCII names need no flag, and some old readers trip over it.
        let utf8 = if self.name.is_ascii() { 0 } else { FLAG_UTF8 };
        descriptor | utf8
    }

    /// 0 stored, 8 deflated (4.4.5). Java's ZipInputStream takes descriptors after deflated entries
    /// only.
    fn method(&self) -> u16 {
        if self.streamed() { 8 } else { 0 }
    }

    /// UNIX mode in the upper half, the DOS folder bit in the lower (4.4.15).
    fn attributes(&self) -> u32 {
        match (self.directory, self.executable) {
            (true, _) => 0o040_755 << 16 | 0x10,
            (false, true) => 0o100_755 << 16,
            (false, false) => 0o100_644 << 16,
        }
    }

    fn ut_len(&self) -> u64 {
        if self.modified.is_some() { UT } else { 0 }
    }

    fn local_extra_len(&self) -> u64 {
        self.ut_len() + if self.zip64() { 20 } else { 0 }
    }

    /// The fields that overflow in the central record, in the order of 4.5.3.
    fn overflowed(&self) -> impl Iterator<Item = u64> {
        [self.size, self.framed, self.offset].into_iter().filter(|value| *value >= MARK32)
    }

    fn central_zip64_len(&self) -> u64 {
        match self.overflowed().count() as u64 {
            0 => 0,
            fields => 4 + 8 * fields,
        }
    }

    /// Length of the local header.
    pub(crate) fn local_len(&self) -> u64 {
        LOCAL + self.name.len() as u64 + self.local_extra_len()
    }

    /// Length of the data descriptor, 0 for none.
    pub(crate) fn descriptor_len(&self) -> u64 {
        match (self.streamed(), self.zip64()) {
            (false, _) => 0,
            (true, false) => 16,
            (true, true) => 24,
        }
    }

    /// Length of the record in the central directory.
    pub(crate) fn central_len(&self) -> u64 {
        CENTRAL + self.name.len() as u64 + self.central_zip64_len() + self.ut_len()
    }

    /// Where the next entry begins, or `None` when that is no number of 64 bits.
    pub(crate) fn end(&self) -> Option<u64> {
        let around = self.local_len() + self.descriptor_len();
        self.offset.checked_add(self.framed)?.checked_add(around)
    }

    /// 4.3.7 Local file header.
    pub(crate) fn put_local(&self, out: &mut Vec<u8>) {
        let (time, date) = time::dos(self.modified);
        // With bit 3, CRC and sizes are zero here (4.4.4)...
        let known = |value: u64| if self.streamed() { 0 } else { value };
        // ...except that marks and a Zip64 field of zeros announce a 64-bit descriptor; without the
        // field, macOS and Java read a 32-bit one, and with it on small entries Java 17 fails.
        let size32 = |value: u64| if self.zip64() { u32::MAX } else { low32(known(value)) };

        put32(out, 0x0403_4b50); // 4.3.7 signature
        put16(out, if self.zip64() { VERSION_ZIP64 } else { VERSION_PLAIN }); // 4.4.3
        put16(out, self.flags()); // 4.4.4
        put16(out, self.method()); // 4.4.5
        put16(out, time); // 4.4.6
        put16(out, date); // 4.4.6
        put32(out, low32(known(u64::from(self.crc32)))); // 4.4.7
        put32(out, size32(self.framed)); // 4.4.8 compressed size
        put32(out, size32(self.size)); // 4.4.9 uncompressed size
        put16(out, low16(self.name.len() as u64)); // 4.4.10
        put16(out, low16(self.local_extra_len())); // 4.4.11
        out.extend_from_slice(self.name.as_bytes()); // 4.4.17
        if self.zip64() {
            // 4.5.3: a local header has both sizes or none. First of the extra fields, for Windows
            // 7.
            put16(out, 0x0001);
            put16(out, 16);
            put64(out, known(self.size));
            put64(out, known(self.framed));
        }
        self.put_ut(out); // 4.4.28
    }

    /// 4.3.9 Data descriptor, with the signature that 4.3.9.3 leaves open: macOS needs it.
    pub(crate) fn put_descriptor(&self, out: &mut Vec<u8>) {
        put32(out, 0x0807_4b50); // 4.3.9.3 signature
        put32(out, self.crc32); // 4.4.7
        if self.zip64() {
            put64(out, self.framed); // 4.3.9.2
            put64(out, self.size);
        } else {
            put32(out, low32(self.framed)); // 4.4.8
            put32(out, low32(self.size)); // 4.4.9
        }
    }

    /// 4.3.12 Central directory record.
    pub(crate) fn put_central(&self, out: &mut Vec<u8>) {
        let (time, date) = time::dos(self.modified);
        let zip64 = self.overflowed().next().is_some();

        put32(out, 0x0201_4b50); // 4.3.12 signature
        put16(out, MADE_BY); // 4.4.2
        put16(out, if zip64 { VERSION_ZIP64 } else { VERSION_PLAIN }); // 4.4.3
        put16(out, self.flags()); // 4.4.4
        put16(out, self.method()); // 4.4.5
        put16(out, time); // 4.4.6
        put16(out, date); // 4.4.6
        put32(out, self.crc32); // 4.4.7
        put32(out, or_mark32(self.framed)); // 4.4.8
        put32(out, or_mark32(self.size)); // 4.4.9
        put16(out, low16(self.name.len() as u64)); // 4.4.10
        put16(out, low16(self.central_zip64_len() + self.ut_len())); // 4.4.11
        put16(out, 0); // 4.4.12 no comment
        put16(out, 0); // 4.4.13 on disk 0
        put16(out, 0); // 4.4.14 internal attributes: none
        put32(out, self.attributes()); // 4.4.15
        put32(out, or_mark32(self.offset)); // 4.4.16
        out.extend_from_slice(self.name.as_bytes()); // 4.4.17
        if zip64 {
            // 4.5.3: only what overflowed, in this order; Info-ZIP, libarchive and Go agree.
            put16(out, 0x0001);
            put16(out, low16(self.central_zip64_len() - 4));
            self.overflowed().for_each(|value| put64(out, value));
        }
        self.put_ut(out); // 4.4.28
    }

    /// Info-ZIP's extended timestamp (4.6.1: 0x5455), the same nine bytes in both headers: modified
    /// only.
    fn put_ut(&self, out: &mut Vec<u8>) {
        if let Some(modified) = self.modified {
            put16(out, 0x5455);
            put16(out, 5);
            out.push(1); // bit 0: the modification time follows
            out.extend_from_slice(&time::unix32(modified).to_le_bytes());
        }
    }
}

/// What the records at an archive's end say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndRecord {
    /// Entries in the central directory.
    pub(crate) entries: u64,
    /// Where the central directory begins.
    pub(crate) offset: u64,
    /// Length of the central directory's records.
    pub(crate) len: u64,
}

impl EndRecord {
    /// An entry that needs Zip64 pushes the directory's offset over the limit, so this covers
    /// entries too.
    fn zip64(&self) -> bool {
        self.entries >= MARK16 || self.len >= MARK32 || self.offset >= MARK32
    }

    /// Length of the records at the end.
    pub(crate) fn end_len(&self) -> u64 {
        if self.zip64() { 56 + 20 + 22 } else { 22 }
    }

    /// 4.3.14, 4.3.15 and 4.3.16: the end of central directory, after its Zip64 form where one is
    /// needed.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        if self.zip64() {
            put32(out, 0x0606_4b50); // 4.3.14 signature of the Zip64 end of central directory
            put64(out, 56 - 12); // 4.3.14.1 length of what follows
            put16(out, MADE_BY); // 4.4.2
            put16(out, VERSION_ZIP64); // 4.4.3
            put32(out, 0); // 4.4.19 this disk
            put32(out, 0); // 4.4.20 disk of the directory's start
            put64(out, self.entries); // 4.4.21 on this disk
            put64(out, self.entries); // 4.4.22 in all
            put64(out, self.len); // 4.4.23
            put64(out, self.offset); // 4.4.24

            put32(out, 0x0706_4b50); // 4.3.15 signature of the locator
            put32(out, 0); // disk of the Zip64 end
            put64(out, self.offset + self.len); // where the Zip64 end begins
            put32(out, 1); // disks in all
        }
        // Real values wherever they fit, as Info-ZIP has it.
        let entries = low16(self.entries.min(MARK16));
        put32(out, 0x0605_4b50); // 4.3.16 signature
        put16(out, 0); // 4.4.19
        put16(out, 0); // 4.4.20
        put16(out, entries); // 4.4.21
        put16(out, entries); // 4.4.22
        put32(out, or_mark32(self.len)); // 4.4.23
        put32(out, or_mark32(self.offset)); // 4.4.24
        put16(out, 0); // 4.4.25 no comment: nothing that could hold another signature
    }
}

/// How many bytes a file takes in its form, or `None` when that is no number of 64 bits.
pub(crate) fn framed_len(form: Form, size: u64) -> Option<u64> {
    match form {
        Form::Stored => Some(size),
        Form::Streamed => framing::framed_len(size),
    }
}

/// Bytes of a central record that come before its CRC and with it; the rest can be had without
/// knowing it.
pub(crate) const CENTRAL_CRC_END: u64 = 20;

fn or_mark32(value: u64) -> u32 {
    low32(value.min(MARK32))
}

fn low32(value: u64) -> u32 {
    debug_assert!(value <= MARK32);
    value as u32
}

fn low16(value: u64) -> u16 {
    debug_assert!(value <= MARK16);
    value as u16
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests;
