"""The functions of all apps, from plain Python: ``from func import hibari``."""

from onegai.plugins import install_finder

install_finder()
