"""What a cycle of renewal may do, and which of the fresh rows teach and which prove: settings and pure rules.

The verbs that use them are in `offramp.renewing`.
"""
