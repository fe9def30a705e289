"""The endpoint that stands in front of models: it records every call and decides who answers."""
