"""The pages in docs/ that name things of the code."""
