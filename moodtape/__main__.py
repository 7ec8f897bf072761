"""`python -m moodtape` is the `moodtape` command."""

from moodtape.cli import main

main()
