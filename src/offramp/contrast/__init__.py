"""Look at candidates side by side: which rows changed, on which slices, in which words, and how scores moved.

Pure functions on rows, answers and scores; no disk and no models. What may be claimed from what is seen here is
decided by `offramp.compare`.
"""
