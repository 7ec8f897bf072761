"""Encoders: one module per modality; any transformers or timm id is a config line."""
