"""How does a library in another venv become a server?

``python onegai/runner run/run_X.py --port N``, in the app's venv, serves that file's functions of
one parameter ``args``: each becomes ``POST /{function}``. ``load`` runs before the port listens, so
listening means loaded.

Stands apart from the rest of OneGAI: standard library only, Python 3.8+, imports nothing of it. The
files, lowest layer first: media, answers, arguments, runfile, openapi, coroutines, calls, requests,
handler, server, command.
"""
