"""How a process of ours lives: start, logs, health, progress, being watched."""
