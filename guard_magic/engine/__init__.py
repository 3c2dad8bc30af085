"""Token ids to log-probabilities: torch and transformers run here.

Nothing here knows text, roles, policies or verdicts. `local.LocalEngine` is what guards use.
"""
