"""How do files get in and out of calls?"""
