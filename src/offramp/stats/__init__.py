"""Statistics of a verdict: pure functions of numpy arrays, each with its source.

Nothing here knows of rows, candidates or files. `paired` compares two candidates on the same rows, `cluster` says how
much rows that belong together count, `proportion` bounds one share, `power` plans sample sizes, `means` serves graded
scores as a second opinion, `multiple` adjusts for many looks, `calibration` checks confidences.
"""
