//! Which devices RC and DV approve: those of a list of their own, or those that they have read and said yes to.
//!
//! A device that both approved is one whose readings they pay on. So an approval names hashes of entries that this party saw: the
//! hash is computed here from the entry that is shown, and a peer that shows another entry than the ledger's gets no approval for it.
//! Between reading and saying yes anybody may register more, so a yes is to the very list that was shown: it names the list's hash. That is
//! a whole SHA-256: the operator registers entries as it likes, and would find two lists that share the first digits.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vitro_client::{Channel, Client};
use vitro_contract::{DeviceApproval, DeviceView, MeteringPoint, Record};
use vitro_proof::crypto::sha256;
use vitro_proof::{DeviceId, Hash, PublicKey};

use super::{ApproveDevicesArgs, Screen, print};
use crate::error::CliError;
use crate::instant::show_seconds;
use crate::output;

/// Devices in one transaction: each is answered whole, and Managed Blockchain takes 1 MB of arguments, answer, reads and writes.
pub(super) const BATCH: usize = 200;

/// A device as the party's own list has it. What stands there has to be what the ledger has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    device: DeviceId,
    /// From the maker, or read from the device itself: 130 hexadecimal digits.
    #[serde(default)]
    public_key: Option<PublicKey>,
    #[serde(default)]
    metering_point: Option<MeteringPoint>,
    /// The hash of its entry.
    #[serde(default)]
    entry: Option<Hash>,
}

/// Approves devices, after they are shown.
pub(super) async fn approve<C: Channel>(
    client: &Client<C>,
    args: &ApproveDevicesArgs,
    msp: &str,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let views = match (&args.file, &args.shard) {
        (Some(file), _) => checked(client, &read(file)?).await?,
        (None, Some(shard)) => client.devices(Some(shard)).await?,
        (None, None) => named(client, args.things.iter()).await?,
    };
    for view in &views {
        let hash = view.entry.hash();
        if hash != view.hash {
            let thing = &view.entry.thing;
            return Err(CliError::Refused(format!(
                "the peer says that the entry of {thing} has the hash {}, but it shows one with {hash}; nothing was approved",
                view.hash
            )));
        }
    }
    let mut waiting: Vec<DeviceView> =
        views.into_iter().filter(|view| view.approvals.iter().all(|approval| approval.msp != msp)).collect();
    waiting.sort_by(|one, other| one.entry.thing.cmp(&other.entry.thing));
    waiting.dedup_by(|one, other| one.entry.thing == other.entry.thing);
    if waiting.is_empty() {
        return Err(CliError::NotFound("no device waits for this party's approval".into()));
    }
    if args.file.is_none() {
        let shown = Shown { hash: hash_of(&waiting), entries: waiting.as_slice() };
        if args.yes != Some(shown.hash) {
            screen.show(&shown, |out, shown| {
                print::entries(out, shown.entries)?;
                let told = "nothing was approved: hold these against what you know of the devices, then say";
                output::line(out, &format!("{told} --yes {}", shown.hash))
            })?;
            return Err(not_these(args.yes, &waiting));
        }
    }
    for part in waiting.chunks(BATCH) {
        let published = client.approve_devices(&approvals(part)).await?;
        screen.done(published, |out, page| print::devices(out, &page.devices))?;
    }
    Ok(())
}

/// What a party is to read before it says yes.
#[derive(Serialize)]
struct Shown<'a> {
    /// What waits for its approval.
    entries: &'a [DeviceView],
    /// What it says yes to: the hash of just these.
    hash: Hash,
}

fn approvals(views: &[DeviceView]) -> Vec<DeviceApproval> {
    views.iter().map(|view| DeviceApproval { thing: view.entry.thing.clone(), entry: view.hash }).collect()
}

/// The hash of a list: of what is handed in to approve all of it.
fn hash_of(views: &[DeviceView]) -> Hash {
    sha256(&[&approvals(views).encode()])
}

/// Why nothing was approved. Of the list that was read only the hash is known, so what came last is named.
fn not_these(said: Option<Hash>, waiting: &[DeviceView]) -> CliError {
    let Some(said) = said else { return CliError::NotYet(format!("{} wait for --yes", waiting.len())) };
    let newest = waiting.iter().max_by_key(|view| view.time);
    let newest = newest.map(|view| format!("{}, of {}", view.entry.thing, show_seconds(view.time)));
    CliError::Refused(format!(
        "nothing was approved: what waits now is not the list {said}; it was approved in part or changed since (the newest of its {} \
         entries: {}). Read what is shown now, and say yes to that",
        waiting.len(),
        newest.unwrap_or_default()
    ))
}

async fn named<C: Channel>(
    client: &Client<C>,
    things: impl Iterator<Item = &DeviceId>,
) -> Result<Vec<DeviceView>, CliError> {
    let mut views = Vec::new();
    for thing in things {
        views.push(client.device(thing).await?);
    }
    Ok(views)
}

/// The devices of a list, if the ledger has each as the list has it.
async fn checked<C: Channel>(client: &Client<C>, list: &[Listed]) -> Result<Vec<DeviceView>, CliError> {
    let views = named(client, list.iter().map(|listed| &listed.device)).await?;
    let mut faults = Vec::new();
    for (listed, view) in list.iter().zip(&views) {
        let entry = &view.entry;
        let mut differs = |what: &str, listed: String, there: String| {
            if listed != there {
                faults.push(format!("{}: its {what} is {there}, and in the list {listed}", entry.thing));
            }
        };
        if let Some(key) = &listed.public_key {
            differs("public key", key.to_string(), entry.public_key.to_string());
        }
        if let Some(point) = &listed.metering_point {
            differs("metering point", point.to_string(), entry.metering_point.to_string());
        }
        if let Some(hash) = &listed.entry {
            differs("entry's hash", hash.to_string(), view.hash.to_string());
        }
    }
    if faults.is_empty() {
        Ok(views)
    } else {
        Err(CliError::Refused(format!("nothing was approved: {}", faults.join("; "))))
    }
}

fn read(path: &Path) -> Result<Vec<Listed>, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| CliError::file(path, error))?;
    let bad = |detail: String| CliError::malformed(path.display().to_string(), detail);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut list: Vec<Listed> = Vec::new();
    let mut seen = BTreeSet::new();
    for row in reader.deserialize::<Listed>() {
        let row = row.map_err(|error| bad(error.to_string()))?;
        if row.public_key.is_none() && row.entry.is_none() {
            return Err(bad(format!("{}: neither public_key nor entry: it would be approved unseen", row.device)));
        }
        if row.metering_point.is_none() && row.entry.is_none() {
            let told = "no metering_point beside its public_key: the right device would be approved at any place";
            return Err(bad(format!("{}: {told}", row.device)));
        }
        if !seen.insert(row.device.clone()) {
            return Err(bad(format!("{} stands there twice", row.device)));
        }
        list.push(row);
    }
    if list.is_empty() {
        return Err(bad("it names no device".into()));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use vitro_client::memory::MemoryChannel;
    use vitro_contract::Role;
    use vitro_contract::testing::{MemoryLedger, TestDevice, admin, client as user};

    use super::*;

    struct World {
        channel: MemoryChannel,
        views: Vec<DeviceView>,
        folder: tempfile::TempDir,
    }

    impl World {
        /// Registered devices that nobody approved.
        async fn of(count: usize) -> Self {
            let channel = MemoryChannel::new(MemoryLedger::configured(1_790_000_000).unwrap(), user(Role::Operator));
            let entries: Vec<_> = (1u8..=255)
                .take(count)
                .map(|n| TestDevice::new(&format!("dev-{n}"), n, "2026-01-01".parse().unwrap()).unwrap().entry)
                .collect();
            let client = Client::new(channel.clone());
            let views = client.register_devices(&entries).await.unwrap().answer.devices;
            Self { channel, views, folder: tempfile::tempdir().unwrap() }
        }

        /// What is printed, and how it ends.
        async fn told(&self, role: Role, args: ApproveDevicesArgs, json: bool) -> (String, Result<(), CliError>) {
            let mut out = Vec::new();
            let result = {
                let mut screen = Screen { out: &mut out, json };
                let creator = admin(role);
                let msp = creator.msp.clone();
                approve(&Client::new(self.channel.by(creator)), &args, &msp, &mut screen).await
            };
            (String::from_utf8(out).unwrap(), result)
        }

        async fn approve(&self, role: Role, args: ApproveDevicesArgs) -> Result<String, CliError> {
            let (out, result) = self.told(role, args, false).await;
            result.map(|()| out)
        }

        fn list(&self, text: &str) -> ApproveDevicesArgs {
            let path = self.folder.path().join("list.csv");
            std::fs::write(&path, text).unwrap();
            ApproveDevicesArgs { things: vec![], shard: None, file: Some(path), yes: None }
        }

        async fn approvals(&self, thing: &DeviceId) -> usize {
            Client::new(self.channel.clone()).device(thing).await.unwrap().approvals.len()
        }
    }

    fn things(views: &[DeviceView], yes: Option<Hash>) -> ApproveDevicesArgs {
        let things = views.iter().map(|view| view.entry.thing.clone()).collect();
        ApproveDevicesArgs { things, shard: None, file: None, yes }
    }

    #[tokio::test]
    async fn nothing_is_approved_unread() {
        let world = World::of(1).await;
        let thing = world.views[0].entry.thing.clone();
        let (out, result) = world.told(Role::Rc, things(&world.views, None), false).await;
        assert!(matches!(result, Err(CliError::NotYet(_))));
        let hash = hash_of(&world.views);
        assert!(out.contains(thing.as_str()) && out.contains(&format!("--yes {hash}")), "{out}");
        assert_eq!(world.approvals(&thing).await, 0);
        assert!(world.approve(Role::Rc, things(&world.views, Some(hash))).await.unwrap().contains(thing.as_str()));
        assert_eq!(world.approvals(&thing).await, 1);
        let again = world.approve(Role::Rc, things(&world.views, Some(hash))).await;
        assert!(matches!(again, Err(CliError::NotFound(_))));
    }

    #[tokio::test]
    async fn a_yes_is_to_what_was_shown_and_to_nothing_else() {
        let world = World::of(2).await;
        let shard = |yes| ApproveDevicesArgs {
            things: vec![],
            shard: Some(world.views[0].entry.shard.clone()),
            file: None,
            yes,
        };
        let (out, _) = world.told(Role::Rc, shard(None), true).await;
        let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
        let read: Hash = serde_json::from_value(shown["hash"].clone()).unwrap();
        assert_eq!((shown["entries"].as_array().unwrap().len(), read), (2, hash_of(&world.views)));

        // The operator puts a device beside those that were read.
        let operator = Client::new(world.channel.clone());
        let fake = TestDevice::new("fake-1", 77, "2026-01-01".parse().unwrap()).unwrap().entry;
        operator.register_devices(std::slice::from_ref(&fake)).await.unwrap();
        let (out, refused) = world.told(Role::Rc, shard(Some(read)), false).await;
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, CliError::Refused(told) if told.contains("fake-1")), "{refused}");
        assert!(out.contains("fake-1"), "what is new is shown: {out}");
        for view in &world.views {
            assert_eq!(world.approvals(&view.entry.thing).await, 0);
        }
        assert_eq!(world.approvals(&fake.thing).await, 0);

        // Or another entry of one that was read. What was not touched can be approved as it was read, in any order and named twice.
        let mut changed = world.views[0].entry.clone();
        changed.certificate = Hash([9; 32]);
        operator.register_devices(std::slice::from_ref(&changed)).await.unwrap();
        let mut named = vec![world.views[1].clone(), world.views[0].clone(), world.views[1].clone()];
        let refused = world.approve(Role::Rc, things(&named, Some(read))).await;
        assert!(matches!(refused, Err(CliError::Refused(_))));
        assert_eq!(world.approvals(&changed.thing).await, 0);
        (named[1].hash, named[1].entry) = (changed.hash(), changed.clone());
        let now = hash_of(&[named[1].clone(), named[0].clone()]);
        world.approve(Role::Rc, things(&named, Some(now))).await.unwrap();
        assert_eq!((world.approvals(&changed.thing).await, world.approvals(&fake.thing).await), (1, 0));
    }

    #[tokio::test]
    async fn a_list_of_the_partys_own_decides() {
        let world = World::of(2).await;
        let [first, second] = [&world.views[0].entry, &world.views[1].entry];
        for (text, wrong) in [
            (
                format!(
                    "device,public_key,metering_point\n{},{},{}\n",
                    first.thing, second.public_key, first.metering_point
                ),
                "public key",
            ),
            (format!("device,public_key\n{},{}\n", first.thing, first.public_key), "no metering_point"),
            (
                format!("device,public_key,metering_point\n{},{},elsewhere\n", first.thing, first.public_key),
                "metering point",
            ),
            (format!("device,entry\n{},{}\n", first.thing, second.hash()), "entry's hash"),
            (format!("device\n{}\n", first.thing), "unseen"),
            (format!("device,entry\n{0},{1}\n{0},{1}\n", first.thing, first.hash()), "twice"),
            ("device,public_key\n".into(), "names no device"),
            (format!("device,key\n{},1\n", first.thing), "unknown field"),
        ] {
            let refused = world.approve(Role::Dv, world.list(&text)).await.unwrap_err().to_string();
            assert!(refused.contains(wrong), "{text}: {refused}");
        }
        assert_eq!(world.approvals(&first.thing).await, 0);
        let text = format!(
            "device,public_key,metering_point,entry\n{},{},{},\n{},,,{}\n",
            first.thing,
            first.public_key,
            first.metering_point,
            second.thing,
            second.hash()
        );
        world.approve(Role::Dv, world.list(&text)).await.unwrap();
        assert_eq!((world.approvals(&first.thing).await, world.approvals(&second.thing).await), (1, 1));
    }

    #[tokio::test]
    async fn many_devices_take_several_transactions() {
        let world = World::of(BATCH + 1).await;
        let before = world.channel.submitted().len();
        let mut read = world.views.clone();
        read.sort_by(|one, other| one.entry.thing.cmp(&other.entry.thing));
        world.approve(Role::Rc, things(&world.views, Some(hash_of(&read)))).await.unwrap();
        assert_eq!(world.channel.submitted().len() - before, 2);
        assert_eq!(world.approvals(&world.views[BATCH].entry.thing).await, 1);
    }
}
