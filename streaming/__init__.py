"""Live feeds that lose nothing: sources → Kafka → PostgreSQL, and posts on to the scoring queue."""
