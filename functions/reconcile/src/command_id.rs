//! The ids of commands about a day. An id's first four bytes are the day, so that a reply finds its row; the rest is a digest of what
//! the command asks for and in which attempt, so that the same step done twice sends the same command.

use vitro_proof::crypto::sha256;
use vitro_proof::{DeviceId, LocalDay};

/// The id of a command about a day. `asks` is what it asks for, in any fixed form.
#[must_use]
pub fn of_day(thing: &DeviceId, day: LocalDay, asks: &str) -> [u8; 16] {
    let (year, month, date) = day.parts();
    let digest = sha256(&[b"vitro-command\0", thing.as_str().as_bytes(), b"\0", asks.as_bytes()]);
    let mut id = [0; 16];
    id[..2].copy_from_slice(&year.to_be_bytes());
    id[2] = month;
    id[3] = date;
    id[4..].copy_from_slice(&digest.0[..12]);
    id
}

/// The day in an id; nothing if it is not one of ours.
#[must_use]
pub fn day_of(id: &[u8; 16]) -> Option<LocalDay> {
    LocalDay::new(u16::from_be_bytes([id[0], id[1]]), id[2], id[3]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_day_and_what_it_asks() {
        let thing: DeviceId = "dev-1".parse().unwrap();
        let day: LocalDay = "2026-12-31".parse().unwrap();
        let id = of_day(&thing, day, "backfill 0 3-5");
        assert_eq!(day_of(&id), Some(day));
        assert_eq!(id, of_day(&thing, day, "backfill 0 3-5"));
        assert_ne!(id, of_day(&thing, day, "backfill 1 3-5"));
        assert_ne!(id, of_day(&"dev-2".parse().unwrap(), day, "backfill 0 3-5"));
        assert_eq!(day_of(&[0xff; 16]), None);
    }
}
