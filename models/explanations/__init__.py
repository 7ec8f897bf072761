"""Explanations (report 001): one vector of a sentence, decoded back into words, and shown only when it holds up."""
