"""``onegai new``: the files of an app that is to be made."""
