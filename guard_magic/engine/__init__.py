"""Token batches to verdicts. torch and transformers are imported here and nowhere else.

`loader` opens models, `local` runs them, `guard.Guard` is a loaded model with its protocol.
"""
