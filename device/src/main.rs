//! `vitro-device`: the agent's command line.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jiff::civil::Time;
use serde::Serialize;
use tokio::sync::watch;
use vitro_device::clock::SystemClock;
use vitro_device::input::Input;
use vitro_device::recording::{RecordedDay, Recording};
use vitro_device::replay::{Outcome, Replay, Stay};
use vitro_device::report::{BlockReport, Status};
use vitro_device::{DeviceError, DeviceFolder};
use vitro_proof::LocalDay;

/// The Crystal gateway's agent. Progress goes to stderr, results go to stdout as JSON.
#[derive(Parser)]
#[command(name = "vitro-device", version)]
struct Arguments {
    /// The device's folder, in which device.toml lies
    #[arg(long, global = true, default_value = ".", env = "VITRO_DEVICE")]
    folder: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Be the device in real time, by a recording, by lines of JSON, or by a meter's registers
    Run(RunArguments),
    /// Replay a recorded day as one local day, as fast as it may be sent
    #[command(args_override_self = true)]
    Replay(ReplayArguments),
    /// Tell how the device stands
    Status,
    /// Print a day's sealed block and its summaries
    Block {
        /// The local day
        #[arg(value_name = "YYYY-MM-DD")]
        day: LocalDay,
    },
    /// The device's key pair
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make it: in the file, or inside the token that device.toml names. A key that is there is never replaced
    New,
    /// Print the public key
    Show,
    /// Print a certificate request (PKCS 10, PEM) for the thing name, signed by the key
    Request,
}

#[derive(Args)]
#[group(id = "input", required = true, multiple = false, args = ["recording", "stdin", "modbus"])]
struct RunArguments {
    /// Every day shows what this recording (CSV) has at the same time of the wall clock
    #[arg(long, value_name = "CSV")]
    recording: Option<PathBuf>,
    /// Read lines of JSON from standard input: {"time": "...", "values": {"sensor": 1.25, ...}}
    #[arg(long)]
    stdin: bool,
    /// Poll the registers that device.toml describes
    #[arg(long)]
    modbus: bool,
    /// What the recording's columns are; without it, the recording's name with .toml
    #[arg(long, value_name = "TOML", requires = "recording")]
    sensors: Option<PathBuf>,
    /// Which day of the recording; without it, the first
    #[arg(long, value_name = "YYYY-MM-DD", requires = "recording")]
    recorded_day: Option<LocalDay>,
}

#[derive(Args)]
struct Source {
    /// The recording: CSV
    #[arg(long, value_name = "CSV")]
    recording: PathBuf,
    /// What its columns are; without it, the recording's name with .toml
    #[arg(long, value_name = "TOML")]
    sensors: Option<PathBuf>,
    /// Which day of the recording; without it, the first
    #[arg(long, value_name = "YYYY-MM-DD")]
    recorded_day: Option<LocalDay>,
}

#[derive(Args)]
struct ReplayArguments {
    #[command(flatten)]
    source: Source,
    /// The local day that it becomes
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: LocalDay,
    /// Die at this time of the recording's wall clock: nothing from then on, no block
    #[arg(long, value_name = "HH:MM", value_parser = parse_until)]
    until: Option<Time>,
    /// Publishes a second, for example 200 or 200/s; without it, as device.toml has it
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    rate: Option<u32>,
    /// Sequence numbers whose first publish is lost on the way, for example 17,300-305
    #[arg(long, value_name = "NUMBERS", value_parser = parse_numbers)]
    lose: Option<Numbers>,
    /// Stay connected so long once everything is sent
    #[arg(long, value_name = "SECONDS", default_value_t = 0, conflicts_with = "until_settled")]
    stay: u64,
    /// Stay connected until the cloud says that it has the day for good
    #[arg(long)]
    until_settled: bool,
    /// Give up after so long
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    deadline: u64,
}

#[derive(Clone)]
struct Numbers(BTreeSet<u64>);

/// The most numbers that one option may name.
const MAX_LOST: u64 = 100_000;

fn parse_numbers(text: &str) -> Result<Numbers, String> {
    let mut numbers = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("{part:?} is neither 17 nor 300-305"));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last - first >= MAX_LOST {
            return Err(format!("{part:?} is backwards or too long"));
        }
        numbers.extend(first..=last);
    }
    Ok(Numbers(numbers))
}

fn parse_rate(text: &str) -> Result<u32, String> {
    match text.strip_suffix("/s").unwrap_or(text).parse() {
        Ok(rate @ 1..=100_000) => Ok(rate),
        _ => Err("a rate is 1 to 100000, for example 200/s".into()),
    }
}

fn parse_until(text: &str) -> Result<Time, String> {
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((hour.parse().ok()?, minute.parse().ok()?)));
    parts.and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok()).ok_or_else(|| "a time is HH:MM".into())
}

impl RunArguments {
    fn input(self) -> Result<Input, DeviceError> {
        Ok(match self.recording {
            Some(recording) => {
                let source = Source { recording, sensors: self.sensors, recorded_day: self.recorded_day };
                Input::Recording(source.read()?)
            }
            None if self.stdin => Input::Lines(vitro_device::input::lines::standard_input()?),
            None => Input::Modbus,
        })
    }
}

impl Source {
    fn read(&self) -> Result<RecordedDay, DeviceError> {
        let sensors = self.sensors.clone().unwrap_or_else(|| self.recording.with_extension("toml"));
        let recording = Recording::read(&self.recording, &sensors)?;
        let day = recording.day(self.recorded_day)?;
        tracing::info!(day = day.date(), rows = day.len(), of = recording.len(), "recording");
        Ok(day)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("vitro_device=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match carry_out(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vitro-device: {error}");
            ExitCode::FAILURE
        }
    }
}

/// 0: done. 1: failed. 3: what was waited for did not come before the deadline; the facts are printed all the same.
fn carry_out(arguments: Arguments) -> Result<ExitCode, DeviceError> {
    let folder = DeviceFolder::open(&arguments.folder)?;
    let outbox = folder.resolve(&folder.config.outbox.path);
    match arguments.command {
        Command::Status => print(&Status::read(&outbox)?),
        Command::Block { day } => match BlockReport::read(&outbox, day)? {
            Some(block) => print(&block),
            None => Err(DeviceError::Config(format!("{day} has no block"))),
        },
        Command::Key(command) => key(&folder, &command),
        Command::Run(arguments) => {
            let ended = runtime()?.block_on(async {
                let (input, stop) = (arguments.input()?, signals()?);
                vitro_device::run::run(folder, input, Arc::new(SystemClock), stop).await
            });
            match ended? {
                Some(counts) => print(&counts),
                None => Ok(ExitCode::SUCCESS),
            }
        }
        Command::Replay(arguments) => {
            let replay = arguments.replay()?;
            let Outcome { report, complete } = runtime()?.block_on(async {
                let stop = signals()?;
                vitro_device::replay::replay(folder, replay, Arc::new(SystemClock), stop).await
            })?;
            print(&report)?;
            Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
    }
}

impl ReplayArguments {
    fn replay(self) -> Result<Replay, DeviceError> {
        let recording = self.source.read()?;
        Ok(Replay {
            recording: match self.until {
                Some(time) => recording.until(time),
                None => recording,
            },
            day: self.day,
            close: self.until.is_none(),
            rate: self.rate,
            lose: self.lose.map(|numbers| numbers.0).unwrap_or_default(),
            stay: if self.until_settled { Stay::UntilSettled } else { Stay::For(Duration::from_secs(self.stay)) },
            deadline: Duration::from_secs(self.deadline),
        })
    }
}

fn key(folder: &DeviceFolder, command: &KeyCommand) -> Result<ExitCode, DeviceError> {
    let thing = &folder.config.thing;
    let signer = match command {
        KeyCommand::New => vitro_device::key::make(&folder.path, &folder.config.key)?,
        KeyCommand::Show => folder.signer()?,
        KeyCommand::Request => {
            print!("{}", vitro_device::key::request(thing, &*folder.signer()?)?);
            return Ok(ExitCode::SUCCESS);
        }
    };
    print(&serde_json::json!({ "thing": thing, "public_key": signer.public_key() }))
}

fn runtime() -> Result<tokio::runtime::Runtime, DeviceError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DeviceError::Connection)
}

/// Says true at the first interrupt or termination signal.
fn signals() -> Result<watch::Receiver<bool>, DeviceError> {
    use tokio::signal::unix::{SignalKind, signal};
    let (say, stop) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(DeviceError::Connection)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DeviceError::Connection)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        say.send_replace(true);
        // The channel stays open: its end would say nothing.
        std::future::pending::<()>().await;
    });
    Ok(stop)
}

fn print(value: &impl Serialize) -> Result<ExitCode, DeviceError> {
    let json = serde_json::to_string(value).map_err(|e| DeviceError::Damaged(e.to_string()))?;
    println!("{json}");
    Ok(ExitCode::SUCCESS)
}
