"""How is it served?"""
