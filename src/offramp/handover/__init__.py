"""Hand a trained model over: prove that what is served is what was trained, and write it in the forms others load."""
