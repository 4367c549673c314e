"""What is a OneGAI, without HTTP?"""
