"""The words of moodtape: posts, candles, trajectories, verdicts, the rules between them, and the errors."""
