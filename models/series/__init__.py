"""Self-supervised pretraining of series encoders (report 004): augmentations, heads, methods, preparation."""
