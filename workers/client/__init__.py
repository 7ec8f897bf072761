"""workers/client."""
