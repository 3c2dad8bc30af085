"""How each guard family is asked and how its answer is read.

Pure functions of a tokenizer, a policy and a conversation; no model, no torch. `llama_guard.plan_prompts`
makes a `PromptPlan`, and a plan turns conversations into token ids and log-probabilities into readings.
"""
