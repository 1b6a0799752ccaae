//! The little DER (X.690) that Fabric asks of a client: signatures and the header of a block.

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let skip = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push(0x80 | (bytes.len() - skip) as u8);
        out.extend_from_slice(&bytes[skip..]);
    }
    out.extend_from_slice(content);
    out
}

/// A non-negative INTEGER from its big-endian bytes.
pub(crate) fn integer(magnitude: &[u8]) -> Vec<u8> {
    let skip = magnitude.iter().take_while(|byte| **byte == 0).count();
    let digits = &magnitude[skip..];
    let mut content = Vec::with_capacity(digits.len() + 1);
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(digits);
    element(INTEGER, &content)
}

/// An OCTET STRING.
pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    element(OCTET_STRING, content)
}

/// A SEQUENCE of encoded parts.
pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// Reads `SEQUENCE { INTEGER r, INTEGER s }` with numbers of at most half of `N` bytes each into r then s.
pub(crate) fn signature<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let (body, rest) = read(SEQUENCE, bytes)?;
    let (r, body) = read(INTEGER, body)?;
    let (s, body) = read(INTEGER, body)?;
    if !rest.is_empty() || !body.is_empty() {
        return None;
    }
    let mut out = [0; N];
    place(r, &mut out[..N / 2])?;
    place(s, &mut out[N / 2..])?;
    Some(out)
}

fn place(number: &[u8], out: &mut [u8]) -> Option<()> {
    let digits = number.strip_prefix(&[0]).unwrap_or(number);
    let start = out.len().checked_sub(digits.len())?;
    out[start..].copy_from_slice(digits);
    Some(())
}

/// A signature's elements are all shorter than 128 bytes, so only short lengths are read.
fn read(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(2)?;
    if head[0] != tag || head[1] >= 0x80 {
        return None;
    }
    rest.split_at_checked(usize::from(head[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal_and_never_negative() {
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
    }

    #[test]
    fn long_elements_carry_their_length_in_bytes() {
        assert_eq!(octets(&[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(octets(&[0; 300])[..4], [4, 0x82, 1, 44]);
    }

    #[test]
    fn a_signature_with_anything_behind_it_is_none() {
        let mut bytes = sequence(&[integer(&[5]), integer(&[0xff; 32])]);
        let read: [u8; 64] = signature(&bytes).unwrap();
        assert_eq!(read[31], 5);
        assert_eq!(read[32..], [0xff; 32]);
        bytes.push(0);
        assert_eq!(signature::<64>(&bytes), None);
        let wide = sequence(&[integer(&[1; 33]), integer(&[1])]);
        assert_eq!(signature::<64>(&wide), None);
        let read: [u8; 96] = signature(&wide).unwrap();
        assert_eq!((&read[..15], &read[15..48], read[95]), (&[0; 15][..], &[1; 33][..], 1));
    }
}
