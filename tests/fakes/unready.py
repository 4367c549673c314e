"""Listens at once and answers 503 to everything."""

import httpd

options = httpd.options(__doc__).parse_args()
loading = httpd.as_json({"error": "loading"}, 503)
httpd.serve(options.host, options.port, lambda _: loading)
