//! The chain on disk: one file, to which whole blocks are appended and synced before anybody hears of them.
//!
//! A kill or a power cut in the middle of a write leaves a record that is not whole, and nobody was told of its block: it is cut off at the next
//! start, and kept beside the chain. At most one can be: any other damage is an error, and the file stays as it is. See [`crate::record`].

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use prost::Message;
use vitro_ledger::block::{data_hash, header_hash};
use vitro_ledger::proto::common::Block;

use crate::error::DevledgerError;
use crate::record::{HEAD_BYTES, Head, MAX_BLOCK_BYTES, is_of_the_edition_before, is_torn};

/// The file and where each block begins in it.
pub(crate) struct Store {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    /// Offset and length of each block's bytes.
    places: Vec<(u64, usize)>,
    end: u64,
}

impl Store {
    /// Opens the chain of a data directory, hands every block in order to `each`, and cuts off a write that was never finished.
    ///
    /// # Errors
    /// [`DevledgerError::File`]; [`DevledgerError::Damaged`] if a block is not what its record or the chain says;
    /// [`DevledgerError::Edition`].
    pub(crate) fn open(
        folder: &Path,
        mut each: impl FnMut(&Block) -> Result<(), DevledgerError>,
    ) -> Result<Self, DevledgerError> {
        let path = folder.join("chain.blocks");
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = file.map_err(DevledgerError::file(&path))?;
        // The file's name must survive a power cut as its contents do.
        sync(folder)?;
        let size = file.metadata().map_err(DevledgerError::file(&path))?.len();
        let mut store = Self { folder: folder.to_owned(), path, file, places: Vec::new(), end: 0 };
        let mut previous: Option<[u8; 32]> = None;
        while store.end < size {
            let Some(bytes) = store.next(size)? else {
                store.cut_off(size)?;
                break;
            };
            let block = Block::decode(&bytes[..]).map_err(|error| store.damaged(error))?;
            let header = block.header.clone().unwrap_or_default();
            let data = block.data.as_ref().map(|data| &data.data[..]).unwrap_or_default();
            if header.number != store.places.len() as u64
                || previous.is_some_and(|hash| header.previous_hash[..] != hash)
                || header.data_hash[..] != data_hash(data)
            {
                return Err(store.damaged("the block does not follow the one before it"));
            }
            previous = Some(header_hash(&header));
            each(&block)?;
            store.note(bytes.len());
        }
        Ok(store)
    }

    /// The next record's block; `None` if what is left is a write that was never finished.
    fn next(&self, size: u64) -> Result<Option<Vec<u8>>, DevledgerError> {
        // More than a record and the one behind it is never looked at at once; a length is believed only within the file.
        let left = usize::try_from(size - self.end).unwrap_or(usize::MAX);
        let head = Head::read(&self.bytes(self.end, left.min(HEAD_BYTES))?);
        if let Some(head) = head.filter(|head| head.length <= left - HEAD_BYTES) {
            let block = self.bytes(self.end + HEAD_BYTES as u64, head.length)?;
            if head.is_of(&block) {
                return Ok(Some(block));
            }
        }
        let tail = self.bytes(self.end, left.min(HEAD_BYTES + MAX_BLOCK_BYTES + 1))?;
        if is_torn(&tail, self.end) {
            return Ok(None);
        }
        if self.end == 0 && is_of_the_edition_before(&tail) {
            return Err(DevledgerError::Edition(self.path.clone()));
        }
        let what = if head.is_some() { "the block's checksum does not match" } else { "this is no record's head" };
        Err(self.damaged(what))
    }

    /// Cuts off what is behind the last whole record, and keeps it under another name.
    fn cut_off(&self, size: u64) -> Result<(), DevledgerError> {
        // Cannot truncate: a torn record was read into memory before.
        let torn = self.bytes(self.end, (size - self.end) as usize)?;
        let mut number = 0;
        let (kept, mut file) = loop {
            number += 1;
            let kept = self.folder.join(format!("chain.torn-{number}"));
            match OpenOptions::new().write(true).create_new(true).open(&kept) {
                Ok(file) => break (kept, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DevledgerError::file(kept)(error)),
            }
        };
        file.write_all(&torn).and_then(|()| file.sync_all()).map_err(DevledgerError::file(&kept))?;
        sync(&self.folder)?;
        let (offset, bytes) = (self.end, torn.len());
        let kept = kept.display();
        tracing::warn!(offset, bytes, %kept, "a write that was never finished was cut off the chain's file");
        self.file.set_len(self.end).and_then(|()| self.file.sync_all()).map_err(self.fault())
    }

    fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>, DevledgerError> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map_err(self.fault())?;
        Ok(bytes)
    }

    /// Appends a block. When this returns, the block survives a kill and a power cut.
    ///
    /// # Errors
    /// [`DevledgerError::File`]. The file's end is then unknown, so nothing may be appended any more; a new start repairs it.
    pub(crate) fn append(&mut self, block: &Block) -> Result<(), DevledgerError> {
        let bytes = block.encode_to_vec();
        let head = Head::of(&bytes).ok_or_else(|| self.damaged("a block of more than 100 MiB"))?;
        let mut record = Vec::with_capacity(HEAD_BYTES + bytes.len());
        record.extend_from_slice(&head.encode());
        record.extend_from_slice(&bytes);
        self.file.write_all(&record).map_err(self.fault())?;
        self.file.sync_data().map_err(self.fault())?;
        self.note(bytes.len());
        Ok(())
    }

    /// Reads a block.
    ///
    /// # Errors
    /// [`DevledgerError::File`], [`DevledgerError::Damaged`].
    pub(crate) fn read(&self, number: u64) -> Result<Option<Block>, DevledgerError> {
        let place = usize::try_from(number).ok().and_then(|number| self.places.get(number));
        let Some((offset, length)) = place else { return Ok(None) };
        let bytes = self.bytes(*offset, *length)?;
        Block::decode(&bytes[..]).map(Some).map_err(|error| self.damaged(error))
    }

    /// The number of blocks.
    #[must_use]
    pub(crate) fn height(&self) -> u64 {
        self.places.len() as u64
    }

    fn note(&mut self, length: usize) {
        self.places.push((self.end + HEAD_BYTES as u64, length));
        self.end += (HEAD_BYTES + length) as u64;
    }

    fn fault(&self) -> impl FnOnce(std::io::Error) -> DevledgerError + use<> {
        DevledgerError::file(self.path.clone())
    }

    fn damaged(&self, detail: impl ToString) -> DevledgerError {
        DevledgerError::Damaged { offset: self.end, detail: detail.to_string() }
    }
}

fn sync(folder: &Path) -> Result<(), DevledgerError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(DevledgerError::file(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitro_ledger::proto::common::{BlockData, BlockHeader};

    /// Appends blocks; gives the end of each in the file.
    fn chain(folder: &Path, count: u64) -> Vec<u64> {
        let mut ends = Vec::new();
        let mut store = Store::open(folder, |_| Ok(())).unwrap();
        let mut previous = Vec::new();
        for number in 0..count {
            let data = vec![vec![number as u8; 20]];
            let header = BlockHeader { number, previous_hash: previous, data_hash: data_hash(&data).to_vec() };
            previous = header_hash(&header).to_vec();
            let block = Block { header: Some(header), data: Some(BlockData { data }), metadata: None };
            store.append(&block).unwrap();
            ends.push(store.end);
        }
        ends
    }

    fn numbers(folder: &Path) -> Result<Vec<u64>, DevledgerError> {
        let mut numbers = Vec::new();
        Store::open(folder, |block| {
            numbers.push(block.header.as_ref().unwrap().number);
            Ok(())
        })?;
        Ok(numbers)
    }

    /// A chain of three blocks: its folder, its file, the file's bytes and the end of each block.
    fn three() -> (tempfile::TempDir, PathBuf, Vec<u8>, Vec<usize>) {
        let folder = tempfile::tempdir().unwrap();
        let ends = chain(folder.path(), 3).into_iter().map(|end| end as usize).collect();
        let path = folder.path().join("chain.blocks");
        let whole = std::fs::read(&path).unwrap();
        (folder, path, whole, ends)
    }

    #[test]
    fn every_write_that_a_kill_cut_short_is_cut_off_and_kept() {
        let (folder, path, whole, ends) = three();
        for (number, length) in (ends[1] + 1..ends[2]).enumerate() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(numbers(folder.path()).unwrap(), [0, 1], "{length}");
            assert_eq!(std::fs::read(&path).unwrap(), whole[..ends[1]]);
            let kept = std::fs::read(folder.path().join(format!("chain.torn-{}", number + 1))).unwrap();
            assert_eq!(kept, whole[ends[1]..length]);
            // The chain goes on behind it.
            assert_eq!(numbers(folder.path()).unwrap(), [0, 1]);
        }
    }

    #[test]
    fn zeros_that_a_power_cut_left_are_cut_off() {
        let (folder, path, whole, ends) = three();
        for start in ends[1]..ends[2] - ENOUGH {
            let mut lost = whole.clone();
            lost[start..].fill(0);
            std::fs::write(&path, &lost).unwrap();
            assert_eq!(numbers(folder.path()).unwrap(), [0, 1], "{start}");
            assert_eq!(std::fs::read(&path).unwrap(), whole[..ends[1]]);
        }
        // More zeros than the record had bytes, and a sector in its middle.
        std::fs::write(&path, [&whole[..ends[1]], &[0; 5000]].concat()).unwrap();
        assert_eq!(numbers(folder.path()).unwrap(), [0, 1]);
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), |_| Ok(())).unwrap();
        let data = vec![vec![7; 4000]];
        let header = BlockHeader { number: 0, previous_hash: Vec::new(), data_hash: data_hash(&data).to_vec() };
        store.append(&Block { header: Some(header), data: Some(BlockData { data }), metadata: None }).unwrap();
        let path = folder.path().join("chain.blocks");
        let mut lost = std::fs::read(&path).unwrap();
        lost[1024..1536].fill(0);
        std::fs::write(&path, &lost).unwrap();
        assert_eq!(numbers(folder.path()).unwrap(), [0_u64; 0]);
    }

    /// As many zeros at the end as are no chance.
    const ENOUGH: usize = 16;

    #[test]
    fn a_flipped_bit_anywhere_is_damage_and_nothing_is_cut_off() {
        let (folder, path, whole, ends) = three();
        // One bit a byte, each of the eight in turn: every start syncs the folder.
        for byte in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1 << (byte % 8);
            std::fs::write(&path, &damaged).unwrap();
            let error = numbers(folder.path()).unwrap_err();
            let start = [0, ends[0], ends[1]].into_iter().rfind(|start| *start <= byte).unwrap() as u64;
            assert!(matches!(error, DevledgerError::Damaged { offset, .. } if offset == start), "byte {byte}: {error}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn zeros_before_a_whole_record_are_damage() {
        let (folder, path, whole, ends) = three();
        for (from, to) in [(0, ends[0]), (ends[0], ends[1]), (ends[0], ends[0] + HEAD_BYTES), (0, ends[1])] {
            let mut damaged = whole.clone();
            damaged[from..to].fill(0);
            std::fs::write(&path, &damaged).unwrap();
            let error = numbers(folder.path()).unwrap_err();
            assert!(matches!(error, DevledgerError::Damaged { offset, .. } if offset == from as u64), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn a_chain_of_the_edition_before_is_named_as_such() {
        use sha2::{Digest, Sha256};
        let folder = tempfile::tempdir().unwrap();
        let block = vec![0x0a; 300];
        let old = [&300_u32.to_be_bytes()[..], &Sha256::digest(&block), &block].concat();
        std::fs::write(folder.path().join("chain.blocks"), &old).unwrap();
        let error = numbers(folder.path()).unwrap_err();
        assert!(matches!(error, DevledgerError::Edition(_)) && !error.retryable(), "{error}");
    }
}
