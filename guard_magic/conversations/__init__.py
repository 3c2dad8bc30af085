"""Conversations as values: messages, their roles, and the windows that long ones are cut into.

Nothing here knows guards, templates or tokens.
"""
