"""Advice from the traffic: which calls ask for the same thing, what they cost, and whether to replace the model.

Everything here is a pure function of a table of calls (`offramp.advise.calls.CALLS`), settings and prices.
"""
