//! A client for Hyperledger Fabric: endorse, order, wait for the commit
