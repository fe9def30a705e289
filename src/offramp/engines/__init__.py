"""Inference engines that run as programs of their own, in environments of their own."""
