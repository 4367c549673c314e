"""How is a function run?"""
