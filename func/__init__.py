"""The functions of all apps, from plain Python: ``from func import hibari``."""

from onegai import wrong_python

try:
    from onegai.functions.funcfiles import install_finder
except (ImportError, SyntaxError) as error:
    raise wrong_python(error) from None

install_finder()
