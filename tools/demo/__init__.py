"""`make demo`: the whole product on one machine, with expectations that must hold."""
