"""Never listens and prints nothing."""

import httpd

httpd.options(__doc__).parse_args()
httpd.forever()
