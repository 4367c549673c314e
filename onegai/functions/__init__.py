"""What can be called, wherever it comes from?"""
