//! Where readings come from: a recording, lines of JSON, registers of a meter. Each source says what was measured and which days are over;
//! [`crate::run`] signs it in that order.

mod json;
pub mod lines;
pub mod live;
pub mod modbus;

use vitro_proof::{Decimal, LocalDay};

use crate::recording::{RecordedDay, Sample};

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something was measured.
    Measured {
        /// What, and when.
        sample: Sample,
        /// The line of the input that said so.
        line: Option<u64>,
    },
    /// Nothing more comes of the days before this one.
    Before(LocalDay),
    /// Nothing more comes of this day, which is closed even if it has nothing.
    Over(LocalDay),
}

/// Where the agent's readings come from.
pub enum Input {
    /// Every day shows what was recorded at the same time of the wall clock.
    Recording(RecordedDay),
    /// Lines of JSON, as on standard input.
    Lines(lines::Pieces),
    /// The registers that `device.toml` describes.
    Modbus,
}

/// The exponents that the SenML profile allows a decimal fraction.
pub(crate) const MAX_DECIMALS: i64 = 12;
/// The bits of a mantissa that the SenML profile allows.
const MANTISSA_BITS: u64 = 63;

/// Whether an envelope can carry this number.
pub(crate) fn fits(value: &Decimal) -> bool {
    let (mantissa, decimals) = value.as_big().as_bigint_and_exponent();
    match decimals {
        1.. => decimals <= MAX_DECIMALS && mantissa.bits() <= MANTISSA_BITS,
        _ => value.to_scaled(0).is_some_and(|whole| whole.unsigned_abs() < 1 << MANTISSA_BITS),
    }
}
