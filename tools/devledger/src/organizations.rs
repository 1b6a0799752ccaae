//! Who is on the channel.

use std::collections::BTreeSet;

/// An organization of the channel.
#[derive(Clone, Copy, Debug)]
pub struct Organization {
    /// The short name, in file names.
    pub name: &'static str,
    /// The MSP id.
    pub msp: &'static str,
}

/// The organizations that have a peer, in the order of their ports.
pub const PARTIES: [Organization; 4] = [
    Organization { name: "operator", msp: "OperatorMSP" },
    Organization { name: "rc", msp: "RcMSP" },
    Organization { name: "dv", msp: "DvMSP" },
    Organization { name: "sp", msp: "SpMSP" },
];

/// The orderer's organization.
pub(crate) const ORDERER: Organization = Organization { name: "orderer", msp: "OrdererMSP" };

/// The endorsement policy: `AND('OperatorMSP.peer', OutOf(2,'RcMSP.peer','DvMSP.peer','SpMSP.peer'))`.
#[must_use]
pub(crate) fn policy_holds(endorsed_by: &BTreeSet<String>) -> bool {
    let [operator, others @ ..] = &PARTIES;
    let count = others.iter().filter(|party| endorsed_by.contains(party.msp)).count();
    endorsed_by.contains(operator.msp) && count >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_and_two_of_the_others() {
        for subset in 0_u8..16 {
            let chosen = PARTIES.iter().enumerate().filter(|(index, _)| subset >> index & 1 == 1);
            let by: BTreeSet<_> = chosen.map(|(_, party)| party.msp.to_owned()).collect();
            let expected = subset & 1 == 1 && (subset >> 1).count_ones() >= 2;
            assert_eq!(policy_holds(&by), expected, "{by:?}");
        }
    }
}
