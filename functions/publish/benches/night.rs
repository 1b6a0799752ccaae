//! A night's publishing, batched and unbatched, in one run against one ledger: blocks a second, transactions, their bytes.
//!
//! A counted workload: a thousand daily blocks of devices with four counters and eight gauges go through the function in batches as the
//! queue hands them over, and forty go one a transaction, one after the other, half of them before and half after. Every device has a
//! day on the ledger already, as in any night but its first. It is run against a development ledger in a process of its own, or against
//! the network that the profiles in the folder `VITRO_LEDGER_PROFILES` lead to (`operator.json`, `rc.json`, `dv.json`, `sp.json`, each of
//! an admin), whose channel grows by a few thousand keys.

// A benchmark that cannot start has nothing better to do than to say so.
#![allow(clippy::expect_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::fleet::{Settled, fleet};
use support::night::{Night, Profiles, Transaction};
use vitro_devledger::{Options, VitroContract, start};

/// Blocks that are published in batches.
const BATCHED: usize = 1_000;
/// Blocks that are published alone, before the others and again after them.
const ALONE: usize = 20;
/// Messages that the queue hands over at once: `BatchSize` of the function in `template.yaml`.
const HANDED_OVER: usize = 100;
/// The folder with the profiles of another network.
const PROFILES: &str = "VITRO_LEDGER_PROFILES";
/// Set in the environment of the ledger's process: its data directory.
const LEDGER: &str = "VITRO_BENCH_LEDGER";

/// The ledger's process; it ends with this.
struct Ledger(Child);

impl Drop for Ledger {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ledger {
    /// Starts this same program as the development ledger, with the program's defaults, and waits until it serves.
    fn start(folder: &Path) -> (Self, Profiles) {
        use std::io::{BufRead, BufReader};
        let program = std::env::current_exe().expect("the path of this program");
        let child = Command::new(program).env(LEDGER, folder).stdout(Stdio::piped()).spawn();
        let mut ledger = Self(child.expect("the ledger starts"));
        let mut line = String::new();
        let output = ledger.0.stdout.take().expect("the ledger's output");
        BufReader::new(output).read_line(&mut line).expect("the ledger says where its profiles are");
        (ledger, Profiles(PathBuf::from(line.trim())))
    }

    /// Runs as the ledger.
    async fn serve(folder: PathBuf) {
        let mut running = start(&Options::new(folder), Arc::new(VitroContract)).await.expect("the ledger serves");
        println!("{}", running.profile("operator").parent().expect("the folder of profiles").display());
        let error = running.failed().await;
        eprintln!("the ledger stopped: {error}");
    }
}

fn main() {
    if let Some(folder) = std::env::var_os(LEDGER) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(Ledger::serve(folder.into()));
    }
    if !std::env::args().any(|arg| arg == "--bench") {
        // Only tried out: the workload is tested by tests/night.rs.
        return;
    }
    // As Lambda runs the function: on one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match std::env::var_os(PROFILES) {
        Some(folder) => runtime.block_on(work(&Profiles(folder.into()))),
        None => {
            let folder = tempfile::tempdir().expect("a folder");
            let (_ledger, profiles) = Ledger::start(&folder.path().join("ledger"));
            runtime.block_on(work(&profiles));
        }
    }
}

async fn work(profiles: &Profiles) {
    let night = Night::new(profiles);
    let channel = night.channel().await;
    println!(
        "BatchTimeout {}, PreferredMaxBytes {}, ordered by {}",
        channel.batch_timeout, channel.batch_size.preferred_max_bytes, channel.consensus
    );
    // Names of this run alone: another network may have seen an earlier one.
    let run = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let mut devices = fleet(&format!("night-{run}"), BATCHED + 2 * ALONE, "2026-01-02".parse().expect("a day"));
    profiles.prepare(&devices).await;
    println!("{} devices are registered and approved", devices.len());
    let first: Vec<_> = devices.iter_mut().map(|device| device.settle_day()).collect();
    settle(&night, &first).await;
    batched(&night, &first).await;
    println!("the first day of each is published");

    let mut days: Vec<_> = devices.iter_mut().map(|device| device.settle_day()).collect();
    settle(&night, &days).await;
    let after = days.split_off(BATCHED + ALONE);
    let before = days.split_off(BATCHED);
    let height = night.height().await;
    let mut unbatched = alone(&night, &before).await;
    let middle = night.height().await;
    let together = batched(&night, &days).await;
    let end = night.height().await;
    unbatched += alone(&night, &after).await;

    report("batched", BATCHED, together, &night.transactions(middle, end).await);
    let mut single = night.transactions(height, middle).await;
    single.extend(night.transactions(end, night.height().await).await);
    report("unbatched", 2 * ALONE, unbatched, &single);
    println!("batched / unbatched: {:.1}", rate(BATCHED, together) / rate(2 * ALONE, unbatched));
}

async fn settle(night: &Night, days: &[Settled]) {
    for day in days {
        night.settle(day).await;
    }
}

/// Publishes days as the queue hands them over.
async fn batched(night: &Night, days: &[Settled]) -> Duration {
    let start = Instant::now();
    for some in days.chunks(HANDED_OVER) {
        night.publish(some).await;
    }
    start.elapsed()
}

/// Publishes each day in a transaction of its own, one after the other.
async fn alone(night: &Night, days: &[Settled]) -> Duration {
    let start = Instant::now();
    for day in days.chunks(1) {
        night.publish(day).await;
    }
    start.elapsed()
}

fn rate(blocks: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(blocks).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

fn report(what: &str, blocks: usize, time: Duration, transactions: &[Transaction]) {
    let published = transactions.iter().flat_map(|one| &one.verdicts).filter(|verdict| verdict.code == "published");
    assert_eq!(published.count(), blocks, "every block is published by these transactions");
    let sizes = || transactions.iter().map(|one| one.bytes);
    println!(
        "{what}: {blocks} blocks in {} transactions of {} to {} bytes, {:.2} s, {:.1} blocks/s",
        transactions.len(),
        sizes().min().unwrap_or(0),
        sizes().max().unwrap_or(0),
        time.as_secs_f64(),
        rate(blocks, time)
    );
}
