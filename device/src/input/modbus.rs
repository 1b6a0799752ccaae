//! A meter's registers by Modbus TCP. What cannot be read is missing: not zero, and not left out.

use std::fmt;
use std::io;
use std::time::Duration;

use bigdecimal::RoundingMode;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Context, Reader, tcp};
use tokio_modbus::{ExceptionCode, Slave};
use vitro_proof::senml::Reading;
use vitro_proof::{Decimal, SensorName, SensorTable};

use super::{MAX_DECIMALS, fits};
use crate::error::DeviceError;

/// `[modbus]` of `device.toml`: which registers of which meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModbusConfig {
    /// Host name or address of the meter, or of the gateway before it.
    pub host: String,
    /// 502 as a rule.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The unit that answers: 1 to 247 behind a gateway, 0 or 255 for the host itself.
    #[serde(default = "default_unit")]
    pub unit: u8,
    /// A connection or an answer that takes longer is given up.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u16,
    /// A register for each sensor of the table.
    pub register: Vec<Register>,
}

fn default_port() -> u16 {
    502
}
fn default_unit() -> u8 {
    1
}
fn default_timeout() -> u16 {
    3
}
fn default_scale() -> Decimal {
    Decimal::from(1)
}

/// One sensor's register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The sensor.
    pub sensor: SensorName,
    /// Which table of registers.
    pub function: Function,
    /// The first register's address as it is on the wire, from 0.
    pub address: u16,
    /// What the registers hold.
    #[serde(rename = "type")]
    pub kind: RegisterType,
    /// Which of several registers comes first.
    #[serde(default)]
    pub word_order: WordOrder,
    /// What the number is multiplied by, exactly.
    #[serde(default = "default_scale")]
    pub scale: Decimal,
}

/// A table of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Function code 3.
    Holding,
    /// Function code 4.
    Input,
}

/// What one or several registers of 16 bits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum RegisterType {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
}

/// Which word comes first. The bytes within a word are big-endian, as Modbus has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WordOrder {
    /// The most significant word.
    #[default]
    Big,
    /// The least significant word.
    Little,
}

impl RegisterType {
    /// How many registers it takes.
    #[must_use]
    pub fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 => 4,
        }
    }
}

impl ModbusConfig {
    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        let bad = |why: String| Err(DeviceError::Config(why));
        if !(1..=60).contains(&self.timeout_seconds) {
            return bad(format!("modbus.timeout_seconds = {}: 1 to 60 is allowed", self.timeout_seconds));
        }
        for (at, register) in self.register.iter().enumerate() {
            let sensor = &register.sensor;
            if register.scale.is_zero() || !fits(&register.scale) {
                return bad(format!("modbus.register of {sensor}: a scale is not 0, and has at most 12 decimals"));
            }
            if register.address.checked_add(register.kind.words() - 1).is_none() {
                return bad(format!("modbus.register of {sensor}: it passes the last address"));
            }
            if self.register.iter().take(at).any(|earlier| earlier.sensor == *sensor) {
                return bad(format!("modbus.register of {sensor}: it is described twice"));
            }
        }
        Ok(())
    }
}

/// Why a register could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The meter is not reached, or the connection broke.
    #[error("{0}")]
    Connection(io::Error),
    /// It did not answer in time.
    #[error("no answer in time")]
    Silent,
    /// It answered with an exception.
    #[error("{0}")]
    Exception(ExceptionCode),
    /// It answered with something else than was asked for.
    #[error("{0}")]
    Protocol(String),
    /// What the registers hold cannot be said.
    #[error("{0}")]
    Value(String),
}

/// What registers hold, as the sensor says it.
///
/// # Errors
/// [`Unread::Value`] for no number, or one that an envelope cannot carry.
pub fn decode(register: &Register, words: &[u16]) -> Result<Decimal, Unread> {
    if words.len() != usize::from(register.kind.words()) {
        return Err(Unread::Protocol(format!("{} registers came", words.len())));
    }
    let shift = |bits: u64, word: &u16| bits << 16 | u64::from(*word);
    let bits = match register.word_order {
        WordOrder::Big => words.iter().fold(0, shift),
        WordOrder::Little => words.iter().rev().fold(0, shift),
    };
    // Cannot lose anything: the words give as many bits as the type has, and the sign is taken from them.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    let text = match register.kind {
        RegisterType::U16 | RegisterType::U32 | RegisterType::U64 => bits.to_string(),
        RegisterType::I16 => (bits as u16 as i16).to_string(),
        RegisterType::I32 => (bits as u32 as i32).to_string(),
        RegisterType::I64 => (bits as i64).to_string(),
        // The shortest decimal that reads back as the same single; Rust prints just that.
        RegisterType::F32 => format!("{:e}", f32::from_bits(bits as u32)),
    };
    let number: Decimal = text.parse().map_err(|_| Unread::Value(format!("{text} is no number")))?;
    let scaled = &number * &register.scale;
    let value = match register.kind {
        // A single near zero has more decimals than an envelope carries; its own error is larger than what is rounded off.
        RegisterType::F32 => Decimal::from(scaled.as_big().with_scale_round(MAX_DECIMALS, RoundingMode::HalfEven)),
        _ => scaled,
    };
    if fits(&value) {
        Ok(value)
    } else {
        Err(Unread::Value(format!("{value} has more than 12 decimals, or more digits than 63 bits hold")))
    }
}

/// A meter: its registers, and the connection to it while there is one.
pub struct Meter {
    config: ModbusConfig,
    /// The registers with their units, in the table's order.
    registers: Vec<(Register, String)>,
    connection: Option<Context>,
    /// How many registers were missing in the last poll, to tell a change once.
    missing: usize,
}

impl Meter {
    /// A meter whose registers are the sensors of a table, each and no others.
    ///
    /// # Errors
    /// [`DeviceError::Config`] names what does not fit.
    pub fn new(config: &ModbusConfig, table: &SensorTable) -> Result<Self, DeviceError> {
        if let Some(strange) = config.register.iter().find(|r| table.position(r.sensor.as_str()).is_none()) {
            return Err(DeviceError::Config(format!("modbus.register of {}: no such sensor", strange.sensor)));
        }
        let of = |sensor: &vitro_proof::Sensor| {
            let found = config.register.iter().find(|register| register.sensor == sensor.name);
            let found =
                found.ok_or_else(|| DeviceError::Config(format!("sensor {} has no modbus.register", sensor.name)));
            Ok((found?.clone(), sensor.unit.clone()))
        };
        let registers = table.sensors().iter().map(of).collect::<Result<_, DeviceError>>()?;
        Ok(Self { config: config.clone(), registers, connection: None, missing: 0 })
    }

    /// Reads every register once; what cannot be read is missing.
    pub async fn read(&mut self) -> Vec<Reading> {
        let mut readings = Vec::with_capacity(self.registers.len());
        let (mut missing, mut first) = (0, None);
        let mut away = false;
        for (register, unit) in self.registers.clone() {
            let value = if away { Err(Unread::Silent) } else { self.register(&register).await };
            // A meter that is not there is not waited for once for each register.
            away |= matches!(value, Err(Unread::Connection(_) | Unread::Silent));
            let value = value.map_err(|why| {
                missing += 1;
                first.get_or_insert(format!("{}: {why}", register.sensor));
            });
            readings.push(Reading { sensor: register.sensor, unit, value: value.ok() });
        }
        if missing != self.missing {
            match &first {
                Some(why) => tracing::warn!(missing, of = readings.len(), "registers cannot be read; {why}"),
                None => tracing::info!("every register can be read again"),
            }
            self.missing = missing;
        }
        readings
    }

    /// Reads one register. A connection that broke since the last poll is made again, once.
    async fn register(&mut self, register: &Register) -> Result<Decimal, Unread> {
        let was_open = self.connection.is_some();
        let words = match self.ask(register).await {
            Err(Unread::Connection(_)) if was_open => self.ask(register).await,
            words => words,
        };
        decode(register, &words?)
    }

    async fn ask(&mut self, register: &Register) -> Result<Vec<u16>, Unread> {
        let within = Duration::from_secs(self.config.timeout_seconds.into());
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => timeout(within, self.connect()).await.map_err(|_| Unread::Silent)?.map_err(Unread::Connection)?,
        };
        let (address, count) = (register.address, register.kind.words());
        let answer = async {
            match register.function {
                Function::Holding => connection.read_holding_registers(address, count).await,
                Function::Input => connection.read_input_registers(address, count).await,
            }
        };
        // A connection on which an answer is overdue is given up: the answer would be taken for the next one.
        let words = match timeout(within, answer).await.map_err(|_| Unread::Silent)? {
            Ok(words) => words.map_err(Unread::Exception),
            Err(tokio_modbus::Error::Transport(e)) => return Err(Unread::Connection(e)),
            Err(tokio_modbus::Error::Protocol(_)) => {
                return Err(Unread::Protocol("another answer than was asked for".into()));
            }
        };
        self.connection = Some(connection);
        words
    }

    async fn connect(&self) -> io::Result<Context> {
        let stream = TcpStream::connect((self.config.host.as_str(), self.config.port)).await?;
        stream.set_nodelay(true)?;
        Ok(tcp::attach_slave(stream, Slave(self.config.unit)))
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({}:{}, {} registers)", self.config.host, self.config.port, self.registers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(kind: RegisterType, word_order: WordOrder, scale: &str) -> Register {
        let (sensor, function) = ("energy".parse().unwrap(), Function::Input);
        Register { sensor, function, address: 0, kind, word_order, scale: scale.parse().unwrap() }
    }

    #[test]
    fn registers_are_read_exactly() {
        use RegisterType::{F32, I16, I32, I64, U16, U32, U64};
        use WordOrder::{Big, Little};
        let pi = std::f32::consts::PI.to_bits();
        let words = |bits: u32| vec![(bits >> 16) as u16, bits as u16];
        for (kind, order, scale, words, expected) in [
            (U16, Big, "1", vec![0xffff], "65535"),
            (U16, Little, "0.1", vec![231], "23.1"),
            (I16, Big, "0.01", vec![0xff9c], "-1"),
            (I16, Big, "1", vec![0x8000], "-32768"),
            (U32, Big, "0.001", vec![0x0001, 0x0002], "65.538"),
            (U32, Little, "0.001", vec![0x0002, 0x0001], "65.538"),
            (U32, Big, "1", vec![0xffff, 0xffff], "4294967295"),
            (I32, Big, "1", vec![0xffff, 0xffff], "-1"),
            (I32, Little, "1", vec![0x0000, 0x8000], "-2147483648"),
            (U64, Big, "1", vec![0x7fff, 0xffff, 0xffff, 0xffff], "9223372036854775807"),
            (U64, Little, "0.000000000001", vec![4, 3, 2, 1], "281.483566841860"),
            (I64, Big, "1", vec![0xffff, 0xffff, 0xffff, 0xfffe], "-2"),
            (F32, Big, "1", words(0.1f32.to_bits()), "0.1"),
            (F32, Big, "1000", words(pi), "3141.5927"),
            (F32, Little, "1", vec![pi as u16, (pi >> 16) as u16], "3.1415927"),
            (F32, Big, "1", words(1e-30f32.to_bits()), "0"),
            (F32, Big, "1", words(3.051_757_8e-5f32.to_bits()), "0.000030517578"),
            (F32, Big, "1", words((-0.0f32).to_bits()), "0"),
        ] {
            let found = decode(&register(kind, order, scale), &words).unwrap();
            assert_eq!(found, expected.parse().unwrap(), "{kind:?} {order:?} {scale} {words:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_made_one() {
        use RegisterType::{F32, U16, U32, U64};
        for (kind, scale, words) in [
            (F32, "1", vec![0x7fc0, 0]),
            (F32, "1", vec![0x7f80, 0]),
            (F32, "1", vec![0xff80, 0]),
            (F32, "1", vec![0x7f7f, 0xffff]),
            (U64, "1", vec![0x8000, 0, 0, 0]),
            (U64, "10", vec![0x7fff, 0xffff, 0xffff, 0xffff]),
        ] {
            let found = decode(&register(kind, WordOrder::Big, scale), &words);
            assert!(matches!(found, Err(Unread::Value(_))), "{kind:?} {found:?}");
        }
        for words in [vec![], vec![1], vec![1, 2, 3]] {
            assert!(matches!(decode(&register(U32, WordOrder::Big, "1"), &words), Err(Unread::Protocol(_))));
        }
        assert!(decode(&register(U16, WordOrder::Big, "1"), &[7]).is_ok());
    }

    fn config(toml: &str) -> Result<ModbusConfig, String> {
        let config: ModbusConfig = toml::from_str(toml).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_configuration_has_its_defaults_and_its_faults_are_told() {
        let good =
            "host = \"m\"\n[[register]]\nsensor = \"energy\"\nfunction = \"input\"\naddress = 30\ntype = \"u32\"\n";
        let read = config(good).unwrap();
        assert_eq!((read.port, read.unit, read.timeout_seconds), (502, 1, 3));
        assert_eq!((read.register[0].scale.clone(), read.register[0].word_order), (Decimal::from(1), WordOrder::Big));
        let twice = good.replacen("host = \"m\"", "", 1);
        for (toml, told) in [
            (good.replace("30", "65535"), "passes the last address"),
            (good.replace("\"u32\"", "\"u24\""), "unknown variant `u24`"),
            (good.replace("\"input\"", "\"coil\""), "unknown variant `coil`"),
            (format!("{good}scale = \"0\"\n"), "a scale is not 0"),
            (format!("{good}scale = \"0.0000000000001\"\n"), "at most 12 decimals"),
            (format!("{good}scale = 0.1\n"), "invalid type"),
            (format!("{good}{twice}"), "described twice"),
            (good.replace("host", "timeout_seconds = 61\nhost"), "timeout_seconds = 61"),
        ] {
            let found = config(&toml).unwrap_err();
            assert!(found.contains(told), "{toml}\n{found}");
        }
    }

    #[test]
    fn every_sensor_has_its_register_and_no_other() {
        let table = |names: &[&str]| {
            let sensor = |name: &&str| format!(r#"{{"name":"{name}","unit":"kWh","kind":"gauge"}}"#);
            let sensors: Vec<String> = names.iter().map(sensor).collect();
            serde_json::from_str::<SensorTable>(&format!(r#"{{"version":1,"sensors":[{}]}}"#, sensors.join(",")))
                .unwrap()
        };
        let config = config(
            "host = \"m\"\n[[register]]\nsensor = \"energy\"\nfunction = \"input\"\naddress = 30\ntype = \"u32\"\n",
        )
        .unwrap();
        assert!(Meter::new(&config, &table(&["energy"])).is_ok());
        let refused = |names: &[&str]| Meter::new(&config, &table(names)).unwrap_err().to_string();
        assert!(refused(&["energy", "water"]).contains("sensor water has no modbus.register"));
        assert!(refused(&["water"]).contains("energy: no such sensor"));
    }
}
