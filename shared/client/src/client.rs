//! The contract's functions as Rust functions. `docs/contract.md` lists them.

use vitro_contract::calls::{self, Call};
use vitro_contract::is_query;
use vitro_contract::{
    Agreement, AgreementId, AgreementView, Alive, AliveInclusion, AliveView, Amendment, AuditDay, BlockView, ChainView,
    DayHistory, DayView, DeviceApproval, DeviceChain, DeviceEntry, DevicePage, DeviceStatus, DeviceView, Exchange,
    ExchangeView, Halt, HeldAgreement, History, Hour, Hours, Inclusion, Item, MeteringPoint, Path, Record, Roles,
    RolesStatus, Settlement, Shard, SignOfLife, Simulation, StatementHead, StatementView, SummaryPage, SummaryRow,
    Termination, Verdict,
};
use vitro_ledger::Committed;
use vitro_proof::{DeviceId, Hash, LocalDay};

use crate::channel::Channel;
use crate::error::ClientError;

/// A transaction's id with the contract's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published<T> {
    /// The transaction.
    pub tx: String,
    /// The block that holds it.
    pub block: u64,
    /// What the contract answered.
    pub answer: T,
}

/// The contract behind a channel.
#[derive(Clone, Debug)]
pub struct Client<C>(C);

impl<C: Channel> Client<C> {
    /// The contract that `channel` leads to.
    pub fn new(channel: C) -> Self {
        Self(channel)
    }

    /// The channel itself.
    pub fn channel(&self) -> &C {
        &self.0
    }

    async fn ask<T: Record>(&self, function: &str, args: &[Vec<u8>]) -> Result<T, ClientError> {
        debug_assert!(is_query(function), "{function} changes the ledger");
        T::decode(&self.0.query(function, args).await?).map_err(ClientError::Answer)
    }

    async fn call<T: Record>(&self, function: &str, args: &[Vec<u8>]) -> Result<Published<T>, ClientError> {
        debug_assert!(!is_query(function), "{function} changes nothing");
        let Committed { tx_id, block_number, payload } = self.0.submit(function, args).await?;
        let answer = T::decode(&payload).map_err(ClientError::Answer)?;
        Ok(Published { tx: tx_id, block: block_number, answer })
    }

    async fn find<T: Record>(&self, call: &Call<T>) -> Result<T, ClientError> {
        self.ask(call.function, &call.args).await
    }

    async fn make<T: Record>(&self, call: &Call<T>) -> Result<Published<T>, ClientError> {
        self.call(call.function, &call.args).await
    }

    /// Submits this party's word on who plays which role.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn configure(&self, roles: &Roles) -> Result<Published<RolesStatus>, ClientError> {
        self.call("registry:configure", &[roles.encode()]).await
    }

    /// Who plays which role.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn roles(&self) -> Result<RolesStatus, ClientError> {
        self.ask("registry:roles", &[]).await
    }

    /// Registers devices, all or none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register_devices(&self, entries: &[DeviceEntry]) -> Result<Published<DevicePage>, ClientError> {
        let args: Vec<Vec<u8>> = entries.iter().map(Record::encode).collect();
        self.call("registry:register_device", &args).await
    }

    /// Registers devices at metering points that others serve, all or none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register_successors(&self, entries: &[DeviceEntry]) -> Result<Published<DevicePage>, ClientError> {
        self.make(&calls::register_successors(entries)).await
    }

    /// Registers a device's certificate chain, in DER: its own certificate first. The same again changes nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn certify(
        &self,
        thing: &DeviceId,
        chain: &[Vec<u8>],
    ) -> Result<Published<Vec<DeviceChain>>, ClientError> {
        self.make(&calls::certify(thing, chain)).await
    }

    /// A device's certificate chains, oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn chains(&self, thing: &DeviceId) -> Result<Vec<DeviceChain>, ClientError> {
        self.find(&calls::chains(thing)).await
    }

    /// Suspends a device. The same again changes nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn suspend(&self, thing: &DeviceId, halt: &Halt) -> Result<Published<DeviceStatus>, ClientError> {
        self.make(&calls::suspend(thing, halt)).await
    }

    /// Ends a suspension.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reinstate(&self, thing: &DeviceId) -> Result<Published<DeviceStatus>, ClientError> {
        self.make(&calls::reinstate(thing)).await
    }

    /// Retires a device for good.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retire(&self, thing: &DeviceId, halt: &Halt) -> Result<Published<DeviceStatus>, ClientError> {
        self.make(&calls::retire(thing, halt)).await
    }

    /// Replaces a metering point's device. The same again changes nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn exchange(&self, exchange: &Exchange) -> Result<Published<ExchangeView>, ClientError> {
        self.make(&calls::exchange(exchange)).await
    }

    /// What became of a device, and where it served.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn device_history(&self, thing: &DeviceId) -> Result<History, ClientError> {
        self.find(&calls::device_history(thing)).await
    }

    /// Which devices served a metering point, and what became of them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn point_history(&self, point: &MeteringPoint) -> Result<History, ClientError> {
        self.find(&calls::point_history(point)).await
    }

    /// Approves devices' entries, all or none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approve_devices(&self, list: &Vec<DeviceApproval>) -> Result<Published<DevicePage>, ClientError> {
        self.call("registry:approve_devices", &[list.encode()]).await
    }

    /// One device.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn device(&self, thing: &DeviceId) -> Result<DeviceView, ClientError> {
        self.ask("registry:device", &[bytes(thing)]).await
    }

    /// All devices, or those of a shard, page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn devices(&self, shard: Option<&Shard>) -> Result<Vec<DeviceView>, ClientError> {
        let shard = shard.map(bytes).unwrap_or_default();
        let (mut devices, mut from) = (Vec::new(), Vec::new());
        loop {
            let page: DevicePage = self.ask("registry:devices", &[shard.clone(), from]).await?;
            devices.extend(page.devices);
            match page.next {
                Some(next) => from = bytes(&next),
                None => return Ok(devices),
            }
        }
    }

    /// Proposes an agreement.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn propose(&self, agreement: &Agreement) -> Result<Published<AgreementView>, ClientError> {
        self.call("agreement:propose", &[agreement.encode()]).await
    }

    /// Proposes other terms from a day on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn amend(&self, amendment: &Amendment) -> Result<Published<AgreementView>, ClientError> {
        self.make(&calls::amend(amendment)).await
    }

    /// Proposes the end of an agreement.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn terminate(&self, termination: &Termination) -> Result<Published<AgreementView>, ClientError> {
        self.make(&calls::terminate(termination)).await
    }

    /// What a draft would have billed over past days, both included.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn simulate(&self, draft: &Agreement, from: LocalDay, to: LocalDay) -> Result<Simulation, ClientError> {
        self.find(&calls::simulate(draft, from, to)).await
    }

    /// What a proposal would have billed over past days, both included.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn simulate_proposal(
        &self,
        id: &AgreementId,
        hash: Hash,
        from: LocalDay,
        to: LocalDay,
    ) -> Result<Simulation, ClientError> {
        self.find(&calls::simulate_proposal(id, hash, from, to)).await
    }

    /// Approves an agreement, an amendment or a termination by its hash.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approve(&self, id: &AgreementId, hash: Hash) -> Result<Published<AgreementView>, ClientError> {
        self.call("agreement:approve", &[bytes(id), bytes(&hash)]).await
    }

    /// The newest active version of an agreement.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agreement(&self, id: &AgreementId) -> Result<AgreementView, ClientError> {
        self.ask("agreement:get", &[bytes(id)]).await
    }

    /// The version of an agreement that holds on a day.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agreement_on(&self, id: &AgreementId, day: LocalDay) -> Result<AgreementView, ClientError> {
        self.find(&calls::agreement_on(id, day)).await
    }

    /// All proposals of an id, or of all ids, page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agreements(&self, id: Option<&AgreementId>) -> Result<Vec<AgreementView>, ClientError> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let page = self.find(&calls::agreements(id, from.as_deref())).await?;
            found.extend(page.agreements);
            from = page.next;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// The agreements that are or were in force, page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agreements_in_force(&self) -> Result<Vec<HeldAgreement>, ClientError> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let page = self.find(&calls::agreements_in_force(from.as_ref())).await?;
            found.extend(page.agreements);
            from = page.next;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// Publishes items; gives a verdict for each, in their order.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Answer`] too if there is not a verdict an item.
    pub async fn publish(&self, items: &Vec<Item>) -> Result<Published<Vec<Verdict>>, ClientError> {
        self.call("data:publish", &[items.encode()]).await
    }

    /// Says how many of a shard's devices showed life in an hour. The same again changes nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn alive(&self, alive: &Alive) -> Result<Published<AliveView>, ClientError> {
        self.make(&calls::alive(alive)).await
    }

    /// What was said of a shard's hours, both ends included, and of which hours nothing was.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hours(
        &self,
        shard: &Shard,
        from: Hour,
        to: Hour,
    ) -> Result<(Vec<AliveView>, Vec<Hours>), ClientError> {
        let (mut said, mut missing, mut next) = (Vec::new(), Vec::<Hours>::new(), Some(from));
        while let Some(from) = next {
            let page = self.find(&calls::hours(shard, from, to)).await?;
            said.extend(page.hours);
            for hours in page.missing {
                match missing.last_mut() {
                    // A silence that goes on from one page to the next is one.
                    Some(last) if last.to.end() == hours.from.begin() => last.to = hours.to,
                    _ => missing.push(hours),
                }
            }
            // A page that begins where the last one did would be asked for without end.
            next = page.next.filter(|next| *next > from);
        }
        Ok((said, missing))
    }

    /// A block of a device by its number, interim ones too.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn block(&self, thing: &DeviceId, number: u64) -> Result<BlockView, ClientError> {
        self.find(&calls::block(thing, number)).await
    }

    /// All that became of a device's days, both ends included: accounts, corrections, the statements that cite them. At most 366 days.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn day_history(
        &self,
        thing: &DeviceId,
        from: LocalDay,
        to: LocalDay,
    ) -> Result<Vec<DayHistory>, ClientError> {
        let (mut days, mut next) = (Vec::new(), Some(from));
        while let Some(from) = next {
            let page = self.find(&calls::day_history(thing, from, to)).await?;
            days.extend(page.days);
            next = page.next.filter(|next| *next > from);
        }
        Ok(days)
    }

    /// What an auditor needs of a device's day, in one answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_day(&self, thing: &DeviceId, day: LocalDay) -> Result<AuditDay, ClientError> {
        self.find(&calls::audit_day(thing, day)).await
    }

    /// Verifies that an envelope is part of the day that the device signed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify_inclusion(
        &self,
        thing: &DeviceId,
        day: LocalDay,
        envelope: &[u8],
        path: &Path,
    ) -> Result<Inclusion, ClientError> {
        self.find(&calls::verify_inclusion(thing, day, envelope, path)).await
    }

    /// Verifies that an envelope is part of a block, an interim one perhaps.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify_in_block(
        &self,
        thing: &DeviceId,
        number: u64,
        envelope: &[u8],
        path: &Path,
    ) -> Result<Inclusion, ClientError> {
        self.find(&calls::verify_in_block(thing, number, envelope, path)).await
    }

    /// Verifies what is said to have been said of a device in a shard's hour.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify_alive(
        &self,
        shard: &Shard,
        hour: Hour,
        sign: &SignOfLife,
        index: u64,
        path: &Path,
    ) -> Result<AliveInclusion, ClientError> {
        self.find(&calls::verify_alive(shard, hour, sign, index, path)).await
    }

    /// What the ledger has of a device's day.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn day(&self, thing: &DeviceId, day: LocalDay) -> Result<DayView, ClientError> {
        self.ask("data:day", &[bytes(thing), bytes(&day)]).await
    }

    /// A device's chain of blocks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn chain(&self, thing: &DeviceId) -> Result<ChainView, ClientError> {
        self.ask("data:chain", &[bytes(thing)]).await
    }

    /// An agreement's summaries over days, page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn summaries(
        &self,
        id: &AgreementId,
        from: LocalDay,
        to: LocalDay,
    ) -> Result<Vec<SummaryRow>, ClientError> {
        let mut args = vec![bytes(id), bytes(&from), bytes(&to)];
        let mut rows = Vec::new();
        loop {
            let page: SummaryPage = self.ask("data:summaries", &args).await?;
            rows.extend(page.rows);
            args.truncate(3);
            match page.next {
                Some(next) => args.push(next.into_bytes()),
                None => return Ok(rows),
            }
        }
    }

    /// Closes a period, both days included. The same period again gives the same statement.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn close(
        &self,
        id: &AgreementId,
        from: LocalDay,
        to: LocalDay,
    ) -> Result<Published<StatementView>, ClientError> {
        self.call("billing:close", &[bytes(id), bytes(&from), bytes(&to)]).await
    }

    /// Draws a statement of corrections alone, of the days that settle as those of a version do.
    ///
    /// # Errors
    /// [`ClientError`]; `nothing_to_correct` if nothing changed since the last statement.
    pub async fn correct(&self, agreement: &AgreementId, version: Hash) -> Result<Published<Settlement>, ClientError> {
        self.make(&calls::correct(agreement, version)).await
    }

    /// A statement by its id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn statement(&self, id: Hash) -> Result<StatementView, ClientError> {
        self.ask("billing:statement", &[bytes(&id)]).await
    }

    /// The closed periods of an agreement.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn statements(&self, id: &AgreementId) -> Result<Vec<StatementHead>, ClientError> {
        self.ask("billing:statements", &[bytes(id)]).await
    }
}

fn bytes(text: &impl ToString) -> Vec<u8> {
    text.to_string().into_bytes()
}
