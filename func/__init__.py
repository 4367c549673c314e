"""The functions of all apps, from plain Python: ``from func import hibari``."""

from onegai import wrong_python

try:
    import onegai.sdk  # noqa: F401 - lets func files be imported
except (ImportError, SyntaxError) as error:
    raise wrong_python(error) from None
