//! A certificate's chain, completed from the trust store and verified with the last accepted revocation lists.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use vitro_proof::chain::{
    CertificateId, ChainFault, ChainPolicy, Crl, SeenSignatures, VerifiedChain, verify_chain, verify_lasting,
};
use vitro_proof::{Hash, UnixMillis};

use crate::archive::Archive;
use crate::days::ObjectRef;
use crate::error::CloudError;
use crate::trust::{TrustStore, TrustedAuthority};

/// A device's certificate with the authorities that it leads through to a trusted root, the root left out: in DER, the device's first.
/// Neither the time nor a revocation is asked; of several paths all authorities are there, since which of them counts is for others to say.
///
/// # Errors
/// [`ChainFault`] if it leads to none.
pub fn complete(
    leaf: &[u8],
    issuer: Option<&[u8]>,
    authorities: &[TrustedAuthority],
) -> Result<Vec<Vec<u8>>, ChainFault> {
    let (roots, between): (Vec<_>, Vec<_>) = authorities.iter().partition(|authority| authority.parent.is_none());
    let der = |authority: &&'_ TrustedAuthority| authority.certificate.clone();
    let (roots, mut between): (Vec<Vec<u8>>, Vec<Vec<u8>>) =
        (roots.iter().map(der).collect(), between.iter().map(der).collect());
    let is_known = |issuer: &[u8]| roots.iter().chain(&between).any(|known| known == issuer);
    if let Some(issuer) = issuer.filter(|issuer| !is_known(issuer)) {
        between.push(issuer.to_vec());
    }
    let [issuers, anchors] = [&between, &roots].map(|all| all.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let paths = verify_lasting(leaf, &issuers, &anchors, &SeenSignatures::default())?;
    let mut chain = vec![leaf.to_vec()];
    for id in paths.iter().flat_map(|path| &path.chain.issuers) {
        let found = between.iter().find(|der| CertificateId::of(der) == *id);
        chain.extend(found.filter(|der| !chain.contains(der)).cloned());
    }
    Ok(chain)
}

/// The trust store with the lists that were read from the archive already: a list never changes under its digest.
pub struct Chains {
    store: Box<dyn TrustStore>,
    archive: Box<dyn Archive>,
    lists: Mutex<BTreeMap<Hash, Arc<Crl>>>,
}

impl Chains {
    /// Over a trust store and the archive that its lists are in.
    #[must_use]
    pub fn new(store: Box<dyn TrustStore>, archive: Box<dyn Archive>) -> Self {
        Self { store, archive, lists: Mutex::default() }
    }

    /// Verifies a device's certificate against the trust store as it is now. `issuer` is the authority that AWS IoT knows it by: it
    /// helps to complete the chain, and is believed no more than any other. The inner result is the verdict.
    ///
    /// # Errors
    /// [`CloudError`] if trust store or archive cannot be read, or a list in the archive is damaged: then there is no verdict.
    pub async fn verify(
        &self,
        leaf: &[u8],
        issuer: Option<&[u8]>,
        now: UnixMillis,
    ) -> Result<Result<VerifiedChain, ChainFault>, CloudError> {
        let authorities = self.store.authorities().await?;
        let mut lists = Vec::new();
        for authority in &authorities {
            lists.extend(self.list(authority).await?);
        }
        let is_root = |authority: &&TrustedAuthority| authority.parent.is_none();
        let roots: Vec<&[u8]> = authorities.iter().filter(is_root).map(|root| root.certificate.as_slice()).collect();
        let mut issuers: Vec<&[u8]> =
            authorities.iter().filter(|a| !is_root(a)).map(|authority| authority.certificate.as_slice()).collect();
        issuers.extend(issuer.filter(|issuer| !issuers.contains(issuer) && !roots.contains(issuer)));
        let lists: Vec<&Crl> = lists.iter().map(AsRef::as_ref).collect();
        Ok(verify_chain(leaf, &issuers, &roots, &lists, now, ChainPolicy::WithRevocation))
    }

    /// A device's certificate with those above it, as the ledger takes them. The inner result says why there is no chain.
    ///
    /// # Errors
    /// [`CloudError`] if the trust store cannot be read.
    pub async fn complete(
        &self,
        leaf: &[u8],
        issuer: Option<&[u8]>,
    ) -> Result<Result<Vec<Vec<u8>>, ChainFault>, CloudError> {
        Ok(complete(leaf, issuer, &self.store.authorities().await?))
    }

    /// The last accepted list of an authority. It was verified when it was accepted; its signature is checked again, because the
    /// archive and the table are not where a signature is made.
    async fn list(&self, authority: &TrustedAuthority) -> Result<Option<Arc<Crl>>, CloudError> {
        let Some(accepted) = &authority.crl else { return Ok(None) };
        let known = self.lists.lock().unwrap_or_else(PoisonError::into_inner).get(&accepted.digest).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let object = ObjectRef { key: accepted.key.clone(), version: String::new() };
        let bytes = self.archive.get(&object).await?;
        let damaged = |detail: String| CloudError::damaged(format!("the archive's {}", accepted.key), detail);
        let list = Crl::verify(&bytes, &authority.certificate).map_err(|fault| damaged(fault.to_string()))?;
        if list.hash() != accepted.digest {
            return Err(damaged(format!("its digest is {}", list.hash())));
        }
        let list = Arc::new(list);
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        // Old lists are of no use to anybody.
        if lists.len() > 64 {
            lists.clear();
        }
        lists.insert(accepted.digest, Arc::clone(&list));
        Ok(Some(list))
    }
}
