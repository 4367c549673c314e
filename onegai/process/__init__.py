"""How does one child live and end?"""
