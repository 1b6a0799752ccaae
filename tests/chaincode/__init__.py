"""The chaincode's dependencies and packages; how it behaves is tested in chaincode/tests."""
