"""``python -m onegai``."""

from onegai import wrong_python

try:
    from onegai.cli.main import main
except (ImportError, SyntaxError) as error:
    raise wrong_python(error) from None
except KeyboardInterrupt:
    raise SystemExit(130) from None

main()
