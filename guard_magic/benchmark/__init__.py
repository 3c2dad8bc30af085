"""A benchmark anyone can repeat: public safety sets, read from the user's own copies, scored by any guard.

``python -m guard_magic.benchmark SETS --guard ID``. Nothing is downloaded, and no text of a set is in this package.
"""
