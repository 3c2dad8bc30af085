"""From rows to verdicts: the session, the one pipeline, the score cache, and what is said while it runs."""
