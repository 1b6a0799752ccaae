//! What must hold for arbitrary bytes: one body for each fuzz target, compiled into libFuzzer's programs (`fuzz_targets/`) and into
//! the tests of `vitro-proof`, which run the seeds and the corpus.
//!
//! The first byte of an input chooses the way in: a whole message as a stranger sends it, or a part that the body wraps and signs, so
//! that the code behind a signature or a digest is reached by changing bytes alone. A body returns whether its input was accepted all
//! the way: a seed that is not would teach the fuzzer nothing.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod block;
#[cfg(feature = "chain")]
pub(crate) mod chain;
pub(crate) mod command;
pub(crate) mod der;
pub(crate) mod encrypted;
pub(crate) mod envelope;
pub(crate) mod pack;

use std::sync::LazyLock;

use vitro_proof::crypto::{BadSignature, P256Key, SoftwareSigner, sha256};
use vitro_proof::{
    ContentType, DeviceId, Header, Kind, PublicKey, Sensor, SensorKind, SensorTable, Signature, Signer, SignerError,
    Verify,
};

/// The device of every body, and of the vectors.
pub(crate) const THING: &str = "dev-1";

/// [`THING`].
pub(crate) static DEVICE: LazyLock<DeviceId> = LazyLock::new(|| THING.parse().unwrap());

/// The keys of the vectors: a private key is the SHA-256 of `vitro test key <name>`.
pub(crate) fn scalar(name: &str) -> [u8; 32] {
    sha256(&[b"vitro test key ", name.as_bytes()]).0
}

/// A key that really signs.
pub(crate) struct Keys {
    pub(crate) signer: SoftwareSigner,
    pure: P256Key,
    #[cfg(feature = "aws-lc")]
    fast: vitro_proof::crypto::AwsLcKey,
}

impl Keys {
    fn of(name: &str) -> Self {
        let signer = SoftwareSigner::from_scalar(&scalar(name)).unwrap();
        let public = signer.public_key();
        Self {
            signer,
            pure: P256Key::new(&public).unwrap(),
            #[cfg(feature = "aws-lc")]
            fast: vitro_proof::crypto::AwsLcKey::new(&public).unwrap(),
        }
    }
}

/// Verifies with every backend; they must not differ.
impl Verify for Keys {
    fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let verdict = self.pure.verify(message, signature);
        #[cfg(feature = "aws-lc")]
        assert_eq!(verdict, self.fast.verify(message, signature), "the backends differ");
        verdict
    }
}

pub(crate) static DEVICE_KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::of(THING));
pub(crate) static COMMAND_KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::of("command-1"));

/// A key under which every signature verifies: for what comes behind it, a thousand times faster than a real one.
pub(crate) struct Anybody;

impl Verify for Anybody {
    fn verify(&self, _: &[u8], _: &Signature) -> Result<(), BadSignature> {
        Ok(())
    }
}

/// What [`Anybody`] takes for a signature.
pub(crate) const UNSIGNED: Signature = [1; 64];

impl Signer for Anybody {
    fn sign_digest(&self, _: &[u8; 32]) -> Result<Signature, SignerError> {
        Ok(UNSIGNED)
    }

    fn public_key(&self) -> PublicKey {
        DEVICE_KEYS.signer.public_key()
    }
}

/// The header of the device's telemetry.
pub(crate) fn telemetry(number: u64, content: ContentType) -> Header {
    Header { kind: Kind::Telemetry, content, kid: THING.to_owned(), number }
}

/// The table of the vectors: a register that resets daily, one that must only rise, a gauge, and a register of five digits.
pub(crate) static TABLE: LazyLock<SensorTable> = LazyLock::new(|| {
    let sensor = |name: &str, unit: &str, kind| Sensor { name: name.parse().unwrap(), unit: unit.to_owned(), kind };
    let counter = |width: Option<&str>, resets_normal| SensorKind::Counter {
        width: width.map(|width| width.parse().unwrap()),
        resets_normal,
    };
    let sensors = vec![
        sensor("energy", "kWh", counter(None, true)),
        sensor("gas", "m3", counter(None, false)),
        sensor("temp", "Cel", SensorKind::Gauge),
        sensor("water", "m3", counter(Some("100000"), false)),
    ];
    SensorTable::new(1, sensors).unwrap()
});

/// Cuts a part off that its length precedes, two bytes; what is longer than there are bytes ends with them.
pub(crate) fn cut(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_at_checked(2)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    Some(rest.split_at(length.min(rest.len())))
}

/// All the parts of an input.
pub(crate) fn parts(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((part, rest)) = cut(data) {
        parts.push(part);
        data = rest;
    }
    parts
}

/// The opposite of [`parts`], for seeds.
pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let one = |part: &&[u8]| [&u16::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    parts.iter().flat_map(one).collect()
}

/// Whether a slice is a piece of another one and no copy.
pub(crate) fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// One bit of the bytes turned over, chosen by all of them.
pub(crate) fn flipped(bytes: &[u8]) -> Vec<u8> {
    let digest = sha256(&[bytes]).0;
    let at = usize::from(u16::from_be_bytes([digest[0], digest[1]])) % bytes.len();
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << (digest[2] % 8);
    bytes
}
