"""What is an app on disk?"""
