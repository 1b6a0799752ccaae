//! Proposals on an agreement, and what came of them: versions, the days on which they hold, and how the ledger tells of them.

use vitro_proof::crypto::sha256;
use vitro_proof::{Hash, LocalDay};

use crate::error::ContractError;
use crate::ids::AgreementId;
use crate::model::{Agreement, Approval, PeriodKind};
use crate::wire::{Encoder, Record, Wire, Written, expect_fields, expect_key, record, wire, words};
record! {
    /// Other terms from a day on. The parties approve the hash of these bytes, as they did with what is amended.
    pub struct Amendment, "an amendment", version 1 {
        /// The hash of the newest version of the agreement: what is amended, and all its parties know it.
        1 => replaces: Hash,
        /// The whole new terms under the same id. They hold from their term's first day on.
        2 => terms: Agreement,
    }
}

impl Amendment {
    /// The hash that is approved.
    #[must_use]
    pub fn hash(&self) -> Hash {
        sha256(&[&self.encode()])
    }
}

record! {
    /// The end of an agreement that had no end, or another one. The parties approve the hash of these bytes.
    pub struct Termination, "a termination", version 1 {
        /// The agreement.
        1 => agreement: AgreementId,
        /// The hash of the newest version of the agreement.
        2 => ends: Hash,
        /// The last day on which it holds.
        3 => last: LocalDay,
    }
}

impl Termination {
    /// The hash that is approved.
    #[must_use]
    pub fn hash(&self) -> Hash {
        sha256(&[&self.encode()])
    }
}

words! {
    /// What the parties approve.
    pub enum DeedKind {
        /// The first terms under an id.
        0 "agreement" => Agreement,
        /// Other terms from a day on.
        1 "amendment" => Amendment,
        /// The end.
        2 "termination" => Termination,
    }
}

/// What is proposed and approved, by the hash of its own bytes. On the wire `[tag, content]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Tag 0.
    Agreement(Agreement),
    /// Tag 1.
    Amendment(Amendment),
    /// Tag 2.
    Termination(Termination),
}

impl Deed {
    pub(crate) fn id(&self) -> &AgreementId {
        match self {
            Self::Agreement(agreement) => &agreement.id,
            Self::Amendment(amendment) => &amendment.terms.id,
            Self::Termination(termination) => &termination.agreement,
        }
    }

    pub(crate) fn hash(&self) -> Hash {
        match self {
            Self::Agreement(agreement) => agreement.hash(),
            Self::Amendment(amendment) => amendment.hash(),
            Self::Termination(termination) => termination.hash(),
        }
    }
}

impl Wire for Deed {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.array(2)?;
        match self {
            Self::Agreement(agreement) => agreement.write(e.u8(0)?),
            Self::Amendment(amendment) => amendment.write(e.u8(1)?),
            Self::Termination(termination) => termination.write(e.u8(2)?),
        }
    }

    fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, ContractError> {
        expect_fields(d.array().map_err(wire)?, 2)?;
        match d.u64().map_err(wire)? {
            0 => Ok(Self::Agreement(Wire::read(d)?)),
            1 => Ok(Self::Amendment(Wire::read(d)?)),
            2 => Ok(Self::Termination(Wire::read(d)?)),
            other => Err(ContractError::malformed("a deed", format!("{other} is no known kind"))),
        }
    }
}

/// A proposal as it is stored: `{0: 2, 1: deed, 2: proposed}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// What is proposed.
    pub(crate) deed: Deed,
    /// By whom.
    pub(crate) proposed: Approval,
}

impl Wire for Proposal {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        self.deed.write(e.map(3)?.u8(0)?.u8(2)?.u8(1)?)?;
        self.proposed.write(e.u8(2)?)
    }

    fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, ContractError> {
        expect_fields(d.map().map_err(wire)?, 3)?;
        expect_key(d, 0, "the version")?;
        if d.u64().map_err(wire)? != 2 {
            return Err(ContractError::malformed(Self::NAME, "an unknown version"));
        }
        expect_key(d, 1, "the deed")?;
        let deed = Wire::read(d)?;
        expect_key(d, 2, "who proposed it")?;
        Ok(Self { deed, proposed: Wire::read(d)? })
    }
}

impl Record for Proposal {
    const NAME: &'static str = "a proposal";
}

record! {
    /// A version of an agreement that all four approved.
    pub(crate) struct Version {
        /// Its hash.
        0 => hash: Hash,
        /// The first day of its term.
        1 => from: LocalDay,
    }
}

record! {
    /// What is in force under an id. It only grows; the newest version that began holds, until it is amended or ended.
    pub(crate) struct Versions, "versions of an agreement", version 1 {
        /// The versions, oldest first; their first days never go back.
        1 => versions: Vec<Version>,
        /// The hash of the termination and the last day, if it is terminated.
        2 => ended: Option<Version>,
    }
}

record! {
    /// Days on which a version holds.
    pub struct Held {
        /// The first.
        0 => from: LocalDay,
        /// The last; nothing if it is open.
        1 => to: Option<LocalDay>,
    }
}

impl Held {
    /// Whether all days from the first to the last are among them.
    #[must_use]
    pub fn covers(&self, from: LocalDay, to: LocalDay) -> bool {
        self.from <= from && self.to.is_none_or(|last| to <= last)
    }
}

record! {
    /// An agreement, an amendment or a termination as the ledger has it.
    pub struct AgreementView, "an agreement's view", version 2 {
        /// The terms: of a termination, those that it ends.
        1 => agreement: Agreement,
        /// The hash that the parties approve.
        2 => hash: Hash,
        /// Who proposed it. Proposing is not approving.
        3 => proposed: Approval,
        /// Who approved it.
        4 => approvals: Vec<Approval>,
        /// Whether all four approved.
        5 => active: bool,
        /// What it is.
        6 => kind: DeedKind,
        /// Which version it amends or ends.
        7 => replaces: Option<Hash>,
        /// The last day of the agreement, of a termination.
        8 => last: Option<LocalDay>,
        /// The days on which these terms hold, of an active agreement or amendment; nothing if there are none.
        9 => holds: Option<Held>,
    }
}

record! {
    /// Some of the proposals.
    pub struct AgreementPage, "agreements", version 1 {
        /// The proposals, active or not.
        1 => agreements: Vec<AgreementView>,
        /// The cursor of the next page; nothing on the last.
        2 => next: Option<String>,
    }
}

record! {
    /// Terms that hold on some days.
    pub struct HeldVersion {
        /// What the parties approved.
        0 => hash: Hash,
        /// How it is billed.
        1 => period: PeriodKind,
        /// The days.
        2 => held: Held,
        /// The hash of payer, payees and shares, currency, sensor and unit: what has the same can stand on one statement.
        3 => settles: Hash,
    }
}

record! {
    /// An agreement that is or was in force.
    pub struct HeldAgreement {
        /// Its id.
        0 => id: AgreementId,
        /// Its versions, in the order of their days; none if its end left no day to any.
        1 => versions: Vec<HeldVersion>,
    }
}

record! {
    /// Some of the agreements that are or were in force, in the order of their ids.
    pub struct InForcePage, "agreements in force", version 1 {
        /// The agreements.
        1 => agreements: Vec<HeldAgreement>,
        /// With which the next page begins; nothing on the last.
        2 => next: Option<AgreementId>,
    }
}
