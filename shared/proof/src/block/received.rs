//! A block message as it travels: in clear, or with salt and summaries encrypted for the operator's data-proxy key.
//!
//! The signed block commits to the clear summaries either way, so what is archived, compared and published is the clear message; the
//! encrypted one only hides the figures, and the salt that would let their digest be guessed, from whoever carries it.

use minicbor::Decoder;
use minicbor::data::Type;

use super::{BlockMessage, OpenError, malformed};
use crate::cbor;
use crate::confidential::{Bound, DataKeys, Inside, Sealed, Undecryptable};
use crate::crypto::Verify;
use crate::envelope::{Envelope, Kind};
use crate::error::{BlockFault, EnvelopeFault};
use crate::ids::DeviceId;

/// What came on a block's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceivedBlock {
    /// Envelope, salt and summaries.
    Clear(BlockMessage),
    /// Envelope, and a COSE_Encrypt around salt and summaries.
    Confidential {
        /// The envelope as it was signed.
        envelope: Vec<u8>,
        /// The COSE_Encrypt.
        opening: Vec<u8>,
    },
}

impl ReceivedBlock {
    /// Reads a message of either form: an array of three, or of two.
    ///
    /// # Errors
    /// [`BlockFault::NotABlock`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockFault> {
        cbor::check(bytes).map_err(|fault| malformed(format!("{fault:?}")))?;
        let mut d = Decoder::new(bytes);
        if d.array().map_err(malformed)? != Some(2) {
            return BlockMessage::decode(bytes).map(Self::Clear);
        }
        let mut part = |what: &str| match d.datatype() {
            Ok(Type::Bytes) => d.bytes().map(<[u8]>::to_vec).map_err(malformed),
            _ => Err(malformed(format!("{what} is no byte string"))),
        };
        Ok(Self::Confidential { envelope: part("the envelope")?, opening: part("the encrypted part")? })
    }

    /// Writes the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Clear(message) => message.encode(),
            Self::Confidential { envelope, opening } => cbor::encode(|e| {
                e.array(2)?.bytes(envelope)?.bytes(opening)?;
                Ok(())
            }),
        }
    }

    /// The envelope as it was signed.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        match self {
            Self::Clear(message) => &message.envelope,
            Self::Confidential { envelope, .. } => envelope,
        }
    }

    /// Whose key it is encrypted for; nothing if it is in clear, or not of the form.
    #[must_use]
    pub fn recipient(&self) -> Option<&str> {
        match self {
            Self::Clear(_) => None,
            Self::Confidential { opening, .. } => Sealed::parse(opening).ok().map(|sealed| sealed.recipient()),
        }
    }

    /// The clear message. The signature of a confidential one is checked before anything is decrypted; all the rest is for
    /// [`BlockMessage::open`] to check.
    ///
    /// # Errors
    /// [`OpenError`]; without the key its block fault is [`BlockFault::Encrypted`].
    pub fn reveal(self, thing: &DeviceId, key: &dyn Verify, keys: &dyn DataKeys) -> Result<BlockMessage, OpenError> {
        let (envelope, opening) = match self {
            Self::Clear(message) => return Ok(message),
            Self::Confidential { envelope, opening } => (envelope, opening),
        };
        let number = {
            let envelope = Envelope::parse(&envelope).map_err(OpenError::Envelope)?;
            if envelope.header().kind != Kind::Block {
                return Err(OpenError::Envelope(EnvelopeFault::WrongKind));
            }
            if envelope.header().kid != thing.as_str() {
                return Err(OpenError::Block(BlockFault::OtherDevice));
            }
            envelope.verify(key).map_err(|_| OpenError::Signature)?;
            envelope.header().number
        };
        let (salt, summaries) = unseal(&opening, &Bound { thing, number }, keys).map_err(OpenError::Block)?;
        Ok(BlockMessage { envelope, salt, summaries })
    }
}

/// Salt and summaries of a COSE_Encrypt: a CBOR array of two byte strings.
fn unseal(opening: &[u8], bound: &Bound<'_>, keys: &dyn DataKeys) -> Result<([u8; 16], Vec<u8>), BlockFault> {
    let bad = |why: &dyn std::fmt::Display| BlockFault::Undecryptable(why.to_string());
    let sealed = Sealed::parse(opening).map_err(|e| bad(&e))?;
    if sealed.inside() != Inside::Opening {
        return Err(bad(&"something else than summaries is encrypted"));
    }
    let key = keys.data_key(sealed.recipient());
    let key = key.ok_or_else(|| BlockFault::Encrypted(sealed.recipient().chars().take(80).collect()))?;
    let clear = key.unseal(&sealed, bound).map_err(|fault: Undecryptable| bad(&fault))?;
    let form = |_| bad(&"not an array of salt and summaries");
    cbor::check(&clear).map_err(|_| bad(&"not an array of salt and summaries"))?;
    let mut d = Decoder::new(&clear);
    if d.array().map_err(form)? != Some(2) {
        return Err(bad(&"not an array of salt and summaries"));
    }
    let salt = d.bytes().map_err(form)?.try_into().map_err(|_| bad(&"the salt has not 16 bytes"))?;
    Ok((salt, d.bytes().map_err(form)?.to_vec()))
}

#[cfg(feature = "confidential")]
impl BlockMessage {
    /// The message as a confidential device sends it. `once` is drawn for this message alone.
    ///
    /// # Errors
    /// [`crate::ProofError`] if the recipient's key cannot be used, or the message's envelope is none.
    pub fn conceal(
        &self,
        thing: &DeviceId,
        recipient: &crate::confidential::Recipient,
        once: crate::confidential::OneTime,
    ) -> Result<ReceivedBlock, crate::ProofError> {
        let envelope = Envelope::parse(&self.envelope).map_err(|e| crate::ProofError::cbor("a block's envelope", e))?;
        let bound = Bound { thing, number: envelope.header().number };
        let clear = cbor::encode(|e| {
            e.array(2)?.bytes(&self.salt)?.bytes(&self.summaries)?;
            Ok(())
        });
        let opening = crate::confidential::seal(Inside::Opening, &bound, &clear, recipient, once)?;
        Ok(ReceivedBlock::Confidential { envelope: self.envelope.clone(), opening })
    }
}
