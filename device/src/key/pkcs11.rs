//! A key inside a token or secure element, by PKCS#11: it is made there, signs there, and never leaves.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use serde::{Deserialize, Serialize};
use vitro_proof::crypto::Signature;
use vitro_proof::{PublicKey, Signer, SignerError};

use super::PinSource;
use crate::error::DeviceError;

/// The object identifier of P-256 in DER: what `CKA_EC_PARAMS` says of such a key.
const P256_OID: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The head of the DER octet string that `CKA_EC_POINT` wraps a point of P-256 in.
const POINT_HEAD: [u8; 2] = [0x04, 65];

/// Which key of which token, as `device.toml` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Key {
    /// The PKCS#11 library of the token.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The label of the key pair, `CKA_LABEL`.
    pub label: String,
    /// Its id, `CKA_ID`, in hex, where the label is not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where the PIN is.
    pub pin: PinSource,
}

impl Pkcs11Key {
    pub(super) fn within(&self, folder: &Path) -> Self {
        Self { module: folder.join(&self.module), pin: self.pin.within(folder), ..self.clone() }
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        if self.label.is_empty() || self.token.is_empty() {
            return Err(DeviceError::Config("key.token and key.label are not empty".into()));
        }
        self.id_bytes().map(|_| ())
    }

    fn id_bytes(&self) -> Result<Option<Vec<u8>>, DeviceError> {
        let decode = |id: &String| hex::decode(id).ok().filter(|id| !id.is_empty());
        match &self.id {
            None => Ok(None),
            Some(id) => decode(id).map(Some).ok_or_else(|| DeviceError::Config(format!("key.id = {id:?} is no hex"))),
        }
    }

    /// By what both halves of the key pair are found.
    fn name(&self) -> Result<Vec<Attribute>, DeviceError> {
        let mut name = vec![Attribute::Label(self.label.as_bytes().to_vec())];
        name.extend(self.id_bytes()?.map(Attribute::Id));
        Ok(name)
    }

    fn error(&self, why: &dyn fmt::Display) -> DeviceError {
        DeviceError::key(&format!("key {:?} on token {:?}", self.label, self.token), why)
    }

    /// What the token answered: away, or wrong for good.
    fn failed(&self, during: &str, e: &Error) -> DeviceError {
        if refused_pin(e) {
            return DeviceError::Pin { token: self.token.clone() };
        }
        // The code's name alone: its text is a page of the standard.
        let why = match e {
            Error::Pkcs11(code, function) => format!("{during}: {function}: {code:?}"),
            other => format!("{during}: {other}"),
        };
        DeviceError::Signer(SignerError(why))
    }
}

fn refused_pin(e: &Error) -> bool {
    let wrong = [
        RvError::PinIncorrect,
        RvError::PinInvalid,
        RvError::PinLenRange,
        RvError::PinExpired,
        RvError::PinLocked,
        RvError::UserPinNotInitialized,
    ];
    matches!(e, Error::Pkcs11(code, _) if wrong.iter().any(|wrong| std::mem::discriminant(wrong) == std::mem::discriminant(code)))
}

/// The libraries that this process has loaded. A library is initialised once in a process, so it stays.
static LIBRARIES: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

fn library(key: &Pkcs11Key) -> Result<Pkcs11, DeviceError> {
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, library)) = libraries.iter().find(|(path, _)| *path == key.module) {
        return Ok(library.clone());
    }
    let load = |e: Error| DeviceError::Config(format!("key.module = {}: {e}", key.module.display()));
    let library = Pkcs11::new(&key.module).map_err(load)?;
    initialize(&library).map_err(load)?;
    libraries.push((key.module.clone(), library.clone()));
    Ok(library)
}

fn initialize(library: &Pkcs11) -> Result<(), Error> {
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        done => done,
    }
}

/// A session in which the private key can be used.
struct Open {
    session: Session,
    private: ObjectHandle,
}

/// A private key that stays in its token. A session that was lost is opened again; what the token signed is verified before it is used.
pub struct Pkcs11Signer {
    key: Pkcs11Key,
    public_key: PublicKey,
    verifier: VerifyingKey,
    state: Mutex<State>,
}

struct State {
    open: Option<Open>,
    /// The token refused the PIN: it is not asked again, since it would lock itself.
    locked_out: bool,
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Signer({})", self.public_key)
    }
}

impl Pkcs11Signer {
    /// Opens a key that is on the token.
    ///
    /// # Errors
    /// [`DeviceError::Key`] if there is no such key or several, it is no P-256 key, or the token would hand it out;
    /// [`DeviceError::Pin`]; [`DeviceError::Signer`] if the token is away; [`DeviceError::Config`] if the library cannot be loaded.
    pub fn open(key: &Pkcs11Key) -> Result<Self, DeviceError> {
        let session = login(key, false)?;
        let (private, public_key) = find(key, &session)?.ok_or_else(|| key.error(&"there is no such key"))?;
        Self::assemble(key, Open { session, private }, public_key)
    }

    /// Whether there is such a key on the token.
    ///
    /// # Errors
    /// As [`Pkcs11Signer::open`].
    pub fn exists(key: &Pkcs11Key) -> Result<bool, DeviceError> {
        Ok(find(key, &login(key, false)?)?.is_some())
    }

    /// Makes a key pair on the token: sensitive, not extractable, for signing alone.
    ///
    /// # Errors
    /// [`DeviceError::Key`] if there is one of this name already; else as [`Pkcs11Signer::open`].
    pub fn make(key: &Pkcs11Key) -> Result<Self, DeviceError> {
        let session = login(key, true)?;
        if find(key, &session)?.is_some() {
            return Err(key.error(&"there is one already, and a device is its key"));
        }
        let mut public = vec![
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(P256_OID.to_vec()),
        ];
        let mut private = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        public.extend(key.name()?);
        private.extend(key.name()?);
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .map_err(|e| key.failed("making a key", &e))?;
        // Opened as any other key: what the token says of it is checked.
        drop(session);
        Self::open(key)
    }

    fn assemble(key: &Pkcs11Key, open: Open, public_key: PublicKey) -> Result<Self, DeviceError> {
        let verifier = VerifyingKey::from_sec1_bytes(public_key.as_bytes())
            .map_err(|_| key.error(&"its point is not on P-256"))?;
        let state = Mutex::new(State { open: Some(open), locked_out: false });
        Ok(Self { key: key.clone(), public_key, verifier, state })
    }

    /// Opens the session again, and makes sure that it still shows the same key.
    fn reopen(&self) -> Result<Open, DeviceError> {
        let session = login(&self.key, false)?;
        match find(&self.key, &session)? {
            Some((private, public_key)) if public_key == self.public_key => Ok(Open { session, private }),
            Some(_) => Err(self.key.error(&"the token holds another key now")),
            None => Err(self.key.error(&"the key is gone")),
        }
    }

    fn sign_in(&self, open: &Open, digest: &[u8; 32]) -> Result<Signature, SignerError> {
        let bytes = open
            .session
            .sign(&Mechanism::Ecdsa, open.private, digest)
            .map_err(|e| SignerError(self.key.failed("signing", &e).to_string()))?;
        let wrong = |why: &str| SignerError(format!("the token gave {why}"));
        let raw: Signature = bytes.try_into().map_err(|_| wrong("no raw signature of 64 bytes"))?;
        let signature = p256::ecdsa::Signature::from_slice(&raw).map_err(|_| wrong("a signature out of range"))?;
        // A faulty element must not put its name under nonsense: what does not verify is not used.
        self.verifier.verify_prehash(digest, &signature).map_err(|_| wrong("a signature that does not verify"))?;
        Ok(raw)
    }
}

impl Signer for Pkcs11Signer {
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Signature, SignerError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.locked_out {
            return Err(SignerError("the token refused the PIN, and is not asked again".into()));
        }
        if let Some(open) = state.open.take()
            && let Ok(signature) = self.sign_in(&open, digest)
        {
            state.open = Some(open);
            return Ok(signature);
        }
        // The session was lost, or something is wrong for longer: once more in a new one, and then it is the caller's to try again.
        let open = match self.reopen() {
            Ok(open) => open,
            Err(e) => {
                state.locked_out = matches!(e, DeviceError::Pin { .. });
                return Err(SignerError(e.to_string()));
            }
        };
        let signature = self.sign_in(&open, digest)?;
        state.open = Some(open);
        Ok(signature)
    }

    fn public_key(&self) -> PublicKey {
        self.public_key
    }
}

/// A session of the token's user.
fn login(key: &Pkcs11Key, writing: bool) -> Result<Session, DeviceError> {
    let library = library(key)?;
    let slot = match slot(key, &library)? {
        Some(slot) => slot,
        None => {
            // Some libraries see a token that was put in again only when they begin anew.
            library
                .clone()
                .finalize()
                .and_then(|()| initialize(&library))
                .map_err(|e| key.failed("starting over", &e))?;
            slot(key, &library)?
                .ok_or_else(|| DeviceError::Signer(SignerError(format!("there is no token {:?}", key.token))))?
        }
    };
    let session = if writing { library.open_rw_session(slot) } else { library.open_ro_session(slot) };
    let session = session.map_err(|e| key.failed("opening a session", &e))?;
    let pin = AuthPin::from(key.pin.read()?.as_str());
    match session.login(UserType::User, Some(&pin)) {
        // The login holds for all sessions of a process.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(e) => Err(key.failed("logging in", &e)),
    }
}

fn slot(key: &Pkcs11Key, library: &Pkcs11) -> Result<Option<Slot>, DeviceError> {
    // Not initialised after a failed restart: then it begins now.
    initialize(library).map_err(|e| key.failed("starting", &e))?;
    for slot in library.get_slots_with_token().map_err(|e| key.failed("looking for tokens", &e))? {
        // A token that goes away while it is looked at is not the one.
        if library.get_token_info(slot).is_ok_and(|info| info.label() == key.token) {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// The private key's handle and the public key; nothing if there is neither.
fn find(key: &Pkcs11Key, session: &Session) -> Result<Option<(ObjectHandle, PublicKey)>, DeviceError> {
    let one = |class: ObjectClass, what: &str| -> Result<Option<ObjectHandle>, DeviceError> {
        let mut template = vec![Attribute::Class(class), Attribute::KeyType(KeyType::EC)];
        template.extend(key.name()?);
        let found = session.find_objects(&template).map_err(|e| key.failed("looking for the key", &e))?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            several => Err(key.error(&format!("there are {} {what} keys of this name", several.len()))),
        }
    };
    match (one(ObjectClass::PRIVATE_KEY, "private")?, one(ObjectClass::PUBLIC_KEY, "public")?) {
        (None, None) => Ok(None),
        (Some(private), Some(public)) => {
            stays_inside(key, session, private)?;
            Ok(Some((private, point(key, session, public)?)))
        }
        (Some(_), None) => Err(key.error(&"its public key is not there")),
        (None, Some(_)) => Err(key.error(&"its private key is not there")),
    }
}

/// A key that the token would hand out is no device's key.
fn stays_inside(key: &Pkcs11Key, session: &Session, private: ObjectHandle) -> Result<(), DeviceError> {
    let asked = [AttributeType::Sensitive, AttributeType::Extractable];
    let found = session.get_attributes(private, &asked).map_err(|e| key.failed("looking at the key", &e))?;
    if found.contains(&Attribute::Sensitive(true)) && found.contains(&Attribute::Extractable(false)) {
        Ok(())
    } else {
        Err(key.error(&"it can leave the token: a device's key is sensitive and not extractable"))
    }
}

fn point(key: &Pkcs11Key, session: &Session, public: ObjectHandle) -> Result<PublicKey, DeviceError> {
    let asked = [AttributeType::EcParams, AttributeType::EcPoint];
    let found = session.get_attributes(public, &asked).map_err(|e| key.failed("looking at the key", &e))?;
    let mut point = None;
    for attribute in found {
        match attribute {
            Attribute::EcParams(curve) if curve != P256_OID => return Err(key.error(&"it is no key of P-256")),
            Attribute::EcPoint(bytes) => point = Some(bytes),
            _ => {}
        }
    }
    let point = point.ok_or_else(|| key.error(&"the token does not tell its point"))?;
    // DER, as the standard has it since 2.30; bare, as some tokens have it.
    let bare = point.strip_prefix(&POINT_HEAD).filter(|bare| bare.len() == 65).unwrap_or(&point);
    PublicKey::from_sec1(bare).map_err(|_| key.error(&"its point is not uncompressed"))
}
