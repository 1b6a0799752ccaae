//! Random sequences of calls by anybody, that mostly make sense and sometimes do not.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use vitro_contract::testing::{TestDay, TestDevice, functions};
use vitro_contract::{
    Agreement, AgreementId, Alive, Amendment, Bytes, DeviceApproval, Exchange, Halt, Hour, Item, OuRole, Path, Record,
    Role, Roles, SignOfLife, StatusReason, Termination, calls,
};
use vitro_proof::{DeviceId, Hash, LocalDay, merkle};

use super::chains::Authorities;
use super::native::Committed;

/// The first hour of 2026-03-01, in UTC.
const FIRST_HOUR: i64 = 1_772_323_200;
/// Devices of a world.
const DEVICES: usize = 3;
/// Proposals of agreements of a world: the first pins an authority, the other one does not.
const AGREEMENTS: usize = 2;
/// Kinds of queries.
const QUERIES: usize = 23;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who(pub(crate) Role, pub(crate) OuRole);

/// What is called.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) who: Who,
    pub(crate) function: String,
    pub(crate) args: Vec<Vec<u8>>,
}

/// A block or account to publish.
#[derive(Clone, Copy, Debug)]
enum Publication {
    NextDay,
    LastAgain,
    LastAccountOnly,
    LastAccountMended,
    Fork,
    SkipADay,
    Garbage,
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Configure { wrong: bool },
    Register { device: usize, successor: bool },
    Approve { device: usize, wrong: bool },
    Certify { device: usize, ends: bool, whole: bool },
    Propose { agreement: usize },
    ApproveAgreement { agreement: usize },
    Amend { approve: bool },
    Terminate { approve: bool },
    Alive { hour: u8, alive: usize },
    Suspend { device: usize, good: Option<u64> },
    Retire { device: usize, good: Option<u64> },
    Reinstate { device: usize },
    Exchange { old: usize, new: usize },
    Close { agreement: usize, days: u8 },
    Correct { agreement: usize },
    Query { which: usize, device: usize, agreement: usize },
    Garbage { which: usize },
}

/// A step of a sequence, to be made into a call by a [`World`].
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An operation, by who should call it or by somebody else.
    One { operation: Operation, stranger: Option<(usize, usize)> },
    /// Publications of devices in one batch.
    Publish { items: Vec<(usize, usize)>, stranger: Option<(usize, usize)> },
}

fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for wrong in [false, false, true] {
        all.push(Operation::Configure { wrong });
    }
    for device in 0..DEVICES {
        all.push(Operation::Register { device, successor: false });
        all.push(Operation::Register { device, successor: true });
        for wrong in [false, false, true] {
            all.push(Operation::Approve { device, wrong });
        }
        for (ends, whole) in [(false, true), (true, true), (false, false)] {
            all.push(Operation::Certify { device, ends, whole });
        }
        for good in [None, Some(0), Some(2)] {
            all.push(Operation::Suspend { device, good });
        }
        all.push(Operation::Retire { device, good: Some(1) });
        all.push(Operation::Reinstate { device });
        all.push(Operation::Exchange { old: device, new: (device + 1) % DEVICES });
    }
    for agreement in 0..AGREEMENTS {
        all.push(Operation::Propose { agreement });
        all.extend([Operation::ApproveAgreement { agreement }; 4]);
        for days in [1, 2, 4] {
            all.push(Operation::Close { agreement, days });
        }
        all.extend([Operation::Correct { agreement }; 3]);
        for device in 0..DEVICES {
            all.extend((0..QUERIES).map(|which| Operation::Query { which, device, agreement }));
        }
    }
    for approve in [false, true, true, true, true] {
        all.extend([Operation::Amend { approve }, Operation::Terminate { approve }]);
    }
    for (hour, alive) in [(0, 3), (1, 2), (1, 3), (9, 1)] {
        all.push(Operation::Alive { hour, alive });
    }
    all.extend((0..6).map(|which| Operation::Garbage { which }));
    all
}

const PUBLICATIONS: [Publication; 10] = [
    Publication::NextDay,
    Publication::NextDay,
    Publication::NextDay,
    Publication::NextDay,
    Publication::LastAgain,
    Publication::LastAccountOnly,
    Publication::LastAccountMended,
    Publication::Fork,
    Publication::SkipADay,
    Publication::Garbage,
];

/// Steps of a sequence.
pub(crate) fn steps(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let operations = operations();
    let stranger = || proptest::option::weighted(0.1, (0..4_usize, 0..4_usize));
    let one = (proptest::sample::select(operations), stranger());
    let one = one.prop_map(|(operation, stranger)| Step::One { operation, stranger });
    let items = vec((0..DEVICES, 0..PUBLICATIONS.len()), 1..5);
    let publish = (items, stranger()).prop_map(|(items, stranger)| Step::Publish { items, stranger });
    vec(prop_oneof![3 => one, 1 => publish], length)
}

/// Of [`PUBLICATIONS`]: a day with an account that agrees, and then one that does not.
const NEXT_DAY: usize = 0;
const LAST_ACCOUNT_ONLY: usize = 5;

/// Devices and agreements with names of their own.
pub(crate) struct World {
    authorities: Authorities,
    devices: Vec<TestDevice>,
    last: Vec<Option<TestDay>>,
    agreements: Vec<Agreement>,
    votes: usize,
}

const OUS: [OuRole; 4] = [OuRole::Client, OuRole::Admin, OuRole::Peer, OuRole::Orderer];

/// The first day of every device.
fn first_day() -> LocalDay {
    "2026-03-01".parse().unwrap()
}

fn hour_of(number: u8) -> Hour {
    Hour::beginning(FIRST_HOUR + 3600 * i64::from(number)).unwrap()
}

impl World {
    /// A world whose names begin with `name`.
    pub(crate) fn new(name: &str) -> Self {
        let device = |index: usize| {
            let seed = u8::try_from(index + 1).unwrap();
            let mut device = TestDevice::new(&format!("{name}-{index}"), seed, first_day()).unwrap();
            // One point for all: one serves it, the others are successors. A shard of its own keeps worlds apart.
            device.entry.metering_point = format!("{name}-point-{}", index.min(1)).parse().unwrap();
            device.entry.shard = format!("{name}-shard").parse().unwrap();
            device
        };
        let authorities = Authorities::new();
        let agreement = |index: usize| -> Agreement {
            let price = ["0.25", "0.3333"][index % 2];
            let json = format!(
                r#"{{"id":"{name}-a","shard":"{name}-shard","points":null,"fields":[{{"sensor":"yield","unit":"kWh"}}],
                "tariff":{{"kind":"per_unit","sensor":"yield","unit":"kWh","price":"{price}"}},
                "currency":{{"code":"EUR","digits":2}},"term":{{"period":"days","from":"2026-01-01","to":null}},
                "payer":"dv","payees":[{{"role":"rc","share":1}},{{"role":"sp","share":2}}]}}"#
            );
            let mut agreement: Agreement = serde_json::from_str(&json).unwrap();
            if index == 0 {
                agreement.authorities.push(Bytes(authorities.root.clone()));
            }
            agreement
        };
        Self {
            devices: (0..DEVICES).map(device).collect(),
            last: vec![None; DEVICES],
            agreements: (0..AGREEMENTS).map(agreement).collect(),
            authorities,
            votes: 0,
        }
    }

    /// How a world begins: with nothing; with two devices that count, one by approvals and one by its chain, and an agreement that pins
    /// the chain's authority; or so that there is something to correct, too.
    pub(crate) fn opening(&mut self, number: usize) -> Vec<Call> {
        let mut steps = Vec::new();
        let mut take = |operation| steps.push(Step::One { operation, stranger: None });
        if !number.is_multiple_of(3) {
            (0..2).for_each(|device| take(Operation::Register { device, successor: false }));
            (0..2).for_each(|_| take(Operation::Approve { device: 0, wrong: false }));
            take(Operation::Propose { agreement: 0 });
            (0..4).for_each(|_| take(Operation::ApproveAgreement { agreement: 0 }));
        }
        let certify = Operation::Certify { device: 1, ends: false, whole: true };
        match number % 3 {
            0 => {}
            1 => take(certify),
            _ => {
                // What was billed turns out wrong, and what was not billed is certified when the period is closed.
                steps.push(Step::Publish { items: vec![(0, NEXT_DAY), (1, NEXT_DAY)], stranger: None });
                steps.push(Step::Publish { items: vec![(0, NEXT_DAY), (1, NEXT_DAY)], stranger: None });
                let mut take = |operation| steps.push(Step::One { operation, stranger: None });
                take(Operation::Close { agreement: 0, days: 2 });
                take(certify);
                let items = vec![(0, LAST_ACCOUNT_ONLY)];
                steps.push(Step::Publish { items, stranger: None });
                steps.push(Step::One { operation: Operation::Correct { agreement: 0 }, stranger: None });
            }
        }
        steps.iter().map(|step| self.call(step)).collect()
    }

    /// Asks for all statements that were drawn: what their ids are is known only afterwards.
    pub(crate) fn closing(committed: &Committed) -> Vec<Call> {
        let ids = committed.keys().filter_map(|key| key.strip_prefix("statement/"));
        let call = |id: &str| calls::statement(id.parse().unwrap());
        let asked = ids.map(call).map(|call| (call.function.to_owned(), call.args));
        asked.map(|(function, args)| Call { who: Who(Role::Rc, OuRole::Client), function, args }).collect()
    }

    /// Makes a step into a call.
    pub(crate) fn call(&mut self, step: &Step) -> Call {
        let (who, function, args, stranger) = match step {
            Step::One { operation, stranger } => {
                let (who, function, args) = self.operation(*operation);
                (who, function, args, stranger)
            }
            Step::Publish { items, stranger } => {
                let items: Vec<Item> = items.iter().map(|&(device, which)| self.item(device, which)).collect();
                (Who(Role::Operator, OuRole::Client), "data:publish", vec![items.encode()], stranger)
            }
        };
        let who = stranger.map_or(who, |(role, ou)| Who(Role::ALL[role], OUS[ou]));
        Call { who, function: function.to_owned(), args }
    }

    /// Somebody's turn, one after another.
    fn turn(&mut self, roles: &[Role]) -> Who {
        self.votes += 1;
        Who(roles[self.votes % roles.len()], OuRole::Admin)
    }

    fn item(&mut self, device: usize, which: usize) -> Item {
        let increase = vitro_proof::Decimal::from(i64::try_from(which).unwrap() + 1);
        let sealed = |device: &TestDevice| device.sealed(Some(&increase)).unwrap();
        match (PUBLICATIONS[which], &self.last[device]) {
            (Publication::LastAgain, Some(last)) => Item::day(last.message.clone(), &last.account),
            (Publication::LastAccountOnly, Some(last)) => {
                let mut account = last.account.clone();
                account.missing = vec![];
                account.count += 1;
                Item::account(&account).numbered(2)
            }
            (Publication::LastAccountMended, Some(last)) => Item::account(&last.account).numbered(3),
            (Publication::Fork, _) => {
                let fork = sealed(&self.devices[device]);
                Item::day(fork.message, &fork.account)
            }
            (Publication::SkipADay, _) => {
                self.devices[device].seal_day(Some(&increase)).unwrap();
                let next = sealed(&self.devices[device]);
                Item::day(next.message, &next.account)
            }
            (Publication::Garbage, _) => Item::interim(b"garbage".to_vec()),
            _ => {
                let next = self.devices[device].seal_day(Some(&increase)).unwrap();
                self.last[device] = Some(next.clone());
                Item::day(next.message, &next.account).numbered(1)
            }
        }
    }

    fn operation(&mut self, operation: Operation) -> (Who, &'static str, Vec<Vec<u8>>) {
        let operator = Who(Role::Operator, OuRole::Client);
        let text = |value: &dyn ToString| value.to_string().into_bytes();
        let thing = |device: usize| -> &DeviceId { self.devices[device].thing() };
        let halt = |good: Option<u64>| {
            Halt { at: 1_772_700_000_000, last_good: good, reason: StatusReason::Operator }.encode()
        };
        match operation {
            Operation::Configure { wrong } => {
                let Roles { operator, rc, dv, sp } = vitro_contract::testing::roles().unwrap();
                let (dv, sp) = if wrong { (sp, dv) } else { (dv, sp) };
                (self.turn(&Role::ALL), "registry:configure", vec![Roles { operator, rc, dv, sp }.encode()])
            }
            Operation::Register { device, successor } => {
                let function = if successor { "registry:register_successor" } else { "registry:register_device" };
                (operator, function, vec![self.devices[device].entry.encode()])
            }
            Operation::Approve { device, wrong } => {
                let entry = if wrong { Hash([7; 32]) } else { self.devices[device].entry.hash() };
                let approvals = vec![DeviceApproval { thing: thing(device).clone(), entry }].encode();
                (self.turn(&[Role::Rc, Role::Dv]), "registry:approve_devices", vec![approvals])
            }
            Operation::Certify { device, ends, whole } => {
                let chain = self.authorities.chain(&self.devices[device], ends, whole);
                let call = calls::certify(thing(device), &chain);
                (operator, call.function, call.args)
            }
            Operation::Propose { agreement } => {
                let bytes = self.agreements[agreement].encode();
                (self.turn(&Role::ALL), "agreement:propose", vec![bytes])
            }
            Operation::ApproveAgreement { agreement } => {
                let args = vec![text(&self.agreements[agreement].id), text(&self.agreements[agreement].hash())];
                (self.turn(&Role::ALL), "agreement:approve", args)
            }
            Operation::Amend { approve } => {
                let Agreement { id, .. } = &self.agreements[0];
                let id = text(id);
                let mut terms = self.agreements[1].clone();
                terms.term.from = "2026-03-04".parse().unwrap();
                let amendment = Amendment { replaces: self.agreements[0].hash(), terms };
                let hash = text(&amendment.hash());
                let who = self.turn(&Role::ALL);
                if approve {
                    (who, "agreement:approve", vec![id, hash])
                } else {
                    (who, "agreement:amend", vec![amendment.encode()])
                }
            }
            Operation::Terminate { approve } => {
                let agreement = &self.agreements[0];
                let last = "2026-03-06".parse().unwrap();
                let end = Termination { agreement: agreement.id.clone(), ends: agreement.hash(), last };
                let (id, hash) = (text(&end.agreement), text(&end.hash()));
                let who = self.turn(&Role::ALL);
                if approve {
                    (who, "agreement:approve", vec![id, hash])
                } else {
                    (who, "agreement:terminate", vec![end.encode()])
                }
            }
            Operation::Alive { hour, alive } => {
                let shard = self.devices[0].entry.shard.clone();
                let hour = Alive::of(shard, hour_of(hour), &self.signs(alive)).unwrap();
                (operator, "data:alive", vec![hour.encode()])
            }
            Operation::Suspend { device, good } => {
                (operator, "registry:suspend", vec![text(thing(device)), halt(good)])
            }
            Operation::Retire { device, good } => (operator, "registry:retire", vec![text(thing(device)), halt(good)]),
            Operation::Reinstate { device } => (operator, "registry:reinstate", vec![text(thing(device))]),
            Operation::Exchange { old, new } => {
                let exchange = Exchange {
                    old: thing(old).clone(),
                    new: thing(new).clone(),
                    day: "2026-03-05".parse().unwrap(),
                    at: 1_772_700_000_000,
                    last_good: Some(2),
                    first: 0,
                };
                (operator, "registry:exchange", vec![exchange.encode()])
            }
            Operation::Close { agreement, days } => {
                let id: &AgreementId = &self.agreements[agreement].id;
                let last = (1..days).fold(first_day(), |day, _| day.next().unwrap());
                (operator, "billing:close", vec![text(id), text(&first_day()), text(&last)])
            }
            Operation::Correct { agreement } => {
                let agreement = &self.agreements[agreement];
                let call = calls::correct(&agreement.id, agreement.hash());
                (operator, call.function, call.args)
            }
            Operation::Query { which, device, agreement } => self.query(which, device, agreement),
            Operation::Garbage { which } => {
                let (function, args): (_, Vec<Vec<u8>>) = match which {
                    0 => ("", vec![]),
                    1 => ("registry:nothing", vec![vec![0; 10]]),
                    2 => ("data:publish", vec![vec![0xff; 10]]),
                    3 => ("data:publish", vec![]),
                    4 => ("registry:device", vec![b"not/a name".to_vec()]),
                    _ => ("agreement:propose", vec![vec![0xa0]]),
                };
                (operator, function, args)
            }
        }
    }

    /// What is said of the devices, of which the first few are alive.
    fn signs(&self, alive: usize) -> Vec<SignOfLife> {
        let of = |(n, device): (usize, &TestDevice)| SignOfLife {
            thing: device.thing().clone(),
            alive: n < alive,
            number: None,
            heard: None,
            values: vec![],
        };
        self.devices.iter().enumerate().map(of).collect()
    }

    fn query(&mut self, which: usize, device: usize, agreement: usize) -> (Who, &'static str, Vec<Vec<u8>>) {
        let text = |value: &dyn ToString| value.to_string().into_bytes();
        let thing = text(self.devices[device].thing());
        let point = text(&self.devices[device].entry.metering_point);
        let shard = text(&self.devices[device].entry.shard);
        let id = text(&self.agreements[agreement].id);
        let hash = text(&self.agreements[agreement].hash());
        let (from, to) = (text(&first_day()), text(&"2026-03-09"));
        let (function, args) = match which {
            0 => ("registry:roles", vec![]),
            1 => ("registry:device", vec![thing]),
            2 => ("registry:devices", vec![shard, vec![]]),
            3 => ("registry:history", vec![b"device".to_vec(), thing]),
            4 => ("registry:history", vec![b"point".to_vec(), point]),
            5 => ("agreement:get", vec![id]),
            6 => ("agreement:get", vec![id, hash]),
            7 => ("agreement:list", vec![id, Vec::new()]),
            8 => ("data:day", vec![thing, from]),
            9 => ("data:chain", vec![thing]),
            10 => ("data:summaries", vec![id, from, to]),
            11 => ("audit:day", vec![thing, from]),
            12 => ("data:history", vec![thing, from, to]),
            13 => ("data:block", vec![thing, b"1".to_vec()]),
            14 => ("data:hours", vec![shard, text(&FIRST_HOUR), text(&(FIRST_HOUR + 5 * 3600))]),
            15 => ("agreement:simulate", vec![id, hash, from, to]),
            16 => ("agreement:simulate", vec![self.agreements[agreement].encode(), from, to]),
            17 => ("agreement:in_force", vec![Vec::new()]),
            18 => ("billing:statements", vec![id]),
            19 => {
                let path = Path { siblings: vec![] }.encode();
                ("audit:verify_inclusion", vec![thing, from, b"nonsense".to_vec(), path])
            }
            20 => ("registry:chains", vec![thing]),
            // One that was never drawn; those that were are asked for in the end.
            21 => ("billing:statement", vec![text(&Hash([5; 32]))]),
            _ => {
                let signs = self.signs(2);
                let leaves: Vec<_> = signs.iter().map(SignOfLife::leaf).collect();
                let path = Path { siblings: merkle::inclusion_proof(&leaves, device).unwrap() };
                let shard = &self.devices[device].entry.shard;
                let call = calls::verify_alive(shard, hour_of(1), &signs[device], device as u64, &path);
                (call.function, call.args)
            }
        };
        let Who(role, _) = self.turn(&Role::ALL);
        (Who(role, OuRole::Client), function, args)
    }
}

#[test]
fn the_operations_cover_every_function_of_the_contract() {
    let mut world = World::new("w");
    let mut steps: Vec<Step> =
        operations().into_iter().map(|operation| Step::One { operation, stranger: None }).collect();
    steps.push(Step::Publish { items: vec![(0, NEXT_DAY)], stranger: None });
    let called: BTreeSet<String> = steps.iter().map(|step| world.call(step).function).collect();
    let missing: Vec<&str> = functions().filter(|function| !called.contains(*function)).collect();
    assert!(missing.is_empty(), "never called: {missing:?}");
}
