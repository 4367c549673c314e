"""One supervised child: starting it, watching it, ending it, its log and its port."""
