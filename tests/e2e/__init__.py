"""Whole paths through the product on the local stack, and what becomes of them when something goes wrong."""
