"""The recordings that are carried, and what makes them."""
