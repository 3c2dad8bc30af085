"""Tables: which columns hold the conversations, and where the verdicts go.

Columns are found by exact name and never guessed; the caller's table is never changed.
"""
