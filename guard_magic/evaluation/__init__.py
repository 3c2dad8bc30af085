"""From scores to decisions: what labels say about a guard, and what can be defended because of them.

Light to import: scikit-learn and SciPy are loaded by the functions that need them.
"""
