"""How does a function ask its app?"""
