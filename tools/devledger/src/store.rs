//! The chain on disk: one file, to which whole blocks are appended and synced before anybody hears of them.
//!
//! A record is the length of the block (4 bytes, big-endian), SHA-256 over the block, and the block. A kill in the middle of a write leaves a
//! record that is shorter than it says: it is cut off at the next start, and nobody was told of it. Any other damage is an error.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use vitro_ledger::block::{data_hash, header_hash};
use vitro_ledger::proto::common::Block;

use crate::error::DevledgerError;

const HEAD_BYTES: usize = 4 + 32;

/// The file and where each block begins in it.
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    /// Offset and length of each block's bytes.
    places: Vec<(u64, u32)>,
    end: u64,
}

impl Store {
    /// Opens the chain of a data directory, hands every block in order to `each`, and cuts off a torn tail.
    ///
    /// # Errors
    /// [`DevledgerError::File`]; [`DevledgerError::Damaged`] if a block is not what its record or the chain says.
    pub(crate) fn open(
        folder: &Path,
        mut each: impl FnMut(&Block) -> Result<(), DevledgerError>,
    ) -> Result<Self, DevledgerError> {
        let path = folder.join("chain.blocks");
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = file.map_err(DevledgerError::file(&path))?;
        // The file's name must survive a power cut as its contents do.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(DevledgerError::file(folder))?;
        let size = file.metadata().map_err(DevledgerError::file(&path))?.len();
        let mut store = Self { path, file, places: Vec::new(), end: 0 };
        let mut reader = BufReader::new(store.file.try_clone().map_err(store.fault())?);
        reader.seek(SeekFrom::Start(0)).map_err(store.fault())?;
        let mut previous: Option<[u8; 32]> = None;
        while let Some(bytes) = read_record(&mut reader).map_err(|error| match error {
            ReadError::Io(error) => store.fault()(error),
            ReadError::BadHash => store.damaged("the block's checksum does not match"),
        })? {
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
        if store.end < size {
            tracing::warn!(bytes = size - store.end, "a torn write was cut off the chain's file");
            store.file.set_len(store.end).map_err(store.fault())?;
            store.file.sync_all().map_err(store.fault())?;
        }
        Ok(store)
    }

    /// Appends a block. When this returns, the block survives a kill and a power cut.
    ///
    /// # Errors
    /// [`DevledgerError::File`]. The file's end is then unknown, so nothing may be appended any more; a new start repairs it.
    pub(crate) fn append(&mut self, block: &Block) -> Result<(), DevledgerError> {
        let bytes = block.encode_to_vec();
        let mut record = Vec::with_capacity(HEAD_BYTES + bytes.len());
        let length = u32::try_from(bytes.len()).map_err(|error| self.damaged(error))?;
        record.extend_from_slice(&length.to_be_bytes());
        record.extend_from_slice(&Sha256::digest(&bytes));
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
        let mut bytes = vec![0; *length as usize];
        self.file.read_exact_at(&mut bytes, *offset).map_err(self.fault())?;
        Block::decode(&bytes[..]).map(Some).map_err(|error| self.damaged(error))
    }

    /// The number of blocks.
    #[must_use]
    pub(crate) fn height(&self) -> u64 {
        self.places.len() as u64
    }

    fn note(&mut self, length: usize) {
        // Cannot truncate: records are written and read with a length of 32 bits.
        self.places.push((self.end + HEAD_BYTES as u64, length as u32));
        self.end += (HEAD_BYTES + length) as u64;
    }

    fn fault(&self) -> impl FnOnce(std::io::Error) -> DevledgerError + use<> {
        DevledgerError::file(self.path.clone())
    }

    fn damaged(&self, detail: impl ToString) -> DevledgerError {
        DevledgerError::Damaged { offset: self.end, detail: detail.to_string() }
    }
}

enum ReadError {
    Io(std::io::Error),
    BadHash,
}

/// A record's block; `None` at the end of the file and for a record that the file does not hold whole.
fn read_record(reader: &mut impl Read) -> Result<Option<Vec<u8>>, ReadError> {
    let mut head = [0; HEAD_BYTES];
    let mut whole = |buffer: &mut [u8]| match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(ReadError::Io(error)),
    };
    if !whole(&mut head)? {
        return Ok(None);
    }
    let (length, hash) = head.split_at(4);
    let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    let mut bytes = vec![0; length];
    if !whole(&mut bytes)? {
        return Ok(None);
    }
    if Sha256::digest(&bytes)[..] != *hash {
        return Err(ReadError::BadHash);
    }
    Ok(Some(bytes))
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

    #[test]
    fn every_torn_tail_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let ends = chain(folder.path(), 3);
        let path = folder.path().join("chain.blocks");
        let whole = std::fs::read(&path).unwrap();
        for length in (ends[1]..ends[2]).rev() {
            std::fs::write(&path, &whole[..length as usize]).unwrap();
            assert_eq!(numbers(folder.path()).unwrap(), [0, 1], "{length}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), ends[1]);
        }
    }

    #[test]
    fn a_changed_byte_is_damage_and_not_a_torn_tail() {
        let folder = tempfile::tempdir().unwrap();
        chain(folder.path(), 2);
        let path = folder.path().join("chain.blocks");
        let mut whole = std::fs::read(&path).unwrap();
        whole[HEAD_BYTES + 2] ^= 1;
        std::fs::write(&path, &whole).unwrap();
        assert!(matches!(numbers(folder.path()), Err(DevledgerError::Damaged { offset: 0, .. })));
    }
}
