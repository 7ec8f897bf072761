"""moodtape."""
