"""From a conversation and a chat template to token ids that content cannot forge: pure functions of a tokenizer."""
