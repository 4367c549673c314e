"""Start of the runner, by path (``python onegai/runner``) or name (``python -m onegai.runner``)."""

import importlib
import importlib.util
import os
import sys


def package() -> str:
    """Return the name under which the sibling modules can be imported.

    Run by path, Python puts this directory first on sys.path, where names such as ``server`` would
    shadow the app's own; so it is taken off again and becomes a package with a name of its own.
    """
    if __package__:
        return __package__
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    name = "onegai_runner"
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    if spec is None or spec.loader is None:
        raise ImportError("cannot read " + here)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return name


if __name__ == "__main__":
    sys.exit(importlib.import_module(package() + ".command").main())
