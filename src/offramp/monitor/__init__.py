"""Watch what production sees, and say when it is no longer what a model was tuned and proved on."""
