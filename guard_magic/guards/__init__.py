"""Guards: a loaded model joined with the family that says how it is asked.

`loader` opens models, `guard.Guard` is one with its family, `parity` compares it with the published snippet.
"""
