//! A peer that speaks the chaincode protocol from its side of the stream, over a state in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use fabric_shim_protos::common::{ChannelHeader, Header, SignatureHeader};
use fabric_shim_protos::msp::SerializedIdentity;
use fabric_shim_protos::peer::chaincode_message::Type;
use fabric_shim_protos::peer::{
    ChaincodeEvent, ChaincodeId, ChaincodeInput, ChaincodeMessage, ChaincodeProposalPayload, GetState, GetStateByRange,
    Proposal, PutState, QueryResponse, QueryResultBytes, QueryStateNext, Response, SignedProposal,
};
use fabric_shim_protos::prost_types::Timestamp;
use fabric_shim_protos::queryresult::Kv;
use prost::Message;
use rcgen::{CertificateParams, DnType, KeyPair};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;
use vitro_contract::{Context, Creator, OuRole};
use vitro_proof::Hash;

use crate::support::native::{Committed, ReadWriteSet, range};

/// The channel.
const CHANNEL: &str = "mychannel";
/// Of all transactions: 2026-03-31.
const NOW: i64 = 1_774_915_200;
/// Entries of a page of a range.
const PAGE: usize = 2;

/// Somebody with a certificate.
#[derive(Clone)]
pub(crate) struct Caller {
    serialized: Vec<u8>,
    creator: Creator,
}

impl Caller {
    pub(crate) fn new(msp: &str, role: OuRole) -> Self {
        let unit = match role {
            OuRole::Client => "client",
            OuRole::Admin => "admin",
            OuRole::Peer => "peer",
            OuRole::Orderer => "orderer",
        };
        let mut params = CertificateParams::default();
        // A unit that is no role stands beside it, as departments do in Fabric CA's certificates.
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 11]), "accounting");
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let identity = SerializedIdentity { mspid: msp.to_owned(), id_bytes: certificate.pem().into_bytes() };
        let certificate_hash = Hash(Sha256::digest(certificate.der()).into());
        let creator = Creator { msp: msp.to_owned(), role, certificate_hash };
        Self { serialized: identity.encode_to_vec(), creator }
    }

    /// The same without a certificate.
    pub(crate) fn stripped(self) -> Self {
        let identity = SerializedIdentity { mspid: self.creator.msp.clone(), id_bytes: vec![] };
        Self { serialized: identity.encode_to_vec(), ..self }
    }
}

/// What the chaincode answered, and what it read and wrote on the way.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) event: Option<ChaincodeEvent>,
    pub(crate) set: ReadWriteSet,
}

struct Running {
    set: ReadWriteSet,
    asked: bool,
    pages: HashMap<String, VecDeque<QueryResultBytes>>,
    done: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Shared {
    committed: Committed,
    running: BTreeMap<String, Running>,
    kinds: BTreeSet<Type>,
    registered: Option<String>,
    calls: u64,
    commits: u64,
    /// Requests for this key are not answered; who waits for them is told.
    black_hole: Option<String>,
    swallowed: Vec<oneshot::Sender<()>>,
    /// Told when this key is asked for.
    watched: Option<(String, oneshot::Sender<()>)>,
}

/// A peer on one stream.
#[derive(Clone)]
pub(crate) struct FakePeer {
    to_chaincode: mpsc::Sender<ChaincodeMessage>,
    shared: Arc<Mutex<Shared>>,
}

impl FakePeer {
    /// Takes a stream over, from `REGISTER` on.
    pub(crate) async fn on(
        mut from: Streaming<ChaincodeMessage>,
        to_chaincode: mpsc::Sender<ChaincodeMessage>,
    ) -> Self {
        let register = from.message().await.unwrap().unwrap();
        assert_eq!(register.r#type(), Type::Register);
        let id = ChaincodeId::decode(&register.payload[..]).unwrap();
        let shared = Arc::new(Mutex::new(Shared { registered: Some(id.name), ..Shared::default() }));
        for kind in [Type::Registered, Type::Ready] {
            to_chaincode.send(message(kind, "", vec![])).await.unwrap();
        }
        let peer = Self { to_chaincode, shared };
        let serving = peer.clone();
        // Holds no sender: whoever drops the last handle hangs up.
        let (weak, shared) = (serving.to_chaincode.downgrade(), serving.shared);
        tokio::spawn(async move {
            while let Ok(Some(message)) = from.message().await {
                let Some(answer) = serve(&shared, &message) else { continue };
                let Some(sender) = weak.upgrade() else { return };
                let (shared, txid) = (Arc::clone(&shared), message.txid.clone());
                // Others come before, as on a busy peer; a second request of the same transaction would be seen.
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    if let Some(running) = lock(&shared).running.get_mut(&txid) {
                        running.asked = false;
                    }
                    let _ = sender.send(answer).await;
                });
            }
            // Whoever still waits for an answer sees that none comes.
            lock(&shared).running.clear();
        });
        peer
    }

    /// The id that the chaincode registered under.
    pub(crate) fn registered(&self) -> String {
        lock(&self.shared).registered.clone().unwrap()
    }

    /// All kinds of messages that the chaincode sent after it registered.
    pub(crate) fn kinds(&self) -> BTreeSet<Type> {
        lock(&self.shared).kinds.clone()
    }

    pub(crate) fn committed(&self) -> Committed {
        lock(&self.shared).committed.clone()
    }

    /// Puts a key there, without a transaction.
    pub(crate) fn plant(&self, key: &str, value: &[u8]) {
        lock(&self.shared).committed.insert(key.to_owned(), ((0, 0), value.to_vec()));
    }

    /// From now on nobody who asks for `key` gets an answer; the returned receiver hears of the first who does.
    pub(crate) fn swallow(&self, key: &str, askers: usize) -> Vec<oneshot::Receiver<()>> {
        let (senders, receivers) = (0..askers).map(|_| oneshot::channel()).unzip();
        let mut shared = lock(&self.shared);
        shared.black_hole = Some(key.to_owned());
        shared.swallowed = senders;
        receivers
    }

    /// Hears when `key` is next asked for.
    pub(crate) fn asked(&self, key: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.shared).watched = Some((key.to_owned(), sender));
        receiver
    }

    /// What the next call's contract is told of its transaction.
    pub(crate) fn context(&self, caller: &Caller) -> Context {
        let number = lock(&self.shared).calls;
        let creator = caller.creator.clone();
        Context { tx_id: format!("tx-{number}"), timestamp: NOW, channel: CHANNEL.to_owned(), creator }
    }

    /// Starts a call; nothing is committed.
    pub(crate) async fn start(&self, caller: &Caller, function: &str, args: &[Vec<u8>]) -> oneshot::Receiver<Answer> {
        let (done, answer) = oneshot::channel();
        let context = self.context(caller);
        let running = Running { set: ReadWriteSet::default(), asked: false, pages: HashMap::new(), done };
        {
            let mut shared = lock(&self.shared);
            shared.calls += 1;
            shared.running.insert(context.tx_id.clone(), running);
        }
        let mut all = vec![function.as_bytes().to_vec()];
        all.extend_from_slice(args);
        let input = ChaincodeInput { args: all, ..ChaincodeInput::default() };
        let proposal = Some(proposal(&context, &caller.serialized));
        let transaction = message(Type::Transaction, &context.tx_id, input.encode_to_vec());
        self.to_chaincode.send(ChaincodeMessage { proposal, ..transaction }).await.unwrap();
        answer
    }

    /// Calls without committing.
    pub(crate) async fn call(&self, caller: &Caller, function: &str, args: &[Vec<u8>]) -> Answer {
        soon(self.start(caller, function, args).await).await.unwrap()
    }

    /// Commits what a call wrote.
    pub(crate) fn commit(&self, set: &ReadWriteSet) {
        let mut shared = lock(&self.shared);
        shared.commits += 1;
        let version = (shared.commits, 0);
        for (key, value) in &set.writes {
            shared.committed.insert(key.clone(), (version, value.clone()));
        }
    }
}

/// What comes at once, unless something hangs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(60), future).await.expect("nothing came within a minute")
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap()
}

fn message(kind: Type, txid: &str, payload: Vec<u8>) -> ChaincodeMessage {
    let (channel_id, txid) = (CHANNEL.to_owned(), txid.to_owned());
    ChaincodeMessage { r#type: kind as i32, channel_id, txid, payload, ..ChaincodeMessage::default() }
}

fn proposal(context: &Context, creator: &[u8]) -> SignedProposal {
    let channel_header = ChannelHeader {
        timestamp: Some(Timestamp { seconds: context.timestamp, nanos: 5 }),
        channel_id: context.channel.clone(),
        tx_id: context.tx_id.clone(),
        ..ChannelHeader::default()
    };
    let signature_header = SignatureHeader { creator: creator.to_vec(), nonce: vec![1] };
    let (channel_header, signature_header) = (channel_header.encode_to_vec(), signature_header.encode_to_vec());
    let header = Header { channel_header, signature_header }.encode_to_vec();
    let payload = ChaincodeProposalPayload::default().encode_to_vec();
    let proposal_bytes = Proposal { header, payload, extension: vec![] }.encode_to_vec();
    SignedProposal { proposal_bytes, signature: vec![] }
}

/// Answers a message of the chaincode, if it asks for something.
fn serve(shared: &Mutex<Shared>, asked: &ChaincodeMessage) -> Option<ChaincodeMessage> {
    let mut shared = lock(shared);
    let shared = &mut *shared;
    let kind = asked.r#type();
    shared.kinds.insert(kind);
    if kind == Type::Completed {
        let Running { set, done, .. } = shared.running.remove(&asked.txid)?;
        let response = Response::decode(&asked.payload[..]).unwrap();
        let _ = done.send(Answer { response, event: asked.chaincode_event.clone(), set });
        return None;
    }
    let running = shared.running.get_mut(&asked.txid)?;
    assert!(!std::mem::replace(&mut running.asked, true), "a second request of {} is on its way", asked.txid);
    let payload = match kind {
        Type::GetState => {
            let GetState { key, .. } = GetState::decode(&asked.payload[..]).unwrap();
            if shared.black_hole.as_ref() == Some(&key) {
                if let Some(asker) = shared.swallowed.pop() {
                    asker.send(()).unwrap();
                }
                return None;
            }
            if let Some((_, asked)) = shared.watched.take_if(|(watched, _)| *watched == key) {
                let _ = asked.send(());
            }
            let found = shared.committed.get(&key);
            running.set.reads.insert(key, found.map(|found| found.0));
            found.map(|found| found.1.clone()).unwrap_or_default()
        }
        Type::PutState => {
            let PutState { key, value, .. } = PutState::decode(&asked.payload[..]).unwrap();
            running.set.writes.push((key, value));
            vec![]
        }
        Type::GetStateByRange => {
            let GetStateByRange { start_key, end_key, .. } = GetStateByRange::decode(&asked.payload[..]).unwrap();
            let found: Vec<_> = range(&shared.committed, &start_key, &end_key).collect();
            let versions = found.iter().map(|(key, (version, _))| ((*key).clone(), *version)).collect();
            running.set.ranges.push((start_key, end_key, versions));
            let entries = found.into_iter().map(|(key, (_, value))| {
                let (key, value) = (key.clone(), value.clone());
                QueryResultBytes { result_bytes: Kv { namespace: "vitro".to_owned(), key, value }.encode_to_vec() }
            });
            let id = format!("range-{}", running.set.ranges.len());
            running.pages.insert(id.clone(), entries.collect());
            page(running, id)
        }
        Type::QueryStateNext => page(running, QueryStateNext::decode(&asked.payload[..]).unwrap().id),
        Type::QueryStateClose => vec![],
        other => panic!("a 2.2 peer does not know {other:?}"),
    };
    Some(message(Type::Response, &asked.txid, payload))
}

/// The next entries of a range.
fn page(running: &mut Running, id: String) -> Vec<u8> {
    let rest = running.pages.get_mut(&id).unwrap();
    let results = rest.drain(..PAGE.min(rest.len())).collect();
    QueryResponse { results, has_more: !rest.is_empty(), id, metadata: vec![] }.encode_to_vec()
}
