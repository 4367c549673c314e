"""``python -m onegai``."""

try:
    from onegai.cli import main
except KeyboardInterrupt:
    raise SystemExit(130) from None

main()
