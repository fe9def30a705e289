"""LLM judges: one rubric, one dimension, and never a score without knowing how good the judge is.

`rubric` reads versioned rubric files, `prompt` writes what is sent, `likert` gives 1-5, `pairwise` compares two
answers in both orders, `estimate` says what it will cost before it is spent.
"""
