"""What people read: the answer's shape, its words in every language, its chart. No torch, no database."""
