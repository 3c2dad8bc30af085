"""How each family of guards is asked and how its answer is read: one small file a family.

`base` says what a family is, `answers` how answers become tokens, `registry` which family a model is of.
"""
