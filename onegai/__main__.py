"""``python -m onegai``."""

from onegai.cli import main

main()
