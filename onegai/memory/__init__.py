"""How much memory is there, and who may have it?"""
