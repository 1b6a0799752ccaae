//! A record of the chain's file: how a block is written, and how a write that was never finished is told from damage.
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | [`MAGIC`] |
//! | 4 | the block's length, big-endian |
//! | 32 | SHA-256 over the block |
//! | 8 | the first bytes of SHA-256 over the 40 before |
//! | length | the block |
//!
//! The head's own checksum makes a length believable: one that a flipped bit made larger would otherwise look like a record that was cut short, and
//! all behind it like its rest.

use sha2::{Digest, Sha256};
use vitro_ledger::MAX_MESSAGE_BYTES;

/// The beginning of a record.
const MAGIC: [u8; 4] = *b"VtB2";

/// The bytes before a block.
pub(crate) const HEAD_BYTES: usize = 48;

/// The bytes of a head that its checksum is over.
const CHECKED_BYTES: usize = 40;

/// A larger block could not be delivered to anybody.
pub(crate) const MAX_BLOCK_BYTES: usize = MAX_MESSAGE_BYTES;

/// What disks write whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Fewer zeros may well be part of a block.
const ENOUGH_ZEROS: usize = 16;

/// What a record's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the block.
    pub(crate) length: usize,
    hash: [u8; 32],
}

impl Head {
    /// The head of a block; `None` if the block is too large.
    pub(crate) fn of(block: &[u8]) -> Option<Self> {
        (block.len() <= MAX_BLOCK_BYTES).then(|| Self { length: block.len(), hash: Sha256::digest(block).into() })
    }

    /// Its bytes.
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&MAGIC);
        // Cannot truncate: a block is smaller than `MAX_BLOCK_BYTES`.
        head[4..8].copy_from_slice(&(self.length as u32).to_be_bytes());
        head[8..CHECKED_BYTES].copy_from_slice(&self.hash);
        let check = Sha256::digest(&head[..CHECKED_BYTES]);
        head[CHECKED_BYTES..].copy_from_slice(&check[..HEAD_BYTES - CHECKED_BYTES]);
        head
    }

    /// Reads the head at the beginning of the bytes; `None` if there is none, or one that is not what was written.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES)?;
        let (checked, check) = head.split_at(CHECKED_BYTES);
        let (start, hash) = checked.split_at(8);
        if start[..4] != MAGIC || Sha256::digest(checked)[..check.len()] != *check {
            return None;
        }
        let length = start[4..].iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        Some(Self { length, hash: hash.try_into().ok()? }).filter(|head| head.length <= MAX_BLOCK_BYTES)
    }

    /// Whether this is the block it was written for.
    pub(crate) fn is_of(&self, block: &[u8]) -> bool {
        block.len() == self.length && Sha256::digest(block)[..] == self.hash
    }
}

/// Whether what stands at the end of the file, from `offset` on, can be one write that was not finished: a record that a kill cut short, or one of
/// which a power cut left zeros in the place of what had not reached the disk. Nobody was told of such a block. Anything else is damage, and so is
/// whatever has a whole record behind it.
pub(crate) fn is_torn(tail: &[u8], offset: u64) -> bool {
    if let Some(head) = Head::read(tail) {
        let whole = HEAD_BYTES + head.length;
        return tail.len() < whole || (tail.len() == whole && has_lost_sectors(tail, offset));
    }
    if tail.len() < HEAD_BYTES {
        return tail.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic) || has_lost_sectors(tail, offset);
    }
    tail.len() <= HEAD_BYTES + MAX_BLOCK_BYTES
        && has_lost_sectors(tail, offset)
        && !tail.windows(HEAD_BYTES).skip(1).any(|bytes| bytes[..4] == MAGIC && Head::read(bytes).is_some())
}

/// Whether the end, or a piece between the borders of sectors, holds zeros alone.
fn has_lost_sectors(tail: &[u8], offset: u64) -> bool {
    let zeros = |piece: &[u8]| piece.iter().all(|byte| *byte == 0);
    // Cannot truncate: it is at most a sector's.
    let to_border = (SECTOR_BYTES - offset % SECTOR_BYTES) as usize;
    let (first, rest) = tail.split_at(to_border.min(tail.len()));
    let mut pieces = std::iter::once(first).chain(rest.chunks(SECTOR_BYTES as usize));
    let end = &tail[tail.len().saturating_sub(ENOUGH_ZEROS)..];
    zeros(end) || pieces.any(|piece| piece.len() >= ENOUGH_ZEROS && zeros(piece))
}

/// Whether a file begins with a record of the edition before: length, SHA-256 over the block, block.
pub(crate) fn is_of_the_edition_before(file: &[u8]) -> bool {
    let Some((head, rest)) = file.split_at_checked(36) else { return false };
    let (length, hash) = head.split_at(4);
    let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    rest.get(..length).is_some_and(|block| Sha256::digest(block)[..] == *hash)
}
