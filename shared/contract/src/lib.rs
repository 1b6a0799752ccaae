//! The rules of the ledger: registry, agreements, data, billing, audit
