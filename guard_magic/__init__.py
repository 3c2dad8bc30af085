"""guard_magic."""
