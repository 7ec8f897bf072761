"""Price trajectories: library, index, retrieval and band (report 000)."""
