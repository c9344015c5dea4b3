"""The benchmark harness. Read main.py first, then cases.py: the cases are a table."""
