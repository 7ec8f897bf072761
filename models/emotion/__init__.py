"""The mood of a post: words, picture, faces, and their fusion (report 002)."""
