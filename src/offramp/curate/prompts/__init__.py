"""Prompts that calls repeat: find them, vary them, prune them.

`repeated` finds the static text that every request carries and what it costs; `variation` makes other wordings that
keep every constraint (`constraints`); `split` keeps some wordings for the holdout; `prune` finds what can go and
applies the same rule to training rows and to live requests. Nothing here calls a model: the caller passes what
measures.
"""
